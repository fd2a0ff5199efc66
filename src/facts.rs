//! What the host can do and what the paths are: a snapshot that `probe` takes and `plan` reads. Plain data, so a test
//! writes it as a literal.

use crate::map::{Map, Set};
use crate::tables::protected;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// Who makes the sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// fence's own namespaces.
    #[default]
    Native,
    /// bubblewrap's, which policy may allow where it does not allow ours.
    Bwrap,
    /// Nobody makes namespaces: Landlock and seccomp hold the command on the host's own tree.
    Landlock,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Native => "native",
            Engine::Bwrap => "bwrap",
            Engine::Landlock => "landlock",
        })
    }
}

/// The whole snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The engine to plan for.
    pub engine: Engine,
    /// The kernel lets nobody mount a fresh /proc here (a container's is masked): a PID namespace would have a wrong one.
    pub masked_proc: bool,
    /// bubblewrap, where the engine is to be that.
    pub bwrap: Option<Bwrap>,
    /// The errno that the native engine met, where it does not work.
    pub refused: Option<i32>,
    /// What was tried before this engine and why it does not work here, a sentence for each.
    pub tried: Vec<String>,
    /// Entries of the directories that the engine `landlock` allows one by one; symbolic links left out.
    pub listings: Map<PathBuf, Vec<Entry>>,
    /// A directory that temporary files can be made in, where the sandbox gets no /tmp of its own.
    pub scratch: Option<PathBuf>,
    /// Effective user id of the caller.
    pub uid: u32,
    /// Effective group id of the caller.
    pub gid: u32,
    /// The caller's effective capabilities as a bit set.
    pub capabilities: u64,
    /// open_tree(2), move_mount(2) and mount_setattr(2) work (Linux 5.12).
    pub mount_setattr: bool,
    /// Landlock's ABI; 0: not there.
    pub landlock_abi: u32,
    /// seccomp filters can be installed.
    pub seccomp: bool,
    /// Canonical working directory.
    pub cwd: PathBuf,
    /// `$HOME`, when set and absolute.
    pub home: Option<PathBuf>,
    /// The files that the policy was read from.
    pub policy_files: Vec<PathBuf>,
    /// fence's own executable.
    pub executable: Option<PathBuf>,
    /// The terminal behind fd 0, 1 or 2.
    pub terminal: Option<PathBuf>,
    /// What was found at each path that the policy or the engine asks about.
    pub paths: Map<PathBuf, Found>,
    /// Paths that were asked about and led to nothing.
    pub absent: Set<PathBuf>,
    /// Paths that can't be looked up because the caller's own directory on the way is closed to him, with that directory:
    /// the command could open it again.
    pub blocked: Map<PathBuf, Found>,
    /// The caller's own directories that glob patterns could not be searched for in.
    pub closed: Vec<Found>,
    /// Paths above those that were asked about: whether they go through no symbolic link; none: nothing is there.
    pub canonical: Map<PathBuf, Option<bool>>,
    /// Of the absent ones: as asked for → where they would appear, if anywhere. Left out: plain names in directories that `canonical` knows.
    pub missing: Map<PathBuf, Option<Missing>>,
    /// Unix sockets of the host outside the private places (real paths), where Landlock does not keep them out of reach.
    pub sockets: Vec<PathBuf>,
    /// Directories that git does not take for a repository, and what they lack of what would make them one.
    pub not_bare: Vec<(PathBuf, Vec<&'static str>)>,
    /// The working directory has no `.git` and lies in a git work tree whose top is a directory above, or in a bare repository.
    pub inside_repository: bool,
    /// fence's own directory of the user's state, where it could be made.
    pub state: Option<PathBuf>,
    /// Matches of each glob pattern of the policy, resolved.
    pub globs: Map<String, Vec<Found>>,
    /// Other paths of what the policy denies, where a file system is mounted more than once: real path → the others.
    pub aliases: Map<PathBuf, Vec<PathBuf>>,
    /// Built-in protected names found deeper in the working directory (real paths).
    pub protected: Vec<PathBuf>,
    /// Directories that could not be searched for glob matches, with the reason: the first few, and how many more.
    pub unread: Vec<String>,
    /// Git directories that belong to writable directories.
    pub git: Vec<Repository>,
    /// Names in `/`, for a root that is built from parts.
    pub root_entries: Vec<PathBuf>,
    /// Running under WSL with Windows interop registered.
    pub wsl_interop: bool,
    /// Inherited descriptors above 2.
    pub descriptors: Vec<Descriptor>,
    /// Standard descriptors that are regular files opened for reading only: number and path.
    pub read_only_stdio: Vec<(i32, PathBuf)>,
    /// The shell that runs a `-c` line.
    pub shell: Option<PathBuf>,
    /// The command's first word names a program on PATH (or is a path).
    pub first_word_on_path: bool,
    /// The caller's environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Sockets of the host's that have a file, where there is no mount namespace to hide them: device and inode.
    pub unix_files: Vec<FileId>,
    /// The proxies' ports on the host's loopback, where the command is to have the host's network.
    pub host_proxy: Option<HostProxy>,
    /// The programs that rules on commands name, where they were found: by the word of the rule.
    pub programs: Map<String, Vec<Program>>,
    /// Every name on PATH of those files, where exec is to be judged.
    pub program_names: Map<FileId, Vec<String>>,
    /// Whether exec can be judged here, where the policy wants that: a signal does not disturb a call that waits (5.19), or
    /// why not at all.
    pub exec_listener: Option<std::result::Result<bool, String>>,
    /// Whether the eBPF monitor is loaded, or why not; None: nobody asked for it.
    pub monitor: Option<Result<(), String>>,
    /// Eight hexadecimal digits that differ from run to run.
    pub nonce: String,
}

