//! Events → lines: which are shown, each distinct advice once, repeats counted, and a summary at the end. Pure.

use super::event::{Event, Layer, Outcome, Subject};
use super::learn::Seen;
use crate::json::Json;
use crate::map::Map;
use std::cmp::Reverse;

/// Distinct denials that are remembered; a command can't make fence grow without end.
const REMEMBERED: usize = 4096;
/// Repeated denials that the end lists.
const LISTED: usize = 20;
/// Hosts that a failed run's last line names.
const NAMED: usize = 3;

/// Which events are shown, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// `-m`
    pub monitor: bool,
    /// `-d`
    pub debug: bool,
    /// One object a line.
    pub json: bool,
    /// The run is a step of a GitHub Actions job, which shows `::warning` lines with its results.
    pub github: bool,
}

/// What was seen so far, and how it is written.
#[derive(Default)]
pub struct Report {
    style: Style,
    seen: Map<Key, Denial>,
    advised: Seen,
    denials: u64,
    /// Hosts that the proxies were asked for, where somebody wants to know; with a text where they denied that.
    hosts: Option<Seen>,
    /// Hosts that the command was kept from.
    blocked: Seen,
    /// Paths whose exec was refused, and how often the eBPF monitor has not told of that yet.
    refused: Map<String, u64>,
}

/// What makes two denials the same: all but the process id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    layer: Layer,
    subject: Subject,
    what: String,
    process: String,
}

impl crate::map::Key for Key {}

struct Denial {
    times: u64,
    allow: Option<String>,
}

impl Report {
    /// Nothing seen yet.
    pub fn new(style: Style) -> Report {
        Report { style, ..Report::default() }
    }

    /// An exec of this path is refused: the exec layer tells of it, so the eBPF monitor need not.
    pub fn exec_refused(&mut self, path: String) {
        if self.refused.len() < REMEMBERED {
            *self.refused.get_or_insert(path, 0) += 1;
        }
    }

    fn told_by_exec(&mut self, event: &Event) -> bool {
        let exec = event.layer == Layer::Ebpf
            && matches!(
                &*event.what,
                "execve: Operation not permitted" | "execveat: Operation not permitted"
            );
        match self.refused.get_mut(event.subject.text()).filter(|times| exec && **times > 0) {
            Some(times) => *times -= 1,
            None => return false,
        }
        true
    }

    /// From now on hosts are remembered.
    pub fn learn(&mut self) {
        self.hosts = Some(Seen::new());
    }

    /// Hosts that the proxies were asked for, with their ports; with a text where they denied that.
    pub fn hosts(&self) -> Seen {
        self.hosts.clone().unwrap_or_default()
    }

    /// The lines that an event makes, at this time (`HH:MM:SS` and seconds since 1970).
    pub fn take(&mut self, event: &Event, clock: &str, seconds: i64) -> Vec<String> {
        let denied = matches!(event.outcome, Outcome::Denied);
        if let (Some(hosts), Subject::Host(host), Layer::Http | Layer::Socks) =
            (&mut self.hosts, &event.subject, event.layer)
        {
            hosts.insert(host.clone(), if denied { "denied" } else { "" }.to_string());
        }
        if let (true, Subject::Host(host)) = (denied && self.blocked.len() < REMEMBERED, &event.subject) {
            self.blocked.insert(host.clone(), String::new());
        }
        if !self.shows(event) || self.told_by_exec(event) {
            return Vec::new();
        }
        if denied {
            self.denials += 1;
            // A program in a loop makes these by the thousand; the others say each what somebody asked for.
            if !self.first(event) && matches!(event.layer, Layer::Ebpf | Layer::Seccomp) {
                return Vec::new();
            }
        }
        if self.style.json {
            return vec![event.json(seconds).compact()];
        }
        let prefix = format!("[fence:{}]", event.layer.name());
        let mut lines = vec![format!("{prefix} {clock} {}", event.line())];
        if let Some(advice) = advice(event).filter(|_| denied)
            && self.advised.len() < REMEMBERED
            && !self.advised.contains_key(&advice)
        {
            lines.push(format!("{prefix}   {advice}"));
            if self.style.github {
                lines.push(warning(event, &advice));
            }
            self.advised.insert(advice, String::new());
        }
        lines
    }

    /// Denials with `-m`, everything with `-d`; a denied command always.
    fn shows(&self, event: &Event) -> bool {
        let good = matches!(event.outcome, Outcome::Allowed | Outcome::Upstream);
        self.style.debug || !good && (self.style.monitor || event.layer == Layer::Exec)
    }

    /// Remembers a denial; whether it is the first of its kind.
    fn first(&mut self, event: &Event) -> bool {
        let key = Key {
            layer: event.layer,
            subject: event.subject.clone(),
            what: event.what.clone(),
            process: event.process.as_ref().map_or(String::new(), |p| p.name.clone()),
        };
        if self.seen.len() >= REMEMBERED && !self.seen.contains_key(&key) {
            return true;
        }
        let denial = self.seen.get_or_insert(key, Denial { times: 0, allow: event.allow.clone() });
        denial.times += 1;
        denial.times == 1
    }

