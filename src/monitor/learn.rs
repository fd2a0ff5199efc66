//! What one run needed beyond its policy → a configuration that allows that. Pure.

use crate::config::jsonc;
use crate::json::Json;
use crate::map::Map;
use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;
use std::fmt::Write;
use std::path::Path;

/// More entries than this in one directory become the directory.
const SIBLINGS: usize = 3;

/// What was seen, each with the program that did it first. One type of map for all: each costs room in the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Places that were written to: for a file its directory, for a new directory itself.
    pub writes: Seen,
    /// Files that the policy would not have let be read.
    pub reads: Seen,
    /// Hosts, without port.
    pub hosts: Seen,
    /// Ports of the loopback that somebody tried to connect to.
    pub ports: Seen,
    /// Secrets that somebody asked for, and other denials that stay.
    pub denied: Seen,
}

/// What → who.
pub type Seen = Map<String, String>;

/// The run that was watched.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Its command, as it was typed.
    pub command: &'a str,
    /// Its working directory.
    pub cwd: &'a Path,
    /// `$HOME`
    pub home: Option<&'a Path>,
    /// What the new configuration goes on from: a template or another file.
    pub extends: Option<&'a str>,
}

/// A list of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// `filesystem`
    pub section: &'static str,
    /// `allowWrite`
    pub key: &'static str,
    /// Each entry as JSON, and who needed it.
    pub entries: Vec<(String, String)>,
}

impl Learned {
    /// The lists of the configuration that are not empty.
    pub fn lists(&self, run: Run<'_>) -> Vec<List> {
        let few = |seen: &Seen| few(seen, run);
        let (reads, writes) = (few(&self.reads), few(&self.writes));
        let mut lists = Vec::new();
        for (section, key, seen) in [
            ("filesystem", "allowRead", &reads),
            ("filesystem", "allowWrite", &writes),
            ("network", "allowedDomains", &self.hosts),
            ("network", "allowLocalOutboundPorts", &self.ports),
        ] {
            let entry = |text: &String| match key {
                "allowLocalOutboundPorts" => text.clone(),
                "allowedDomains" => Json::str(text).compact(),
                _ => Json::str(written(Path::new(text), run)).compact(),
            };
            let entries: Vec<(String, String)> =
                seen.iter().map(|(what, who)| (entry(what), who.clone())).collect();
            lists.push(List { section, key, entries });
        }
        lists.retain(|list| !list.entries.is_empty());
        lists
    }

    /// A whole file, with comments.
    pub fn file(&self, run: Run<'_>) -> String {
        let mut text = format!("// What one run needed, as fence learn saw it: {}\n", comment(run.command));
        text += "// Read it before you use it: each entry allows that to everything that runs with this file.\n{\n";
        let mut parts = Vec::new();
        if let Some(extends) = run.extends {
            parts.push(format!("  \"extends\": {}", Json::str(extends).compact()));
        }
        let lists = self.lists(run);
        for name in ["filesystem", "network"] {
            let mut keys =
                lists.iter().filter(|list| list.section == name).map(List::text).collect::<Vec<_>>();
            if !self.ports.is_empty() && name == "network" {
                keys.insert(0, "    \"allowLocalOutbound\": true".into());
            }
            if !keys.is_empty() {
                parts.push(format!("  \"{name}\": {{\n{}\n  }}", keys.join(",\n")));
            }
        }
        text += &parts.join(",\n");
        text += "\n}\n";
        text + &self.refusals()
    }

    /// What stays denied, as comments.
    pub fn refusals(&self) -> String {
        let mut text = String::new();
        if !self.denied.is_empty() {
            text += "// Stayed denied, and is not allowed by this file:\n";
        }
        for (what, who) in &self.denied {
            _ = writeln!(text, "//   {} ({})", comment(what), comment(who));
        }
        text
    }
}

/// A configuration's text with what was learnt added to it, comments and all; None: the text is none.
pub fn merge(text: &str, learned: &Learned, run: Run<'_>) -> Option<String> {
    let mut text = text.to_string();
    for list in learned.lists(run) {
        let known = entries(&text, &list)?;
        let new: Vec<String> = list
            .entries
            .iter()
            .map(|(entry, _)| entry.clone())
            .filter(|entry| !known.contains(entry))
            .collect();
        if !new.is_empty() {
            text = add(&text, list.section, list.key, &new.join(", "))?;
        }
    }
    Some(text + &learned.refusals())
}

