//! A place to run in, somebody to run as, and what came out: so that a test reads like a shell session.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// Somebody to run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    pub uid: u32,
}

/// The ordinary user that root runs tests as; it needs no entry in /etc/passwd.
pub const USER: u32 = 1000;

/// Root and an ordinary user, or just the one who runs the tests. No ordinary user where user namespaces are forbidden:
/// what most tests expect needs them. With FENCE_TEST_USERS=own the one who runs the tests, whatever the host forbids.
pub fn everybody() -> Vec<Who> {
    let uid = rustix::process::geteuid().as_raw();
    if std::env::var_os("FENCE_TEST_USERS").is_some_and(|users| users == "own") {
        return vec![Who { uid }];
    }
    let all = if uid == 0 { vec![0, USER] } else { vec![uid] };
    all.into_iter().filter(|uid| *uid == 0 || userns()).map(|uid| Who { uid }).collect()
}

/// Whether an ordinary user may make a user namespace and others below it. Without fence: what fence fails to do is a
/// failure, not a missing feature.
pub fn userns() -> bool {
    static ANSWER: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ANSWER.get_or_init(|| {
        let uid = rustix::process::geteuid().as_raw();
        let world = World::new(Who { uid: if uid == 0 { USER } else { uid } });
        // CLONE_NEWUSER and CLONE_NEWNET: AppArmor may allow the first and then refuse what it is for.
        let tried = world.bare(world.victim(), ["clone", "0x50000000"]);
        let why = format!("ordinary users can't make user namespaces here ({})", tried.out.trim());
        has("userns", tried.status == 0, &why)
    })
}

/// A fresh world for one test as one user: a home, a work directory, the binaries; gone at the end.
pub struct World {
    pub who: Who,
    /// Top directory, owned by the user: `bin/`, `home/`, `work/`.
    pub root: PathBuf,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl World {
    pub fn new(who: Who) -> World {
        // Below /var/lib or /opt rather than /tmp: what lies in a private directory is hidden, which is its own test.
        let base = PathBuf::from(std::env::var_os("FENCE_TEST_DIR").unwrap_or_else(|| {
            if rustix::process::geteuid().is_root() {
                "/opt/fence-test".into()
            } else {
                home_of_tests().into_os_string()
            }
        }));
        fs::create_dir_all(&base).unwrap();
        fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).unwrap();
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = base.join(format!("w{}-{n}", std::process::id()));
        let world = World { who, root: fs::canonicalize(&base).unwrap().join(root.file_name().unwrap()) };
        for dir in ["", "bin", "home", "work"] {
            world.mkdir(world.root.join(dir));
        }
        // By another process: a descriptor open for writing that a test's child inherits makes exec fail with ETXTBSY.
        let fence = Path::new(env!("CARGO_BIN_EXE_fence"));
        let (victim, bin) = (victim(), world.root.join("bin"));
        // An emulator translates each copy anew: with FENCE_TEST_LINK they are the same files in every world.
        let link = |file: &Path| fs::hard_link(file, bin.join(file.file_name().unwrap())).is_ok();
        if std::env::var_os("FENCE_TEST_LINK").is_some() && link(fence) && link(&victim) {
            return world;
        }
        let copied = Command::new(&victim).args([Path::new("copy"), &bin, fence, &victim]).status().unwrap();
        assert!(copied.success(), "a copy of the binaries");
        world
    }

    pub fn fence(&self) -> PathBuf {
        self.root.join("bin/fence")
    }

    pub fn victim(&self) -> PathBuf {
        self.root.join("bin/victim")
    }

    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// Gives fence what `setcap cap_bpf,cap_perfmon+p` does, or `+ep`: the attribute of `struct vfs_cap_data`.
    pub fn capable_fence(&self, effective: bool) {
        self.capable(self.fence(), 1 << 39 | 1 << 38, effective);
    }

    /// The same for any program and any capabilities.
    pub fn capable(&self, program: PathBuf, permitted: u64, effective: bool) {
        let (low, high) = (permitted as u32, (permitted >> 32) as u32);
        let words = [0x0200_0000 | u32::from(effective), low, 0, high, 0];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(program, "security.capability", &bytes, flags).unwrap();
    }

