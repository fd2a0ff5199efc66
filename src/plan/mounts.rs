//! The mount table: effective rules per path → mounts, parents before children.

use super::files::{Place, Rule, Rules};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One step in building the sandbox's file system; carried out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount {
    /// The host's whole tree as the new root.
    HostRoot {
        /// Nothing in it can be written.
        read_only: bool,
    },
    /// An empty root in memory, to be filled.
    EmptyRoot,
    /// A part of the host's tree at `to`.
    Bind {
        /// Canonical path on the host; no component may be a symbolic link when it is opened.
        from: PathBuf,
        /// Where it appears.
        to: PathBuf,
        /// Nothing below can be written.
        read_only: bool,
        /// Device nodes below can be opened.
        devices: bool,
        /// When the host's file is gone by now there is nothing to protect: go on.
        may_be_gone: bool,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Where.
        to: PathBuf,
        /// Permission bits of its top directory.
        mode: u32,
        /// Nothing in it can be written.
        read_only: bool,
    },
    /// An empty, listable, read-only directory over a directory whose content is denied.
    MaskDirectory(PathBuf),
    /// The null device on a mount that opens no devices, over a file whose content is denied: EACCES for everybody.
    MaskFile(PathBuf),
    /// A fresh procfs of the sandbox's PID namespace.
    Proc(PathBuf),
    /// A fresh devpts.
    Pts(PathBuf),
    /// A directory inside a file system in memory.
    Directory {
        /// Where; parents are made too.
        at: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// An empty file inside a file system in memory, to mount over.
    File(PathBuf),
    /// A symbolic link inside a file system in memory.
    Link {
        /// Where.
        at: PathBuf,
        /// What it says.
        text: PathBuf,
    },
    /// Makes a mount that was filled read-only.
    Seal(PathBuf),
    /// A part of a fresh file system, bound on itself read-only.
    ReadOnlyPart(PathBuf),
}

/// What holds at a path while the table is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing of the host shows (an empty root).
    Hidden,
    /// The host's tree, read-only.
    ReadOnly,
    /// The host's tree, writable.
    Writable,
    /// Denied for writing: no rule below re-opens it.
    Protected,
    /// Denied for reading: nothing below shows.
    Masked,
    /// A file system in memory.
    Private,
}

/// Lays the rules out as mounts. The root comes first, then every path after its parents.
pub fn table(rules: &Rules) -> Vec<Mount> {
    let mut table = Table { mounts: Vec::with_capacity(rules.places.len() + 8), stack: Vec::new() };
    let root = if rules.empty_root {
        table.mounts.push(Mount::EmptyRoot);
        State::Hidden
    } else {
        let writable = matches!(rules.places.get(Path::new("/")), Some(Rule { place: Place::Write, .. }));
        table.mounts.push(Mount::HostRoot { read_only: !writable });
        if writable { State::Writable } else { State::ReadOnly }
    };
    table.stack.push((PathBuf::from("/"), root));
    for (path, rule) in &rules.places {
        if path != Path::new("/") {
            table.place(path, rule);
        }
    }
    table.exposed(&rules.exposed);
    if rules.empty_root {
        table.mounts.push(Mount::Seal(PathBuf::from("/")));
    }
    table.mounts
}

/// Every directory between a writable place and a pinned rule below it becomes a mount of its own: a mount point can't
/// be renamed, so nobody can move `.git` aside and make a new `.git/hooks` in its place.
pub fn pin_ancestors(places: &mut BTreeMap<PathBuf, Rule>) {
    let mut pins = Vec::new();
    for (path, rule) in places.iter() {
        if rule.place != Place::Deny || !rule.pinned {
            continue;
        }
        let writable = |p: &Path| matches!(places.get(p), Some(Rule { place: Place::Write, .. }));
        // The outermost writable directory is the mount that counts: writable places inside it are no mounts of theirs.
        if let Some(top) = path.ancestors().skip(1).filter(|p| writable(p)).last() {
            pins.extend(path.ancestors().skip(1).take_while(|p| *p != top).map(Path::to_path_buf));
        }
    }
    for pin in pins {
        places.entry(pin).or_insert(Rule { place: Place::Pin, pinned: false, directory: true });
    }
}