/// What a list has already, as it is written.
fn entries(text: &str, list: &List) -> Option<Vec<String>> {
    let Value::Object(root) = jsonc::parse(text).ok()? else { return None };
    let array = root.get_object(list.section).and_then(|section| section.get_array(list.key));
    let written = |value: &Value<'_>| text[value.range().start..value.range().end].to_string();
    Some(array.map_or(Vec::new(), |array| array.elements.iter().map(written).collect()))
}

/// Puts entries into a list, which is made where it is missing, and its section with it.
fn add(text: &str, section: &str, key: &str, entries: &str) -> Option<String> {
    let Value::Object(root) = jsonc::parse(text).ok()? else { return None };
    let object = root.get_object(section);
    let array = object.and_then(|object| object.get_array(key));
    // Ports count only where that is on.
    let switch = key == "allowLocalOutboundPorts"
        && object.and_then(|o| o.get_boolean("allowLocalOutbound")).is_none();
    let switch = if switch { "\"allowLocalOutbound\": true, " } else { "" };
    // Behind the bracket that opens it: what follows is there already, or nothing.
    let (at, what, more) = match (object, array) {
        (_, Some(array)) => (array.range.start + 1, entries.to_string(), !array.elements.is_empty()),
        (Some(object), None) => {
            (object.range.start + 1, format!("{switch}\"{key}\": [{entries}]"), !object.properties.is_empty())
        }
        (None, None) => {
            let what = format!("\"{section}\": {{{switch}\"{key}\": [{entries}]}}");
            (root.range.start + 1, what, !root.properties.is_empty())
        }
    };
    let comma = if more { "," } else { "" };
    Some(format!("{}\n    {what}{comma}{}", &text[..at], &text[at..]))
}

impl List {
    /// The key with its entries, each on a line of its own.
    fn text(&self) -> String {
        let mut text = format!("    \"{}\": [\n", self.key);
        for (i, (entry, who)) in self.entries.iter().enumerate() {
            let comma = if i + 1 < self.entries.len() { "," } else { "" };
            let who = if who.is_empty() { String::new() } else { format!(" // {}", comment(who)) };
            _ = writeln!(text, "      {entry}{comma}{who}");
        }
        text + "    ]"
    }
}

/// Text that can't end the comment that it stands in.
fn comment(text: &str) -> String {
    crate::error::printable(text)
}

/// A path as people write it: `.`, `./x`, `~/x`.
fn written(path: &Path, run: Run<'_>) -> String {
    let below = |top: Option<&Path>| {
        top.filter(|top| *top != Path::new("/")).and_then(|top| path.strip_prefix(top).ok())
    };
    match (below(Some(run.cwd)), below(run.home)) {
        (Some(rest), _) if rest.as_os_str().is_empty() => ".".into(),
        (Some(rest), _) => format!("./{}", rest.display()),
        (_, Some(rest)) if !rest.as_os_str().is_empty() => format!("~/{}", rest.display()),
        _ => path.display().to_string(),
    }
}

/// The same in few entries: the working directory as a whole, a directory for many entries in it, nothing below another one.
fn few(seen: &Seen, run: Run<'_>) -> Seen {
    let mut seen = seen.clone();
    loop {
        let places: Vec<&Path> = seen.keys().map(Path::new).collect();
        let wide = places.iter().filter_map(|path| path.parent()).find(|parent| {
            let inside = places.iter().filter(|path| path.parent() == Some(parent)).count();
            may_be_whole(parent, run) && (inside > SIBLINGS || parent.starts_with(run.cwd))
        });
        let Some(wide) = wide.map(Path::to_path_buf) else { break };
        let who =
            seen.iter().find(|(path, _)| Path::new(path).starts_with(&wide)).map(|(_, who)| who.clone());
        seen.retain(|path, _| !Path::new(path).starts_with(&wide));
        seen.insert(wide.display().to_string(), who.unwrap_or_default());
    }
    let all: Vec<String> = seen.keys().cloned().collect();
    let below = |path: &String, other: &String| other != path && Path::new(path).starts_with(other);
    seen.retain(|path, _| !all.iter().any(|other| below(path, other)));
    seen
}

