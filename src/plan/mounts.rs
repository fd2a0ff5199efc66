//! The mount table: effective rules per path → mounts, parents before children.

use super::files::{PRIVATE_TMP, Place, Rule, Rules};
use crate::map::Map;
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
        /// It protects what is there: when the host's file is gone by now there is nothing to protect, and when the host
        /// replaces it, the mount is made again.
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
    /// The same over a socket, whose server may be gone by now.
    MaskSocket(PathBuf),
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
    /// A text of fence's own, read-only over a file that is there.
    Text {
        /// What it says.
        text: &'static str,
        /// Where the file is made, inside a file system in memory.
        at: PathBuf,
        /// What it is laid over.
        over: PathBuf,
    },
    /// A symbolic link inside a file system in memory.
    Link {
        /// Where.
        at: PathBuf,
        /// What it says.
        text: PathBuf,
    },
    /// A symbolic link bound on itself: a mount point can't be replaced.
    KeepLink(PathBuf),
    /// A symbolic link to a copy over a protected file: who replaces or writes the file does that to the copy.
    Copy {
        /// The file.
        of: PathBuf,
        /// The copy's own directory, inside a file system in memory.
        at: PathBuf,
    },
    /// Makes a mount that was filled read-only.
    Seal(PathBuf),
    /// A part of a fresh file system, bound on itself read-only.
    ReadOnlyPart(PathBuf),
}

impl Mount {
    /// Where a mount is that protects something of the host: one that is lost when the host replaces or removes that.
    pub fn protects(&self) -> Option<&Path> {
        let path = match self {
            Mount::Bind { to, may_be_gone: true, .. } => to,
            Mount::MaskDirectory(at)
            | Mount::MaskFile(at)
            | Mount::MaskSocket(at)
            | Mount::KeepLink(at)
            | Mount::Copy { of: at, .. } => at,
            _ => return None,
        };
        let own = ["/dev", "/proc", "/sys"].iter().any(|top| path.starts_with(top));
        (!own).then_some(path)
    }
}

/// What holds at a path while the table is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    shows: Shows,
    /// The mount that shows it is writable.
    writable: bool,
    /// Denied for writing: no `allowWrite` below re-opens it.
    denied: bool,
    /// Denied for reading: nothing below shows, unless the command line exposes it.
    masked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    /// Nothing: an empty root.
    Nothing,
    /// The host's tree.
    Host,
    /// A file system of the sandbox's own.
    Own,
}

/// A place on the way from the root to the path at hand.
struct Level {
    path: PathBuf,
    state: State,
    /// Becomes read-only when all below is in place.
    seal: bool,
}

/// Lays the rules out as mounts. The root comes first, then every path after its parents.
pub fn table(rules: &Rules) -> Vec<Mount> {
    let exposed = rules.places.iter().filter(|(_, rule)| matches!(rule.place, Place::Expose { .. }));
    let mut table = Table {
        mounts: Vec::with_capacity(rules.places.len() + 8),
        levels: Vec::new(),
        exposed: exposed.map(|(path, _)| path.clone()).collect(),
    };
    let root = rules.places.get(Path::new("/")).map(|rule| &rule.place);
    let writable = !rules.empty_root && root.is_some_and(Place::opens);
    table.mounts.push(if rules.empty_root {
        Mount::EmptyRoot
    } else {
        Mount::HostRoot { read_only: !writable }
    });
    table.levels.push(Level {
        path: PathBuf::from("/"),
        state: State {
            shows: if rules.empty_root { Shows::Nothing } else { Shows::Host },
            writable,
            denied: root == Some(&Place::Deny),
            masked: false,
        },
        seal: rules.empty_root,
    });
    for (path, rule) in rules.places.iter().filter(|(path, _)| *path != Path::new("/")) {
        table.place(path, rule);
    }
    table.leave(|_| true);
    for mount in &mut table.mounts {
        if let Mount::MaskFile(at) = mount
            && rules.hidden_sockets.contains(at)
        {
            *mount = Mount::MaskSocket(std::mem::take(at));
        }
    }
    copies(rules, &mut table.mounts);
    table.mounts
}