    /// The last lines: what was denied more than once, and how much was denied in all.
    pub fn end(&self) -> Vec<String> {
        if self.denials == 0 || !(self.style.monitor || self.style.debug) {
            return Vec::new();
        }
        let kinds = ["host", "path", "command", "call"].map(|kind| {
            // In the order of the subject within each layer, so the same one twice stands side by side or is two layers' matter.
            let mut last = None;
            let subjects = self.seen.keys().map(|key| &key.subject).filter(|subject| subject.kind() == kind);
            (kind, subjects.filter(|subject| last.replace(*subject) != Some(*subject)).count())
        });
        if self.style.json {
            let mut fields = vec![
                ("level".to_string(), Json::str("summary")),
                ("denials".to_string(), Json::Int(self.denials as i64)),
            ];
            fields.extend(kinds.map(|(kind, n)| (format!("{kind}s"), Json::Int(n as i64))));
            return vec![Json::Object(fields).compact()];
        }
        let seen = self.seen.iter().map(|(key, denial)| (Reverse(denial.times), key));
        let repeats = |(times, key): &(Reverse<u64>, &Key)| {
            times.0 > 1 && matches!(key.layer, Layer::Ebpf | Layer::Seccomp)
        };
        let mut repeated: Vec<_> = seen.filter(repeats).collect();
        crate::order::sort(&mut repeated);
        let mut lines: Vec<String> =
            repeated.iter().take(LISTED).map(|(times, key)| again(key, times.0)).collect();
        let parts: Vec<String> =
            kinds.iter().filter(|(_, n)| *n > 0).map(|(kind, n)| count(*n as u64, kind)).collect();
        lines.push(format!("[fence] {}: {}", count(self.denials, "denial"), parts.join(", ")));
        lines
    }

    /// What to say of a command that failed, where nothing was said of its connections: many programs show no more of the
    /// proxy's answer than its number.
    pub fn blocked(&self) -> Option<String> {
        if self.style.monitor || self.style.debug || self.blocked.is_empty() {
            return None;
        }
        let named: Vec<&str> = self.blocked.keys().take(NAMED).map(String::as_str).collect();
        let more = match self.blocked.len() - named.len() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        Some(format!(
            "connections to {}{more} were blocked: network.allowedDomains allows hosts, -m shows each denial",
            named.join(", ")
        ))
    }

    /// The table for `$GITHUB_STEP_SUMMARY`, in Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "### fence: what was denied\n\n| layer | denied | times | to allow it |\n|---|---|---:|---|\n",
        );
        for (key, denial) in &self.seen {
            let allow = denial.allow.as_deref().map_or(String::new(), |line| format!("`{}`", cell(line)));
            let denied = format!("{} {}", key.what, key.subject.text());
            text += &format!("| {} | {} | {} | {allow} |\n", key.layer.name(), cell(&denied), denial.times);
        }
        text
    }

    /// Whether anything was denied.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

fn again(key: &Key, times: u64) -> String {
    let process = if key.process.is_empty() { String::new() } else { format!(" ({})", key.process) };
    format!("[fence:{}] {times} times: {}{process} {}", key.layer.name(), key.what, key.subject.text())
}

