//! WSL2, made up in a mount namespace of the test's own: a root with `/init`, the entry in binfmt_misc, a socket below
//! `/run/WSL` and a drive at `/mnt/c`. `/init` stands for WSL's, which starts Windows programs for whoever runs it.

use crate::harness::{Ran, Who, World, everybody};
use crate::need;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

/// Makes the root of a WSL2 machine and enters it; then runs the last words as `$1`. `$2` is the helper.
const MACHINE: &str = r#"set -e
    user=$1 victim=$2; shift 2
    mkdir -p root && mount -t tmpfs wsl root
    for each in /*; do
        if [ -L "$each" ]; then cp -P "$each" root; elif [ -d "$each" ]; then
            mkdir "root$each"; [ "$each" = /run ] || [ "$each" = /mnt ] || mount --rbind "$each" "root$each"
        fi
    done
    cp "$victim" root/init
    mkdir -p root/mnt/c root/run/WSL root/old
    mount -t tmpfs -o mode=777 C: root/mnt/c
    printf 'MZ' > root/mnt/c/cmd.exe && chmod 755 root/mnt/c/cmd.exe
    touch root/run/WSL/1_interop && mount --bind socket root/run/WSL/1_interop
    # A kernel with binfmt_misc in user namespaces has the real thing; else a file of that name.
    at=root/proc/sys/fs/binfmt_misc
    if [ -n "$REAL" ]; then
        mount -t binfmt_misc binfmt "$at"
        (cd root && echo ":WSLInterop:M::MZ::$PWD/init:F" > "proc/sys/fs/binfmt_misc/register")
    else
        mount -t tmpfs binfmt "$at" && echo enabled > "$at/WSLInterop"
    fi
    work=$PWD
    cd root && pivot_root . old && umount -l old && cd "$work"
    exec "$victim" as "$user" -- "$@""#;

struct Machine {
    world: World,
    _socket: UnixListener,
}

impl Machine {
    fn new(who: Who) -> Machine {
        let world = World::new(who);
        let path = world.work().join("socket");
        let socket = UnixListener::bind(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(who.uid), Some(who.uid)).unwrap();
        Machine { world, _socket: socket }
    }

    /// Runs these words on the machine, outside the sandbox. `flags` are for unshare.
    fn bare(&self, flags: &[&str], words: &[&str]) -> Ran {
        let (who, victim) = (self.world.who.uid.to_string(), self.world.victim());
        let mut command = Command::new("unshare");
        command.args(flags).args(["--mount", "--propagation", "private", "sh", "-c", MACHINE, "sh", &who]);
        command.arg(victim).args(words).current_dir(self.world.work());
        command.env("HOME", self.world.home()).env_remove("WSL_INTEROP").stdin(Stdio::null());
        if flags.contains(&"--user") {
            command.env("REAL", "yes");
        }
        Ran::of(command)
    }

    /// The same in the sandbox.
    fn fenced(&self, flags: &[&str], policy: &str, more: &[&str], words: &[&str]) -> Ran {
        let policy = self.world.write("../policy.json", policy).display().to_string();
        let fence = self.world.fence().display().to_string();
        let engine = crate::harness::engine().into_iter().flatten().map(|word| word.into_string().unwrap());
        let engine: Vec<String> = engine.collect();
        let mut line: Vec<&str> = vec![&fence];
        line.extend(engine.iter().map(String::as_str));
        line.extend(["-s", &policy]);
        self.bare(flags, &[&line[..], more, &["--"], words].concat())
    }
}

const UNSET: &str = "{}";
const OFF: &str = r#"{"filesystem": {"wslInterop": false}}"#;
const OFF_WITH_SOCKETS: &str =
    r#"{"filesystem": {"wslInterop": false}, "network": {"allowAllUnixSockets": true}}"#;
const WITH_SOCKETS: &str = r#"{"network": {"allowAllUnixSockets": true}}"#;
const STRICT: &str = r#"{"filesystem": {"defaultDenyRead": true}}"#;

#[test]
fn what_starts_windows_programs_is_shut_where_the_policy_says_so() {
    need!(root);
    need!(userns);
    need!(program "unshare");
    for who in everybody() {
        let wsl = Machine::new(who);
        let victim = wsl.world.victim().display().to_string();
        let refused = |policy: &str, act: &[&str], errno: &str| {
            let ran = wsl.fenced(&[], policy, &[], &[&[victim.as_str()], act].concat());
            assert!(ran.status == 1 && ran.out.trim() == errno, "{who:?} {policy} {act:?}: {ran:?}");
        };
        let (init, socket, drive) = ("/init", "/run/WSL/1_interop", "/mnt/c/made");
        // Outside all of it works.
        wsl.bare(&[], &[init, "connect-unix", socket]).ok();
        wsl.bare(&[], &[init, "create", drive]).ok();
        // By default /init can be run, as any other program that can be read; what it needs is closed.
        for policy in [UNSET, STRICT] {
            wsl.fenced(&[], policy, &[], &[init, "read", init]).ok();
            let ran = wsl.fenced(&[], policy, &[], &[init, "connect-unix", socket]).status(1);
            assert_eq!(ran.out, "ENOENT\n", "{who:?} {policy}");
        }
        wsl.fenced(&[], UNSET, &[], &["cat", "/mnt/c/cmd.exe"]).ok().says("MZ");
        refused(UNSET, &["create", drive], "EROFS");
        refused(UNSET, &["socket", "40", "1", "0"], "EAFNOSUPPORT");
        // A drive is not among what can be read by default.
        refused(STRICT, &["read", "/mnt/c/cmd.exe"], "ENOENT");
        // The sockets of the host are shown, and WSL's among them, unless interop is off.
        wsl.fenced(&[], WITH_SOCKETS, &[], &[init, "connect-unix", socket]).ok();
        refused(OFF_WITH_SOCKETS, &["connect-unix", socket], "ENOENT");
        refused(OFF_WITH_SOCKETS, &["socket", "40", "1", "0"], "EAFNOSUPPORT");
        refused(OFF, &["read", init], "EACCES");
        refused(OFF, &["exec", init, "--", "init", "read", "/etc/passwd"], "EACCES");
        wsl.fenced(&[], OFF, &[], &[init, "read", "/etc/passwd"]).status(126);
        // vsock opened by hand is said, not forgotten.
        let opened = ["--allow-syscall", "socket"];
        wsl.fenced(&[], OFF, &opened, &["true"]).status(125).says("--allow-syscall socket opens vsock");
    }
}

#[test]
fn wsl_is_in_the_summary() {
    need!(root);
    need!(program "unshare");
    let wsl = Machine::new(*everybody().last().unwrap());
    let fence = wsl.world.fence().display().to_string();
    let ran = wsl.bare(&[], &[&fence, "features"]).ok();
    let summary = ran.out.lines().find(|line| line.starts_with("kernel ") || line.contains(", wsl"));
    assert!(summary.is_some_and(|line| line.ends_with("wsl")), "{ran:?}");
    ran.says("WSL interop");
    // The control: this machine is none.
    let here = wsl.world.run(["features"]).ok();
    assert!(!here.out.contains(", wsl"), "{here:?}");
}

/// The kernel keeps `/init` open from its registration on, so a mask does not stop it from being an interpreter; then it
/// runs in the sandbox, and what leads to Windows is closed.
#[test]
fn a_windows_program_that_the_kernel_hands_to_init_gets_nowhere() {
    need!(root);
    need!(program "unshare");
    let wsl = Machine::new(Who { uid: 0 });
    let own = ["--user", "--map-root-user"];
    let works = wsl.bare(&own, &["true"]);
    let why = format!("this kernel has no binfmt_misc in user namespaces (6.7 has): {}", works.err.trim());
    if !crate::harness::has("binfmt", works.status == 0, &why) {
        return;
    }
    // Without the flag P the interpreter's first argument is the name that was executed: an act of the helper's.
    wsl.world.write("connect-unix", "MZ");
    std::fs::set_permissions(wsl.world.work().join("connect-unix"), Permissions::from_mode(0o755)).unwrap();
    let victim = wsl.world.victim().display().to_string();
    let program = [&victim, "exec", "connect-unix", "--", "windows", "/run/WSL/1_interop"];
    wsl.bare(&own, &program).ok();
    for (policy, status) in [(WITH_SOCKETS, 0), (UNSET, 1), (OFF, 1), (OFF_WITH_SOCKETS, 1)] {
        let ran = wsl.fenced(&own, policy, &[], &program).status(status);
        assert_eq!(ran.out, if status == 0 { "" } else { "ENOENT\n" }, "{policy}");
    }
}