/// The copies come last: the file system that they are made in has to be there.
fn copies(rules: &Rules, mounts: &mut Vec<Mount>) {
    let Some(dir) = own_directory(mounts).filter(|_| !rules.copied.is_empty()) else { return };
    let is_copied = |mount: &mut Mount| match mount {
        Mount::Bind { to, read_only: true, may_be_gone: true, .. } => {
            rules.copied.contains(to) && !rules.named.contains_key(to)
        }
        _ => false,
    };
    let copied: Vec<Mount> = mounts.extract_if(.., is_copied).collect();
    for (n, of) in copied.iter().filter_map(Mount::protects).enumerate() {
        let at = Path::new(dir).join(format!("fence-config-{n}"));
        mounts.push(Mount::Copy { of: of.to_path_buf(), at });
    }
}

/// A directory of the sandbox's own that the command may write to, for fence's own files.
pub(super) fn own_directory(mounts: &[Mount]) -> Option<&'static str> {
    let own = |dir: &&str| {
        let sealed = |m: &Mount| matches!(m, Mount::Seal(at) if at == Path::new(dir));
        let is = |m: &Mount| matches!(m, Mount::Tmpfs { to, read_only: false, .. } if to == Path::new(dir));
        mounts.iter().any(is) && !mounts.iter().any(sealed)
    };
    ["/run", "/dev/shm", "/tmp"].into_iter().find(own)
}

/// Every directory between a writable place and a pinned rule below it becomes a mount of its own: a mount point can't
/// be renamed, so nobody can move `.git` aside and make a new `.git/hooks` in its place.
pub fn pin_ancestors(places: &mut Map<PathBuf, Rule>, held: &[PathBuf]) {
    let holds = |rule: &Rule| {
        rule.pinned && (matches!(rule.place, Place::Deny | Place::Mask | Place::KeepLink(_)) || rule.denied)
    };
    let above = places.iter().filter(|(_, rule)| holds(rule)).filter_map(|(path, _)| path.parent());
    let mut pins = Vec::new();
    for path in above.chain(held.iter().map(PathBuf::as_path)) {
        let writable = |p: &Path| places.get(p).is_some_and(|rule| rule.place.opens());
        // The outermost writable directory is the mount that counts: writable places inside it are no mounts of theirs.
        if let Some(top) = path.ancestors().filter(|p| writable(p)).last() {
            pins.extend(path.ancestors().take_while(|p| *p != top).map(Path::to_path_buf));
        }
    }
    for pin in pins {
        places.get_or_insert(pin, Rule::new(Place::Pin, true)).fixed = true;
    }
}

struct Table {
    mounts: Vec<Mount>,
    levels: Vec<Level>,
    /// Paths that `--expose-host-path` names.
    exposed: Vec<PathBuf>,
}

impl Table {
    /// Leaves levels from the innermost on, as long as they are done; what must be sealed is sealed then.
    fn leave(&mut self, done: impl Fn(&Level) -> bool) {
        while let Some(level) = self.levels.pop_if(|level| done(level)) {
            if level.seal {
                self.mounts.push(Mount::Seal(level.path));
            }
        }
    }

    fn enter(&mut self, path: &Path, state: State, seal: bool) {
        self.levels.push(Level { path: path.to_path_buf(), state, seal });
    }