    /// A directory owned by the user.
    pub fn mkdir(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = self.work().join(path);
        if !path.exists() {
            if let Some(parent) = path.parent().filter(|p| p.starts_with(&self.root) && !p.exists()) {
                self.mkdir(parent);
            }
            fs::create_dir(&path).unwrap();
            chown(&path, Some(self.who.uid), Some(self.who.uid)).unwrap();
        }
        path
    }

    /// A file owned by the user, relative to the work directory.
    pub fn write(&self, path: impl AsRef<Path>, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work().join(path);
        self.mkdir(path.parent().unwrap());
        fs::write(&path, text).unwrap();
        chown(&path, Some(self.who.uid), Some(self.who.uid)).unwrap();
        path
    }

    /// A program as this user, in the work directory, with a small environment.
    pub fn command<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.work()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
        command.env("HOME", self.home()).env("LANG", "C.UTF-8").stdin(Stdio::null());
        if rustix::process::geteuid().is_root() {
            command.uid(self.who.uid).gid(self.who.uid);
        }
        command
    }

    /// Runs a program outside the sandbox.
    pub fn bare<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = S>,
    ) -> Ran {
        Ran::of(self.command(program, args))
    }

    /// Runs `fence ARGS`.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let flags = args.first().is_some_and(|arg| arg.as_encoded_bytes().starts_with(b"-"));
        let engine = engine().filter(|_| flags);
        self.bare(self.fence(), engine.into_iter().flatten().chain(args))
    }

    /// Runs `fence -s POLICY -- COMMAND`, the policy given as JSON.
    pub fn fenced<S: AsRef<OsStr>>(&self, policy: &str, command: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(self.fenced_command(policy, command))
    }

    /// The same, not started yet.
    pub fn fenced_command<S: AsRef<OsStr>>(
        &self,
        policy: &str,
        command: impl IntoIterator<Item = S>,
    ) -> Command {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = self.root.join(format!("policy-{n}.json"));
        fs::write(&file, policy).unwrap();
        let mut words: Vec<OsString> = engine().into_iter().flatten().collect();
        words.extend(["-s".into(), file.into_os_string(), "--".into()]);
        words.extend(command.into_iter().map(|w| w.as_ref().to_owned()));
        self.command(self.fence(), words)
    }

    /// Whether what a test is about is what FENCE_TEST_ENGINE can't do, and fence says so for this policy: in a note of the plan,
    /// or when it refuses. The test skips it then. What fence does not say is a failure.
    pub fn engine_lacks(&self, policy: &str, said: &str) -> bool {
        if engine().is_none_or(|engine| engine[1] != "bwrap") {
            return false;
        }
        let output = self.fenced_command(policy, ["true"]).output().unwrap();
        let lacks = String::from_utf8_lossy(&output.stderr).contains(said);
        if lacks {
            _ = std::io::stderr()
                .write_all(format!("SKIP: fence says of the engine bwrap: {said}\n").as_bytes());
        }
        lacks
    }

    /// Runs the victim inside and outside: (inside, outside).
    pub fn victim_both(&self, policy: &str, act: &[&str]) -> (Ran, Ran) {
        let words = || std::iter::once(self.victim().into_os_string()).chain(act.iter().map(|w| w.into()));
        let outside = self.bare(self.victim(), act);
        (self.fenced(policy, words()), outside)
    }
}

/// What the plan of the engine `bwrap` says of itself in any run. Tests look at what is said besides.
const BWRAP: [&str; 3] = [
    "fence: bubblewrap makes no mount again: ",
    "fence: root can change the modes of the host's device nodes: ",
    "fence: inside bubblewrap fence can't answer name queries: ",
];

/// `--engine` and what FENCE_TEST_ENGINE says: the same tests for each engine.
pub fn engine() -> Option<[OsString; 2]> {
    std::env::var_os("FENCE_TEST_ENGINE").map(|engine| ["--engine".into(), engine])
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the world of this test is left at {}", self.root.display());
        } else {
            _ = fs::remove_dir_all(&self.root);
        }
    }
}