/// bubblewrap, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bwrap {
    /// Where.
    pub path: PathBuf,
    /// It runs with root's rights, whoever starts it.
    pub setuid: bool,
}

/// Proxies that listen on the host's loopback, where other users are too: who knows the token may use them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostProxy {
    /// Port of the HTTP proxy.
    pub http: u16,
    /// Port of the SOCKS proxy.
    pub socks: u16,
    /// The password of the user `fence`.
    pub token: String,
}

/// What stands at a path on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// With all symbolic links resolved.
    pub real: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Symbolic links met on the way, with their text: (link, target).
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Number of hard links.
    pub nlink: u64,
}

/// Where something that does not exist would appear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The path with all symbolic links resolved, as far as it exists.
    pub real: PathBuf,
    /// The deepest directory of it that exists.
    pub there: PathBuf,
    /// Symbolic links met on the way, with their text.
    pub links: Vec<(PathBuf, PathBuf)>,
}

/// Kinds of files that matter to the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A device, socket or pipe.
    Other,
}

/// A file's identity, whatever its name: device and inode.
pub type FileId = (u64, u64);

/// A program that a rule names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Where.
    pub found: Found,
    /// Which file.
    pub file: FileId,
    /// It is the shell that runs the `-c` line.
    pub shell: bool,
    /// Names of commands that scripts need and that are this file too.
    pub critical: Vec<&'static str>,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: OsString,
    /// It is a directory.
    pub directory: bool,
    /// The file, where it has other names too (hard links).
    pub linked: Option<FileId>,
}

/// An inherited descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Descriptor {
    /// Its number, above 2.
    pub number: i32,
    /// It is an anonymous pipe, which stays (process substitution, make's job server).
    pub pipe: bool,
}

/// A git repository's directories, as facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repository {
    /// The directory whose `.git` this is.
    pub work_tree: PathBuf,
    /// The git directory itself.
    pub git_dir: PathBuf,
    /// The directory that linked work trees share; equal to `git_dir` otherwise.
    pub common_dir: PathBuf,
    /// `.git` is a file whose repository points back at this work tree: it is a linked work tree or a submodule for sure.
    pub linked: bool,
    /// Files and directories that make git run code: kept read-only.
    pub protect: Vec<PathBuf>,
    /// Paths that would make git run code if they existed.
    pub absent: Vec<PathBuf>,
    /// `config` files of modules, protected too: git rewrites them in daily work, so the command gets copies.
    pub modules: Vec<PathBuf>,
}

impl Facts {
    /// What stands at `path`, if anything.
    pub fn at(&self, path: impl AsRef<Path>) -> Option<&Found> {
        self.paths.get(path.as_ref())
    }

    /// Protected names that something obeys without being told to, where they count: in the home directory, and where the
    /// caller's environment says that it is looked for instead.
    pub fn obeyed(&self) -> Vec<PathBuf> {
        let named = |name: &str| {
            let value =
                self.environment.iter().find(|(key, _)| key == name).map(|(_, value)| Path::new(value));
            value.filter(|path| path.is_absolute())
        };
        let (config, zsh) = (named("XDG_CONFIG_HOME"), named("ZDOTDIR"));
        let rows = protected::PROTECTED.iter().filter(|row| row.by_itself);
        let places = rows.flat_map(|row| {
            let config = config.zip(row.name.strip_prefix(".config/"));
            let zsh = zsh.filter(|_| row.name.starts_with(".z")).map(|path| (path, row.name));
            [self.home.as_deref().map(|path| (path, row.name)), config, zsh]
        });
        places.flatten().map(|(path, name)| path.join(name)).collect()
    }

    /// Notes fence's own directory of the user's state, which is canonical.
    pub fn state_is(&mut self, state: Option<PathBuf>) {
        if let Some(real) = &state {
            let found = Found { real: real.clone(), kind: Kind::Directory, links: Vec::new(), nlink: 1 };
            self.paths.insert(real.clone(), found);
        }
        self.state = state;
    }

    /// Where something that does not exist at `path` would appear.
    pub fn missing_at(&self, path: &Path) -> Option<Missing> {
        let plain = || {
            let there = path.parent().filter(|parent| self.canonical.get(*parent) == Some(&Some(true)))?;
            Some(Missing { real: path.to_path_buf(), there: there.to_path_buf(), links: Vec::new() })
        };
        let missing = || self.missing.get(path).cloned().unwrap_or_else(plain);
        if self.paths.contains_key(path) { None } else { missing() }
    }

    /// Whether the caller has the capability with this number.
    pub fn capable(&self, capability: u32) -> bool {
        self.capabilities & (1 << capability) != 0
    }
}