struct Table {
    mounts: Vec<Mount>,
    stack: Vec<(PathBuf, State)>,
}

impl Table {
    /// What holds at `path`, by the nearest place above it.
    fn state_above(&mut self, path: &Path) -> State {
        while self.stack.len() > 1 && !self.stack.last().is_some_and(|(top, _)| path.starts_with(top)) {
            self.stack.pop();
        }
        self.stack.last().map_or(State::ReadOnly, |(_, state)| *state)
    }

    fn place(&mut self, path: &Path, rule: &Rule) {
        let above = self.state_above(path);
        let state = match (above, &rule.place) {
            (State::Masked, _) => return,
            (State::Hidden | State::Private, Place::Deny | Place::Pin | Place::Mask) => return,
            (State::ReadOnly | State::Protected, Place::Deny | Place::Pin | Place::Read) => return,
            (State::Protected, Place::Write) | (State::Writable, Place::Write | Place::Read) => return,
            (_, Place::Private(private)) => self.private(path, private, above),
            (State::Hidden, Place::Link(text)) => {
                self.mounts.push(Mount::Link { at: path.to_path_buf(), text: text.clone() });
                return;
            }
            (_, Place::Link(_)) => return,
            (State::Hidden | State::Private, Place::Read) => self.show(path, rule, true),
            (State::Hidden | State::Private, Place::Write) => self.show(path, rule, false),
            (State::ReadOnly, Place::Write) => self.bind(path, false, false),
            (State::Writable, Place::Deny) => self.bind(path, true, true),
            (State::Writable, Place::Pin) => self.bind(path, false, false),
            (_, Place::Mask) => self.mask(path, rule.directory),
        };
        self.stack.push((path.to_path_buf(), state));
    }

    fn bind(&mut self, path: &Path, read_only: bool, may_be_gone: bool) -> State {
        self.mounts.push(Mount::Bind {
            from: path.to_path_buf(),
            to: path.to_path_buf(),
            read_only,
            devices: false,
            may_be_gone,
        });
        if read_only { State::Protected } else { State::Writable }
    }

    /// A place of the host inside a file system in memory: its mount point is made first.
    fn show(&mut self, path: &Path, rule: &Rule, read_only: bool) -> State {
        self.mounts.push(if rule.directory {
            Mount::Directory { at: path.to_path_buf(), mode: 0o755 }
        } else {
            Mount::File(path.to_path_buf())
        });
        self.bind(path, read_only, false);
        if read_only { State::ReadOnly } else { State::Writable }
    }

    fn mask(&mut self, path: &Path, directory: bool) -> State {
        self.mounts.push(if directory {
            Mount::MaskDirectory(path.to_path_buf())
        } else {
            Mount::MaskFile(path.to_path_buf())
        });
        State::Masked
    }

    fn private(&mut self, path: &Path, private: &[Mount], above: State) -> State {
        if matches!(above, State::Hidden | State::Private) {
            self.mounts.push(Mount::Directory { at: path.to_path_buf(), mode: 0o755 });
        }
        self.mounts.extend_from_slice(private);
        State::Private
    }

    /// `--expose-host-path`: after all masks, so it opens even a denied path; the user said so on the command line.
    fn exposed(&mut self, exposed: &[(PathBuf, bool, Rule)]) {
        for (path, writable, rule) in exposed {
            if matches!(self.state_at_end(path), State::Hidden | State::Private) {
                self.show(path, rule, !writable);
            } else {
                self.bind(path, !writable, false);
            }
        }
    }

    /// The state at `path` after the whole table is laid out.
    fn state_at_end(&self, path: &Path) -> State {
        let made_here = |m: &&Mount| match m {
            Mount::Tmpfs { to, .. } | Mount::Bind { to, .. } => path.starts_with(to) && path != to,
            Mount::HostRoot { .. } | Mount::EmptyRoot => true,
            _ => false,
        };
        match self.mounts.iter().rev().find(made_here) {
            Some(Mount::EmptyRoot) => State::Hidden,
            Some(Mount::Tmpfs { .. }) => State::Private,
            _ => State::ReadOnly,
        }
    }
}