    fn place(&mut self, path: &Path, rule: &Rule) {
        self.leave(|level| !path.starts_with(&level.path));
        let Some(above) = self.levels.last().map(|level| level.state) else { return };
        let denied = above.denied;
        match &rule.place {
            Place::Expose { writable } => {
                // Shown is not writable: only the writable form lifts a denial of writes.
                let denied = !writable && (above.denied || above.masked || rule.denied);
                let writable = *writable || above.writable && !denied;
                let open = State { shows: Shows::Host, writable, denied, masked: false };
                if above.shows != Shows::Host {
                    self.show(path, rule, !writable);
                } else if above.writable != writable {
                    self.bind(path, !writable, false);
                }
                self.enter(path, open, false);
            }
            // A masked directory beats all below it.
            _ if above.masked => {}
            Place::Private(private) => self.private(path, private, above),
            Place::Mask => self.mask(path, rule.directory, above),
            Place::Link(text) | Place::KeepLink(text) if above.shows != Shows::Host => {
                self.mounts.push(Mount::Link { at: path.to_path_buf(), text: text.clone() });
            }
            Place::KeepLink(_) if above.writable => self.mounts.push(Mount::KeepLink(path.to_path_buf())),
            Place::Link(_) | Place::KeepLink(_) => {}
            Place::Deny | Place::Guard => {
                let denied = denied || rule.place == Place::Deny;
                let mut state = State { writable: false, denied, ..above };
                if rule.shown && above.shows != Shows::Host {
                    self.show(path, rule, true);
                    state.shows = Shows::Host;
                } else if above.writable {
                    self.bind(path, true, true);
                }
                self.enter(path, state, false);
            }
            Place::Read | Place::Write if above.shows != Shows::Host => {
                let writable = rule.place == Place::Write && !denied;
                self.show(path, rule, !writable);
                self.enter(path, State { shows: Shows::Host, writable, denied, masked: false }, false);
            }
            Place::Write if !above.writable && !denied => {
                self.bind(path, false, false);
                self.enter(path, State { writable: true, ..above }, false);
            }
            Place::Pin | Place::Read | Place::Write => {
                if rule.fixed && above.writable {
                    self.bind(path, false, true);
                }
            }
        }
    }

    fn bind(&mut self, path: &Path, read_only: bool, may_be_gone: bool) {
        self.mounts.push(Mount::Bind {
            from: path.to_path_buf(),
            to: path.to_path_buf(),
            read_only,
            devices: path.starts_with("/dev") && !path.starts_with("/dev/shm"),
            may_be_gone,
        });
    }

    /// A place of the host inside a file system in memory: its mount point is made first.
    fn show(&mut self, path: &Path, rule: &Rule, read_only: bool) {
        self.mounts.push(if rule.directory {
            Mount::Directory { at: path.to_path_buf(), mode: 0o755 }
        } else {
            Mount::File(path.to_path_buf())
        });
        self.bind(path, read_only, false);
    }

    fn mask(&mut self, path: &Path, directory: bool, above: State) {
        let state = State { masked: true, writable: false, ..above };
        let holds_exposed = self.exposed.iter().any(|exposed| exposed.starts_with(path));
        // What never shows needs no mask: a part of an empty root, or of a private /tmp.
        let hidden = match above.shows {
            Shows::Nothing => true,
            Shows::Own => PRIVATE_TMP.iter().any(|tmp| path.starts_with(tmp)),
            Shows::Host => false,
        };
        if directory && holds_exposed && !hidden {
            // A mask of its own, with mount points for what the command line exposes below.
            self.mounts.push(Mount::Tmpfs { to: path.to_path_buf(), mode: 0o755, read_only: false });
            self.enter(path, State { shows: Shows::Own, ..state }, true);
            return;
        }
        if !hidden {
            self.mounts.push(if directory {
                Mount::MaskDirectory(path.to_path_buf())
            } else {
                Mount::MaskFile(path.to_path_buf())
            });
        }
        self.enter(path, state, false);
    }

    fn private(&mut self, path: &Path, private: &[Mount], above: State) {
        if above.shows != Shows::Host {
            self.mounts.push(Mount::Directory { at: path.to_path_buf(), mode: 0o755 });
        }
        let seals = |mount: &Mount| matches!(mount, Mount::Seal(at) if at == path);
        let sealed = private.iter().any(seals);
        self.mounts.extend(private.iter().filter(|mount| !seals(mount)).cloned());
        let state =
            State { shows: Shows::Own, writable: false, denied: above.denied || sealed, masked: false };
        self.enter(path, state, sealed);
    }
}
