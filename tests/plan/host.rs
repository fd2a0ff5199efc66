//! A host made of words: paths that exist, and the facts that a probe would find there.

use fence::cli::{Command, Run};
use fence::config::Policy;
use fence::facts::{Engine, Entry, Facts, Found, Kind, Missing, Repository};
use fence::plan::{self, wanted};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// What every host but an empty one has.
const USUAL: &str = "/usr/bin/ /usr/lib/ /usr/lib64/ /etc/passwd /etc/resolv.conf /proc/ /sys/ /dev/null /dev/zero /dev/full \
                     /dev/random /dev/urandom /dev/tty /dev/kmsg /tmp/ /var/tmp/ /var/log/ /run/ /opt/";
const USUAL_LINKS: [(&str, &str); 4] =
    [("/bin", "usr/bin"), ("/lib", "usr/lib"), ("/lib64", "usr/lib64"), ("/var/run", "/run")];

enum Node {
    Directory,
    File,
    Device,
    Link(PathBuf),
}

pub(crate) struct Host {
    nodes: BTreeMap<PathBuf, Node>,
    pub(crate) run: Run,
    facts: Facts,
}

impl Host {
    /// An ordinary Linux with `/home/me/proj`, user 1000, a recent kernel.
    pub(crate) fn usual() -> Host {
        let mut host = Host::empty();
        host.has(USUAL);
        for (at, text) in USUAL_LINKS {
            host.link(at, text);
        }
        host
    }

    fn empty() -> Host {
        let facts = Facts {
            uid: 1000,
            gid: 1000,
            landlock_abi: 7,
            mount_setattr: true,
            seccomp: true,
            cwd: "/home/me/proj".into(),
            home: Some("/home/me".into()),
            nonce: "01234567".into(),
            first_word_on_path: true,
            ..Facts::default()
        };
        let run = Run { command: Command::Argv(vec!["true".into()]), ..Run::default() };
        let mut host = Host { nodes: BTreeMap::from([("/".into(), Node::Directory)]), run, facts };
        host.has("/home/me/proj/");
        host
    }

