//! Older kernels: the same sandbox where the new mount calls, Landlock and other conveniences are missing. A filter that
//! answers ENOSYS stands in for such a kernel (`victim enosys`), so every machine runs these.

use crate::harness::{Ran, World, everybody};
use crate::need;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;

/// Before 5.2 no new mount calls, before 5.6 no openat2, before 5.9 no close_range, before 5.13 no Landlock.
const MOUNT_CALLS: &str = "mount_setattr,open_tree,open_tree_attr,move_mount,fsopen,fsconfig,fsmount,fspick";
const LANDLOCK: &str = "landlock_create_ruleset,landlock_add_rule,landlock_restrict_self";
const LATER_CALLS: &str =
    "openat2,close_range,clone3,pidfd_open,pidfd_send_signal,pidfd_getfd,faccessat2,statx";

/// Kernels, by what they lack: 4.18 (RHEL 8), 5.10 (Debian 11; there are open_tree and the like, and no mount_setattr), one
/// without Landlock in its build, one whose mount calls a container refuses.
fn kernels() -> Vec<Vec<String>> {
    let lacks = |names: &[&str]| vec!["enosys".to_string(), names.join(","), "--".to_string()];
    vec![
        lacks(&[MOUNT_CALLS, LATER_CALLS, LANDLOCK]),
        lacks(&["mount_setattr", LANDLOCK]),
        lacks(&[LANDLOCK]),
        lacks(&[MOUNT_CALLS, "close_range", "openat2"]),
        vec!["refuse".into(), "EPERM".into(), format!("{MOUNT_CALLS},openat2,close_range"), "--".into()],
    ]
}

/// One world per user and kernel.
fn each(test: impl Fn(&Old)) {
    for who in everybody() {
        for kernel in kernels() {
            test(&Old { world: World::new(who), kernel });
        }
    }
}

struct Old {
    world: World,
    kernel: Vec<String>,
}

impl Old {
    /// `fence -s POLICY -- COMMAND` on this kernel.
    fn fenced(&self, policy: &str, command: &[&str]) -> Ran {
        let file = self.world.root.join("policy.json");
        fs::write(&file, policy).unwrap();
        let mut words: Vec<OsString> = self.kernel.iter().map(OsString::from).collect();
        words.extend([self.world.fence().into(), "-s".into(), file.into(), "--".into()]);
        words.extend(command.iter().map(OsString::from));
        self.world.bare(self.world.victim(), words)
    }

    /// The same for a line of shell; `$VICTIM` is the helper.
    fn shell(&self, policy: &str, line: &str) -> Ran {
        let victim = self.world.victim();
        self.fenced(policy, &["sh", "-c", &line.replace("$VICTIM", victim.to_str().unwrap())])
    }

    /// An act of the victim's that must be denied, and what it must answer.
    fn denied(&self, policy: &str, act: &[&str], errnos: &[&str]) {
        let victim = self.world.victim();
        let ran = self.fenced(policy, &[&[victim.to_str().unwrap()], act].concat());
        assert!(ran.status == 1 && errnos.contains(&ran.out.trim()), "{:?} {act:?}: {ran:?}", self.kernel);
    }
}

const WRITABLE: &str = r#"{"filesystem": {"allowWrite": ["."]}}"#;

#[test]
fn the_command_runs_and_cannot_write_to_the_system() {
    each(|old| {
        // Where the user may write, but for the sandbox; /etc and /usr are closed to all but root anyway.
        let place = old.world.mkdir(old.world.root.join("elsewhere")).join("file");
        let place = place.to_str().unwrap();
        old.world.bare(old.world.victim(), ["create", place]).ok();
        fs::remove_file(place).unwrap();
        old.denied("{}", &["create", place], &["EROFS"]);
        let ran = old.shell("{}", &format!("echo ok; touch {place} 2>&1; exit 3")).status(3);
        assert!(ran.out.starts_with("ok\n") && ran.out.lines().count() == 2, "{:?} {ran:?}", old.kernel);
        old.denied("{}", &["create", "/etc/victim"], &["EROFS", "EACCES"]);
        old.denied("{}", &["create", "/usr/victim"], &["EROFS", "EACCES"]);
        old.denied("{}", &["mkdir", "sub"], &["EROFS"]);
    });
}

#[test]
fn a_writable_directory_is_writable_and_nothing_else_is() {
    each(|old| {
        old.shell(
            WRITABLE,
            "echo text > inside && mkdir -p a/b && mv inside a/b/moved && ln a/b/moved a/hard",
        )
        .ok();
        assert_eq!(fs::read_to_string(old.world.work().join("a/b/moved")).unwrap(), "text\n");
        old.denied(WRITABLE, &["create", "../outside"], &["EROFS"]);
        old.denied(WRITABLE, &["rename", "a", "../a"], &["EXDEV", "EROFS"]);
        old.shell(WRITABLE, "echo x > /tmp/x && echo x > /dev/shm/x && echo x > /var/tmp/x && cat /tmp/x")
            .ok();
        old.shell(WRITABLE, "echo > /dev/null; head -c 3 /dev/urandom > /dev/zero; test -w /dev/tty || true")
            .ok();
    });
}