fn count(n: u64, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

/// What denied it and what would allow it, as far as that is known.
fn advice(event: &Event) -> Option<String> {
    let rule = event.rule.as_ref().map(|rule| format!("denied by {rule}"));
    let allow = event.allow.as_ref().map(|line| format!("to allow it: {line}"));
    let parts: Vec<String> = [rule, allow].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// A line that GitHub Actions shows beside the job; its format gives a meaning to `%` and line ends.
fn warning(event: &Event, advice: &str) -> String {
    let text = format!("{} {}; {advice}", event.what, event.subject.text());
    let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    format!("::warning title=fence {}::{text}", event.layer.name())
}

/// Text in a cell of a Markdown table: what could end the cell or the line, or be HTML, is taken out.
fn cell(text: &str) -> String {
    let text = crate::error::printable(text);
    text.replace('\\', "\\\\").replace('|', "\\|").replace('`', "'").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(layer: Layer, path: &str) -> Event {
        Event::new(layer, Outcome::Denied, "openat: Permission denied", Subject::Path(path.into()))
            .process(1, "cat")
            .allow(format!("allow {path}"))
    }

    fn monitor() -> Report {
        Report::new(Style { monitor: true, ..Style::default() })
    }

    #[test]
    fn what_is_shown_depends_on_the_flags() {
        let allowed = Event::new(Layer::Http, Outcome::Allowed, "GET", Subject::Host("h".into()));
        let denied = Event { outcome: Outcome::Denied, ..allowed.clone() };
        let exec = Event { layer: Layer::Exec, ..denied.clone() };
        for (monitor, debug, shown) in
            [(false, false, [0, 0, 1]), (true, false, [0, 1, 1]), (false, true, [1, 1, 1])]
        {
            let mut report = Report::new(Style { monitor, debug, ..Style::default() });
            let lines = [&allowed, &denied, &exec].map(|event| report.take(event, "", 0).len());
            assert_eq!(lines, shown, "{monitor} {debug}");
        }
    }

    #[test]
    fn repeats_are_counted_and_advice_comes_once() {
        let mut report = monitor();
        let event = denied(Layer::Ebpf, "/x");
        assert_eq!(
            report.take(&event, "10:00:00", 0),
            [
                "[fence:ebpf] 10:00:00 ✗ openat: Permission denied (cat, pid=1) /x",
                "[fence:ebpf]   to allow it: allow /x"
            ]
        );
        assert!(report.take(&event.clone().process(2, "cat"), "10:00:01", 1).is_empty());
        assert_eq!(report.take(&event.clone().process(2, "dog"), "10:00:01", 1).len(), 1);
        assert_eq!(
            report.end(),
            ["[fence:ebpf] 2 times: openat: Permission denied (cat) /x", "[fence] 3 denials: 1 path"]
        );
    }

    /// Not once more than the exec layer told, and never another path or errno.
    #[test]
    fn a_refused_exec_is_told_once() {
        let mut report = monitor();
        let exec = |what: &str, path: &str| {
            Event::new(Layer::Ebpf, Outcome::Denied, what, Subject::Path(path.into()))
        };
        let refused = exec("execve: Operation not permitted", "/bin/x");
        report.exec_refused("/bin/x".into());
        assert_eq!(report.take(&exec("execve: Permission denied", "/bin/x"), "", 0).len(), 1);
        assert_eq!(report.take(&exec("execve: Operation not permitted", "/bin/y"), "", 0).len(), 1);
        assert_eq!(report.take(&refused, "", 0).len(), 0);
        assert_eq!(report.take(&refused, "", 0).len(), 1);
    }

    #[test]
    fn requests_are_shown_each_time() {
        let mut report = monitor();
        let event = Event::new(Layer::Http, Outcome::Denied, "GET 403", Subject::Host("h".into()));
        assert_eq!(report.take(&event, "", 0).len(), 1);
        assert_eq!(report.take(&event, "", 0).len(), 1);
        assert_eq!(report.end(), ["[fence] 2 denials: 1 host"]);
    }

    #[test]
    fn a_failed_command_is_told_once_what_was_blocked() {
        let blocked = |style: Style, hosts: &[&str]| {
            let mut report = Report::new(style);
            for host in hosts {
                report.take(
                    &Event::new(Layer::Http, Outcome::Denied, "GET 403", Subject::Host((*host).into())),
                    "",
                    0,
                );
            }
            let allowed = Event::new(Layer::Http, Outcome::Allowed, "GET 200", Subject::Host("good".into()));
            report.take(&allowed, "", 0);
            report.blocked()
        };
        let quiet = Style::default();
        assert_eq!(blocked(quiet, &[]), None);
        let tail = "were blocked: network.allowedDomains allows hosts, -m shows each denial";
        assert_eq!(blocked(quiet, &["b", "a", "b"]), Some(format!("connections to a, b {tail}")));
        let five = blocked(quiet, &["a", "b", "c", "d", "e"]);
        assert_eq!(five, Some(format!("connections to a, b, c and 2 more {tail}")));
        assert_eq!(blocked(Style { monitor: true, ..quiet }, &["a"]), None);
    }

    #[test]
    fn objects_are_one_a_line() {
        let mut report = Report::new(Style { monitor: true, json: true, ..Style::default() });
        let lines = report.take(&denied(Layer::Ebpf, "/a\n\"b"), "", 7);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains(r#""path":"/a\n\"b""#), "{}", lines[0]);
        assert_eq!(
            report.end(),
            [r#"{"level":"summary","denials":1,"hosts":0,"paths":1,"commands":0,"calls":0}"#]
        );
    }

    #[test]
    fn a_name_cannot_make_a_workflow_command_or_a_table_of_its_own() {
        let mut report = Report::new(Style { monitor: true, github: true, ..Style::default() });
        let lines = report.take(&denied(Layer::Ebpf, "/a\n::error::%|`<b>"), "", 0);
        assert!(
            lines[2].starts_with("::warning title=fence ebpf::") && !lines[2].contains('\n'),
            "{lines:?}"
        );
        let table = report.markdown();
        assert_eq!(table.lines().count(), 5, "{table}");
        assert!(table.ends_with("| ebpf | openat: Permission denied /a\\\\n::error::%\\|'&lt;b> | 1 | `allow /a\\\\n::error::%\\|'&lt;b>` |\n"), "{table}");
    }

    #[test]
    fn nothing_grows_without_end() {
        let mut report = monitor();
        for n in 0..3 * REMEMBERED {
            report.take(&denied(Layer::Ebpf, &n.to_string()), "", 0);
        }
        assert_eq!((report.seen.len(), report.advised.len()), (REMEMBERED, REMEMBERED));
        assert_eq!(report.denials, 3 * REMEMBERED as u64);
    }
}