    pub(crate) fn from_comments(text: &str) -> Host {
        let lines: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("// ")).collect();
        let mut host = if lines.contains(&"scratch") { Host::empty() } else { Host::usual() };
        for line in lines {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            let words: Vec<&str> = value.split_whitespace().collect();
            match key {
                "has" => host.has(value),
                "link" => host.link(words[0], words[1]),
                "cwd" => host.facts.cwd = value.into(),
                "home" => host.facts.home = (value != "none").then(|| value.into()),
                "uid" => host.user(value.parse().unwrap()),
                "abi" => host.facts.landlock_abi = value.parse().unwrap(),
                "glob" => host.glob(words[0], &words[1..]),
                "deep" => host.facts.protected.extend(words.iter().map(PathBuf::from)),
                "git" => host.git(&words),
                "wsl" => host.facts.wsl_interop = true,
                "executable" => host.facts.executable = Some(value.into()),
                "alias" => host.alias(words[0], words[1]),
                "run" => host.flag(&words),
                "engine" => host.facts.engine = Engine::Landlock,
                // Anything else explains the case.
                _ => {}
            }
        }
        host
    }

    /// Paths that exist; their parents too.
    pub(crate) fn has(&mut self, paths: &str) {
        for word in paths.split_whitespace() {
            let path = Path::new(word);
            for parent in path.ancestors().skip(1) {
                self.nodes.entry(parent.into()).or_insert(Node::Directory);
            }
            let node = match word {
                word if word.ends_with('/') => Node::Directory,
                word if word.starts_with("/dev/") => Node::Device,
                _ => Node::File,
            };
            self.nodes.insert(path.components().collect(), node);
        }
    }

    fn link(&mut self, at: &str, text: &str) {
        self.nodes.insert(at.into(), Node::Link(text.into()));
    }

    pub(crate) fn cwd(&mut self, path: &str) {
        self.facts.cwd = path.into();
    }

    fn user(&mut self, uid: u32) {
        self.facts.uid = uid;
        self.facts.gid = uid;
        self.facts.capabilities = if uid == 0 { u64::MAX } else { 0 };
    }

    fn glob(&mut self, pattern: &str, matches: &[&str]) {
        let found = matches.iter().map(|path| self.find(Path::new(path)).expect("a match that exists"));
        let found = found.collect();
        self.facts.globs.insert(pattern.into(), found);
    }

    fn git(&mut self, words: &[&str]) {
        let git_dir = PathBuf::from(words[1]);
        let common_dir = PathBuf::from(words.get(2).unwrap_or(&words[1]));
        let both = [git_dir.clone(), common_dir.clone()];
        let mut protect: Vec<PathBuf> = both
            .iter()
            .flat_map(|dir| ["config", "hooks", "commondir", "gitdir"].map(|n| dir.join(n)))
            .collect();
        protect.dedup();
        let linked = words.len() > 2;
        let work_tree = words[0].into();
        let absent = vec![git_dir.join("config.worktree")];
        for path in &absent {
            let missing = Missing { real: path.clone(), there: git_dir.clone(), links: Vec::new() };
            self.facts.missing.insert(path.clone(), Some(missing));
        }
        self.facts.git.push(Repository {
            work_tree,
            git_dir,
            common_dir,
            linked,
            protect,
            absent,
            modules: Vec::new(),
        });
    }

    fn alias(&mut self, path: &str, other: &str) {
        self.has(other);
        self.facts.aliases.get_or_insert(path.into(), Vec::new()).push(other.into());
    }

    fn flag(&mut self, words: &[&str]) {
        let value: OsString = words[1].into();
        match words[0] {
            "expose-host-path" => self.run.expose_read.push(value),
            "expose-host-path-rw" => self.run.expose_write.push(value),
            "allow-syscall" => self.run.allow_syscalls.push(words[1].into()),
            "service-execution-model" => self.run.services_on_host = words[1] == "on-host",
            "command" => self.run.command = Command::Argv(words[1..].iter().map(OsString::from).collect()),
            other => panic!("unknown flag {other}"),
        }
    }

    /// Everything that exists, links apart.
    pub(crate) fn all(&self) -> Vec<(PathBuf, bool)> {
        let real = self.nodes.iter().filter(|(_, node)| !matches!(node, Node::Link(_)));
        real.map(|(path, node)| (path.clone(), matches!(node, Node::Directory))).collect()
    }

    /// Looks a path up as the kernel does.
    fn find(&self, path: &Path) -> Option<Found> {
        let mut at = PathBuf::from("/");
        let mut links = Vec::new();
        let mut rest: Vec<PathBuf> = parts(path);
        while let Some(part) = rest.pop() {
            if part == Path::new("..") {
                at.pop();
                continue;
            }
            let next = at.join(&part);
            match self.nodes.get(&next)? {
                Node::Link(text) if links.len() < 40 => {
                    links.push((next, text.clone()));
                    at = if text.is_absolute() { "/".into() } else { at };
                    rest.extend(parts(text));
                }
                Node::Link(_) => return None,
                _ => at = next,
            }
        }
        let kind = match self.nodes.get(&at)? {
            Node::Directory => Kind::Directory,
            Node::File => Kind::File,
            _ => Kind::Other,
        };
        Some(Found { real: at, kind, links, nlink: 1 })
    }

    /// What the probe would say about this host.
    pub(crate) fn facts(&self, policy: &Policy) -> Facts {
        let mut facts = self.facts.clone();
        let mut paths =
            wanted::literal_paths(policy, &self.run, facts.uid, &facts.cwd, facts.home.as_deref());
        paths.extend(wanted::words(&self.run).map(|word| facts.cwd.join(word)));
        if !policy.filesystem.allow_write.is_empty() {
            paths.extend(facts.obeyed());
        }
        paths.extend(facts.protected.iter().chain(&facts.executable).cloned());
        paths.extend(facts.git.iter().flat_map(|repository| repository.protect.clone()));
        let top = |path: &&PathBuf| path.components().count() == 2;
        facts.root_entries = self.nodes.keys().filter(top).cloned().collect();
        paths.extend(facts.root_entries.iter().cloned());
        for path in paths {
            if let Some(found) = self.find(&path) {
                facts.paths.insert(path, found);
            }
        }
        if facts.engine == Engine::Landlock {
            facts.scratch = Some("/tmp".into());
            for dir in plan::alone::to_list(policy, &self.run, &facts).unwrap_or_default() {
                let entries = self.nodes.iter().filter(|(path, _)| path.parent() == Some(&dir));
                let entries = entries.filter(|(_, node)| !matches!(node, Node::Link(_)));
                let entry = |(path, node): (&PathBuf, &Node)| Entry {
                    name: path.file_name().unwrap().into(),
                    directory: matches!(node, Node::Directory),
                    linked: None,
                };
                facts.listings.insert(dir.clone(), entries.map(entry).collect());
            }
        }
        let bases = wanted::writable_roots(policy, &facts);
        let watched = wanted::watched_paths(policy, &facts.cwd, facts.home.as_deref(), &bases);
        for path in watched.into_iter().chain(facts.obeyed()) {
            let there = path.ancestors().skip(1).find(|above| self.nodes.contains_key(*above));
            if !facts.paths.contains_key(&path) && self.find(&path).is_none() && !bases.is_empty() {
                let there = there.unwrap_or(Path::new("/")).to_path_buf();
                let missing = Missing { real: path.clone(), there, links: Vec::new() };
                facts.missing.insert(path, Some(missing));
            }
        }
        facts
    }
}

/// The names of a path, last first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let names = path.components().filter(|c| matches!(c, Component::Normal(_) | Component::ParentDir));
    names.rev().map(|c| PathBuf::from(c.as_os_str())).collect()
}