/// Directories that no count of entries makes writable as a whole: the root, those in it, the home directory with all
/// above, and those in it that every program uses.
fn may_be_whole(path: &Path, run: Run<'_>) -> bool {
    let of_home = |home: &Path| {
        let shared = [".config", ".local", ".local/share", ".local/bin"];
        home.starts_with(path)
            || path.strip_prefix(home).is_ok_and(|rest| shared.iter().any(|dir| rest == Path::new(dir)))
    };
    path.components().count() > 2 && !run.home.is_some_and(of_home)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn run() -> Run<'static> {
        Run {
            command: "npm install\n}",
            cwd: Path::new("/home/u/proj"),
            home: Some(Path::new("/home/u")),
            extends: None,
        }
    }

    fn places(paths: &[&str]) -> Seen {
        paths.iter().map(|path| (path.to_string(), "npm".to_string())).collect()
    }

    fn few_of(paths: &[&str]) -> Vec<String> {
        few(&places(paths), run()).keys().map(|path| written(Path::new(path), run())).collect()
    }

    #[test]
    fn many_entries_become_few() {
        assert_eq!(few_of(&["/home/u/proj/a/b", "/home/u/proj/c"]), ["."]);
        assert_eq!(few_of(&["/home/u/proj"]), ["."]);
        assert_eq!(few_of(&["/home/u/.npm/a", "/home/u/.npm/a/b"]), ["~/.npm/a"]);
        let cache = [
            "/home/u/.npm/c/1",
            "/home/u/.npm/c/2",
            "/home/u/.npm/c/3",
            "/home/u/.npm/c/4",
            "/home/u/.npm/logs",
        ];
        assert_eq!(few_of(&cache), ["~/.npm/c", "~/.npm/logs"]);
        // Never the home directory, the root or what is in it.
        let home = ["/home/u/.a", "/home/u/.b", "/home/u/.c", "/home/u/.d", "/home/u/.e"];
        assert_eq!(few_of(&home).len(), 5);
        let top = ["/srv/a", "/srv/b", "/srv/c", "/srv/d", "/srv/e"];
        assert_eq!(few_of(&top).len(), 5);
    }

    #[test]
    fn what_is_there_stays_and_gets_more() {
        let learned = Learned {
            writes: places(&["/srv/a", "/srv/b"]),
            hosts: places(&["h.org"]),
            ..Learned::default()
        };
        for (text, writes) in [
            ("{}", &["/srv/a", "/srv/b"][..]),
            (
                "// mine\n{\"filesystem\": {\"allowWrite\": [\"/srv/a\" /* a */]}, \"network\": {}}",
                &["/srv/b", "/srv/a"],
            ),
            (
                "{\"filesystem\": {\"denyRead\": []}, \"network\": {\"allowedDomains\": [\"x.org\",]}}",
                &["/srv/a", "/srv/b"],
            ),
        ] {
            let merged = merge(text, &learned, run()).unwrap();
            let file = crate::config::file::read("merged", &merged, false).unwrap().file.policy;
            assert_eq!(file.filesystem.allow_write, writes, "{merged}");
            assert!(file.network.allowed_domains.contains(&"h.org".to_string()), "{merged}");
            assert_eq!(merge(&merged, &learned, run()).unwrap(), merged);
        }
        assert!(merge("[]", &learned, run()).is_none() && merge("{", &learned, run()).is_none());
    }

    #[test]
    fn the_file_is_a_configuration() {
        let learned = Learned {
            writes: places(&["/home/u/proj", "/home/u/.npm/\"x"]),
            hosts: places(&["example.org"]),
            ports: places(&["4873"]),
            denied: [("~/.ssh/id_rsa\n{".to_string(), "cat".to_string())].into_iter().collect(),
            ..Learned::default()
        };
        let text = learned.file(Run { extends: Some("code"), ..run() });
        assert!(text.contains("\"extends\": \"code\""), "{text}");
        let file = crate::config::file::read("learnt", &text, false).unwrap().file.policy;
        assert_eq!(file.filesystem.allow_write, ["~/.npm/\"x", "."], "{text}");
        assert_eq!(file.network.allowed_domains, ["example.org"], "{text}");
        assert_eq!(file.network.allow_local_outbound_ports, [4873], "{text}");
        // What ran can't write a line of the file by its names.
        assert_eq!(
            text.lines().filter(|line| line.starts_with('{') || line.starts_with('}')).count(),
            2,
            "{text}"
        );
    }
}
