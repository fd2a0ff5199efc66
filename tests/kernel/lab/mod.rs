//! A machine with servers behind it, in network namespaces of the test's own (`lab.py` says what they have). fence runs on
//! that machine; so do the positive controls.

use crate::harness::{Ran, World, has};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// Programs that the servers need, and their Debian packages' names in `ci/setup`.
const NEEDS: [&str; 9] =
    ["unshare", "nsenter", "ip", "ss", "dnsmasq", "nginx", "openssl", "ssh-keygen", "git"];

pub struct Lab {
    /// Ends when this process does: its stdin is a pipe of ours.
    machine: Child,
    directory: PathBuf,
}

static LAB: OnceLock<Option<Lab>> = OnceLock::new();

/// The lab, one for all tests; none where it can't be made, which the caller has said then.
pub fn lab() -> Option<&'static Lab> {
    let root = rustix::process::geteuid().is_root();
    if !has("root", root, "network namespaces with servers are made by root") {
        return None;
    }
    if !NEEDS.iter().all(|name| crate::harness::program(name)) || !python_has("websockets") {
        return None;
    }
    LAB.get_or_init(Lab::start).as_ref()
}

/// Whether the system's Python has a module.
pub fn python_has(module: &str) -> bool {
    let found = Command::new("/usr/bin/python3").args(["-c", &format!("import {module}")]).output();
    let found = found.is_ok_and(|out| out.status.success());
    has(&format!("program:python3-{module}"), found, "/usr/bin/python3 can't import it")
}

impl Lab {
    fn start() -> Option<Lab> {
        let base = Path::new("/opt/fence-test");
        std::fs::create_dir_all(base).unwrap();
        sweep(base);
        let directory = base.join(format!("lab-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/lab/lab.py");
        let words = ["-n", "-m", "--propagation", "private", "/usr/bin/python3", script];
        let mut machine = Command::new("unshare")
            .args(words)
            .arg(directory.join("d"))
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(machine.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n", "the servers in {} did not start", directory.display());
        Some(Lab { machine, directory })
    }

    /// A file that the lab made for everybody.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join("d").join(name)
    }

    /// The same command, as that user, on the lab's machine.
    pub fn enter(&self, world: &World, command: &Command) -> Command {
        let uid = world.who.uid.to_string();
        let mut entered = Command::new("nsenter");
        entered.args(["-t", &self.machine.id().to_string(), "-n", "-m"]);
        entered.args(["setpriv", "--reuid", &uid, "--regid", &uid, "--clear-groups"]);
        // The directory is looked up there: one that was opened out here would be no part of that tree.
        entered.arg("env").arg(format!("--chdir={}", command.get_current_dir().unwrap().display()));
        entered.arg(command.get_program()).args(command.get_args()).env_clear();
        entered.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ca = self.file("ca.pem");
        for name in [
            "CURL_CA_BUNDLE",
            "SSL_CERT_FILE",
            "GIT_SSL_CAINFO",
            "NODE_EXTRA_CA_CERTS",
            "REQUESTS_CA_BUNDLE",
            "PIP_CERT",
            "npm_config_cafile",
        ] {
            entered.env(name, &ca);
        }
        entered.stdin(Stdio::null());
        entered
    }

    /// Outside the sandbox.
    pub fn bare<S: AsRef<OsStr>>(&self, world: &World, words: impl IntoIterator<Item = S>) -> Ran {
        let mut words = words.into_iter();
        let command = world.command(words.next().unwrap(), words);
        Ran::of(self.enter(world, &command))
    }

    /// Inside.
    pub fn fenced<S: AsRef<OsStr>>(
        &self,
        world: &World,
        policy: &str,
        words: impl IntoIterator<Item = S>,
    ) -> Ran {
        Ran::of(self.enter(world, &world.fenced_command(policy, words)))
    }

    /// Inside, with more of fence's own flags.
    pub fn fenced_with<S: AsRef<OsStr>>(
        &self,
        world: &World,
        flags: &[&str],
        policy: &str,
        words: impl IntoIterator<Item = S>,
    ) -> Ran {
        let plain = world.fenced_command(policy, words);
        let plain: Vec<&OsStr> = plain.get_args().collect();
        // After those of the harness, which may name another engine.
        let (own, words) = plain.split_at(plain.iter().position(|word| *word == "--").unwrap());
        let mut command = world.command(world.fence(), own);
        command.args(flags).args(words);
        Ran::of(self.enter(world, &command))
    }
}

/// Labs of earlier runs: their processes ended with their test's, their files stay until now.
fn sweep(base: &Path) {
    for entry in std::fs::read_dir(base).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix("lab-").and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
