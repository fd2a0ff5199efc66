//! One thing that a layer decided, as a value: what every proxy, supervisor and monitor hands to the log.

use crate::json::Json;

/// What a layer denied, or let through.
///
/// ```
/// use fence::monitor::event::{Event, Layer, Outcome, Subject};
/// let event = Event::new(Layer::Socks, Outcome::Denied, "CONNECT example.org:22 BLOCKED", Subject::Host("example.org:22".into()))
///     .rule("network.deniedDomains \"*.org\"");
/// assert_eq!(event.line(), "✗ CONNECT example.org:22 BLOCKED");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Who decided.
    pub layer: Layer,
    /// How.
    pub outcome: Outcome,
    /// What was tried and what came of it, in the layer's own words: `openat: Permission denied`.
    pub what: String,
    /// What it was tried on.
    pub subject: Subject,
    /// The process that tried, where it is known.
    pub process: Option<Process>,
    /// What decided, by its name in the configuration: `network.deniedDomains "*.org"`.
    pub rule: Option<String>,
    /// The line of the configuration that would allow it.
    pub allow: Option<String>,
}

/// The layer that decided: it names the prefix of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The HTTP proxy.
    Http,
    /// The SOCKS proxy.
    Socks,
    /// Name look-ups.
    Dns,
    /// The exec supervisor.
    Exec,
    /// The system call filter.
    Seccomp,
    /// Whatever the kernel refused, as the eBPF monitor saw it.
    Ebpf,
    /// Watched files.
    Fs,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It went on.
    Allowed,
    /// It was refused.
    Denied,
    /// It was allowed and went wrong.
    Failed,
    /// Another proxy decides.
    Upstream,
}

/// What it was tried on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A host, with or without a port.
    Host(String),
    /// A file; two where the call takes two.
    Path(String),
    /// A command.
    Command(String),
    /// A system call, by its arguments.
    Call(String),
}

/// Who tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id, as fence sees it.
    pub pid: u32,
    /// Its name, as the kernel keeps it (15 bytes).
    pub name: String,
}

impl Layer {
    /// `http` in `[fence:http]`.
    pub fn name(self) -> &'static str {
        match self {
            Layer::Http => "http",
            Layer::Socks => "socks",
            Layer::Dns => "dns",
            Layer::Exec => "exec",
            Layer::Seccomp => "seccomp",
            Layer::Ebpf => "ebpf",
            Layer::Fs => "fs",
        }
    }
}

impl Outcome {
    fn icon(self) -> &'static str {
        match self {
            Outcome::Allowed => "✓",
            Outcome::Denied => "✗",
            Outcome::Failed => "!",
            Outcome::Upstream => "→",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Outcome::Allowed => "allowed",
            Outcome::Denied => "denied",
            Outcome::Failed => "failed",
            Outcome::Upstream => "upstream",
        }
    }
}

impl Subject {
    /// Its text.
    pub fn text(&self) -> &str {
        match self {
            Subject::Host(text) | Subject::Path(text) | Subject::Command(text) | Subject::Call(text) => text,
        }
    }

    /// What one of them is called: the key in JSON, and the word in the summary.
    pub fn kind(&self) -> &'static str {
        match self {
            Subject::Host(_) => "host",
            Subject::Path(_) => "path",
            Subject::Command(_) => "command",
            Subject::Call(_) => "call",
        }
    }
}

impl Event {
    /// An event that no process, rule or advice is known of yet.
    pub fn new(layer: Layer, outcome: Outcome, what: impl Into<String>, subject: Subject) -> Event {
        Event { layer, outcome, what: what.into(), subject, process: None, rule: None, allow: None }
    }

    /// Adds the process.
    #[must_use]
    pub fn process(mut self, pid: u32, name: impl Into<String>) -> Event {
        self.process = Some(Process { pid, name: name.into() });
        self
    }

    /// Adds what decided.
    #[must_use]
    pub fn rule(mut self, rule: impl Into<String>) -> Event {
        self.rule = Some(rule.into());
        self
    }

    /// Adds the line of the configuration that would allow it.
    #[must_use]
    pub fn allow(mut self, line: impl Into<String>) -> Event {
        self.allow = Some(line.into());
        self
    }

    /// The line without prefix and time: `✗ openat: Permission denied (cat, pid=123) /etc/shadow`.
    pub fn line(&self) -> String {
        let process = self.process.as_ref().map(|p| format!("{}, pid={}", p.name, p.pid));
        let rule =
            self.rule.as_ref().filter(|_| self.layer == Layer::Exec).map(|rule| format!("rule {rule:?}"));
        let known: Vec<String> = [rule, process].into_iter().flatten().collect();
        let mut line = format!("{} {}", self.outcome.icon(), self.what);
        if !known.is_empty() {
            line += &format!(" ({})", known.join(", "));
        }
        // The others say it in their own words.
        if matches!(self.layer, Layer::Ebpf | Layer::Seccomp) && !self.subject.text().is_empty() {
            line += " ";
            line += self.subject.text();
        }
        line
    }

    /// The same as an object.
    pub fn json(&self, seconds: i64) -> Json {
        let mut fields = vec![
            ("time", Json::Int(seconds)),
            ("level", Json::str("event")),
            ("layer", Json::str(self.layer.name())),
            ("outcome", Json::str(self.outcome.name())),
            ("text", Json::str(&self.what)),
            (self.subject.kind(), Json::str(self.subject.text())),
        ];
        if let Some(process) = &self.process {
            fields.push(("pid", Json::Int(i64::from(process.pid))));
            fields.push(("process", Json::str(&process.name)));
        }
        let known = [("rule", &self.rule), ("allow", &self.allow)];
        fields.extend(known.into_iter().filter_map(|(key, text)| Some((key, Json::str(text.as_ref()?)))));
        Json::Object(fields.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_manual() {
        let path = Subject::Path("/etc/shadow".into());
        let event =
            Event::new(Layer::Ebpf, Outcome::Denied, "openat: Permission denied", path).process(123, "cat");
        assert_eq!(event.line(), "✗ openat: Permission denied (cat, pid=123) /etc/shadow");
        let command = "git push origin main";
        let event = Event::new(Layer::Exec, Outcome::Denied, command, Subject::Command(command.into()))
            .rule("git push")
            .process(7, "git");
        assert_eq!(event.line(), r#"✗ git push origin main (rule "git push", git, pid=7)"#);
        let event = Event::new(
            Layer::Seccomp,
            Outcome::Denied,
            "keyctl: Operation not permitted",
            Subject::Call("".into()),
        );
        assert_eq!(event.line(), "✗ keyctl: Operation not permitted");
    }

    #[test]
    fn an_object_has_what_is_known() {
        let event =
            Event::new(Layer::Dns, Outcome::Denied, "A x.org", Subject::Host("x.org".into())).allow("y");
        let json = r#"{"time":5,"level":"event","layer":"dns","outcome":"denied","text":"A x.org","host":"x.org","allow":"y"}"#;
        assert_eq!(event.json(5).compact(), json);
    }
}