/// What came out of a program.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Runs a program to its end, and kills it after ten minutes: a test that hangs is to fail.
    pub fn of(mut command: impl std::borrow::BorrowMut<Command>) -> Ran {
        let command = command.borrow_mut().stdout(Stdio::piped());
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let (ended, end) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            if end.recv_timeout(Duration::from_secs(600)) == Err(RecvTimeoutError::Timeout) {
                _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        });
        let ran = Ran::new(child.wait_with_output().unwrap());
        drop(ended);
        ran
    }

    pub fn new(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let status = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        let mut err = text(output.stderr);
        if engine().is_some_and(|engine| engine[1] == "bwrap") {
            let besides = |line: &&str| !BWRAP.iter().any(|note| line.starts_with(note));
            err = err.split_inclusive('\n').filter(besides).collect();
        }
        Ran { status, out: text(output.stdout), err }
    }

    /// Fails the test unless the program ended with 0.
    #[track_caller]
    pub fn ok(self) -> Ran {
        assert!(self.status == 0, "{self:?}");
        self
    }

    /// Fails the test unless the program ended with this status.
    #[track_caller]
    pub fn status(self, status: i32) -> Ran {
        assert!(self.status == status, "wanted exit status {status}: {self:?}");
        self
    }

    /// Fails the test unless stdout or stderr holds this.
    #[track_caller]
    pub fn says(self, text: &str) -> Ran {
        assert!(self.out.contains(text) || self.err.contains(text), "wanted {text:?}: {self:?}");
        self
    }
}

/// The helper. `cargo test` builds it with everything else; `cargo test --test kernel` alone does not.
fn victim() -> PathBuf {
    static BUILT: std::sync::Once = std::sync::Once::new();
    let victim = Path::new(env!("CARGO_BIN_EXE_fence")).parent().unwrap().join("examples/victim");
    BUILT.call_once(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--example", "victim"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        let built = build.status().is_ok_and(|status| status.success());
        assert!(built || victim.exists(), "cargo can't build the example victim");
    });
    victim
}

fn home_of_tests() -> PathBuf {
    PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/fence-test")
}

/// Whether the kernel has a feature that a test needs: `name` as FENCE_MUST spells it.
pub fn has(name: &str, there: bool, why: &str) -> bool {
    let must = std::env::var("FENCE_MUST").unwrap_or_default();
    // Nobody has all the programs.
    let names_it = |m: &str| m == name || (m == "all" && !name.starts_with("program:"));
    assert!(there || !must.split(',').any(names_it), "FENCE_MUST names {name}, but {why}");
    if !there {
        // Not eprintln!, which is shown of failed tests only; in one piece, since tests run side by side.
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        _ = std::io::stderr().write_all(format!("SKIP: needs {name}: {why} ({test})\n").as_bytes());
    }
    there
}

/// Whether root may load tracing programs. Without fence: what fence fails to do is a failure, not a missing feature.
pub fn monitor() -> bool {
    let root = rustix::process::geteuid().is_root();
    let locked = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let allowed = fence::sys::bpf::map(fence::sys::bpf::MapKind::Array, 4, 4, 1).is_ok();
    let there = root && allowed && !locked.contains("[confidentiality]");
    has("monitor", there, "only root of the host may load programs into the kernel")
}

/// A program of the host that a test needs.
pub fn program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(name).exists());
    has(&format!("program:{name}"), found, "it is not installed (apt-get install has it)")
}

/// Ends the test here, with the reason, when a feature is missing.
#[macro_export]
macro_rules! need {
    (landlock >= $abi:expr) => {
        let abi = fence::sys::landlock_abi();
        if !$crate::harness::has(
            "landlock",
            abi >= $abi,
            &format!("ABI {} is needed and this kernel has {abi}", $abi),
        ) {
            return;
        }
    };
    (listener) => {
        let listens = fence::probe::listener::try_it();
        let why = listens.as_ref().err().cloned().unwrap_or_default();
        if !$crate::harness::has("listener", listens.is_ok(), &why) {
            return;
        }
    };
    (root) => {
        let root = rustix::process::geteuid().is_root();
        if !$crate::harness::has("root", root, "the tests run as an ordinary user") {
            return;
        }
    };
    (userns) => {
        if !$crate::harness::userns() {
            return;
        }
    };
    (monitor) => {
        if !$crate::harness::monitor() {
            return;
        }
    };
    (program $name:expr) => {
        if !$crate::harness::program($name) {
            return;
        }
    };
}