#[test]
fn denials_hold_below_a_writable_directory() {
    let policy = r#"{"filesystem": {"allowWrite": ["."], "denyWrite": ["keep", "deep/er/file"], "denyRead": ["secret", "vault"]}}"#;
    each(|old| {
        old.world.write("keep/file", "kept");
        old.world.write("deep/er/file", "kept");
        old.world.write("secret", "hunter2");
        old.world.write("vault/key", "hunter2");
        for act in [
            ["write", "keep/file"],
            ["create", "keep/new"],
            ["truncate", "deep/er/file"],
            ["openat2-write", "keep/file"],
        ] {
            // Some of these kernels have no openat2.
            old.denied(policy, &act, &["EROFS", "EACCES", "ENOSYS", "EPERM"]);
        }
        for act in [
            ["rename", "keep", "away"],
            ["rename", "deep", "away"],
            ["rename", "deep/er", "away"],
            ["exchange", "deep", "vault"],
        ] {
            old.denied(policy, &act, &["EBUSY", "EXDEV", "EROFS"]);
        }
        for path in ["secret", "/proc/self/cwd/secret", "vault/key"] {
            old.denied(policy, &["read", path], &["EACCES", "ENOENT"]);
        }
        old.denied(policy, &["unlink", "secret"], &["EBUSY", "EROFS"]);
        old.denied(policy, &["create", "vault/new"], &["EROFS", "EACCES"]);
        old.shell(policy, "ls vault; echo new > deep/new && echo new > fresh").ok();
        assert_eq!(fs::read_to_string(old.world.work().join("deep/er/file")).unwrap(), "kept");
    });
}

#[test]
fn only_what_is_named_can_be_read_where_reading_is_denied() {
    let policy = r#"{"filesystem": {"defaultDenyRead": true, "strictDenyRead": true,
        "allowRead": [".", "../bin", "/bin", "/usr", "/lib", "/lib64"]}}"#;
    each(|old| {
        old.world.write("notes", "text");
        let secret = old.world.write(old.world.root.join("elsewhere/secret"), "hunter2");
        old.shell(policy, "cat notes").ok().says("text");
        old.denied(policy, &["read", secret.to_str().unwrap()], &["ENOENT", "EACCES"]);
        old.denied(policy, &["list", "/root"], &["ENOENT", "EACCES"]);
        old.denied(policy, &["create", "/new"], &["EROFS", "EACCES"]);
        old.denied(policy, &["write", "notes"], &["EROFS", "EACCES"]);
    });
}

/// What is mounted where, with its flags; of several mounts at one place the last, which covers the others.
fn mounts(table: &str) -> BTreeMap<&str, &str> {
    let fields = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields.map(|fields| (fields[4], fields[5])).collect()
}

#[test]
fn every_mount_is_restricted() {
    each(|old| {
        let private = ["/tmp", "/var/tmp", "/dev/shm", "/dev/pts", "/proc", "/run"];
        let nodes =
            ["null", "zero", "full", "random", "urandom", "tty", "console"].map(|n| format!("/dev/{n}"));
        let work = old.world.work();
        for policy in ["{}", WRITABLE] {
            let table = old.fenced(policy, &["cat", "/proc/self/mountinfo"]).ok().out;
            for (at, flags) in mounts(&table) {
                let meant = private.contains(&at) || nodes.iter().any(|n| n == at);
                let meant = meant || (policy == WRITABLE && at == work.to_str().unwrap());
                assert!(flags.starts_with("ro") || meant, "{:?} writable: {at} {flags}", old.kernel);
                assert!(flags.contains("nosuid"), "{:?} set-user-ID: {at} {flags}", old.kernel);
                assert!(flags.contains("nodev") || at.starts_with("/dev/"), "{:?} {at} {flags}", old.kernel);
            }
        }
    });
}

#[test]
fn processes_are_their_own() {
    each(|old| {
        old.denied("{}", &["read", "/proc/1/environ"], &["EACCES", "EPERM"]);
        old.denied("{}", &["kill", "2000000", "9"], &["ESRCH"]);
        old.shell("{}", "test $$ -lt 10 && test -z \"$(ls /proc | grep -x '[0-9][0-9][0-9]*[0-9]')\"").ok();
        old.shell("{}", "sh -c 'kill -9 $$'; echo $?").ok().says("137");
    });
}

#[test]
fn the_network_is_closed() {
    each(|old| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        old.world.bare(old.world.victim(), ["connect-tcp", &address]).ok();
        old.denied("{}", &["connect-tcp", &address], &["ECONNREFUSED"]);
        old.denied("{}", &["connect-tcp", "192.0.2.1:80"], &["ENETUNREACH"]);
        old.denied("{}", &["socket", "17", "3", "3"], &["EAFNOSUPPORT"]);
    });
}

#[test]
fn the_host_keeps_its_mounts() {
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    each(|old| _ = old.fenced(WRITABLE, &["true"]).ok());
    let after = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(before, after);
}

/// Below mounts that are shared, what fence detaches in its own table must stay in the caller's.
#[test]
fn the_host_keeps_its_shared_mounts() {
    need!(root);
    need!(program "unshare");
    each(|old| {
        let fence = [&old.kernel[..], &[old.world.fence().display().to_string()]].concat().join(" ");
        let victim = old.world.victim().display().to_string();
        let line = format!(
            "set -e
            mkdir mnt && mount -t tmpfs tmpfs mnt && mkdir mnt/sub && mount -t tmpfs tmpfs mnt/sub
            mount --make-rshared /
            cat /proc/self/mountinfo > mnt/before
            {victim} as {uid} -- {victim} {fence} -- true
            cat /proc/self/mountinfo > mnt/after
            grep -q 'mnt/sub .* shared:' mnt/before
            cmp mnt/before mnt/after && echo same",
            uid = old.world.who.uid,
        );
        // As root, with a mount table of its own that nothing on the machine shares.
        let unshared = std::process::Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", &line])
            .current_dir(old.world.work())
            .output();
        assert_eq!(Ran::new(unshared.unwrap()).ok().out, "same\n", "{:?}", old.kernel);
    });
}
