//! System calls: what the filter refuses, by every way to make the call, and what it must leave alone.

use crate::harness::{USER, Who, World, everybody, has, program};
use crate::need;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// Refused with EPERM.
const REFUSED: &[&str] = &[
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "keyctl",
    "add_key",
    "request_key",
    "personality",
    "userfaultfd",
    "perf_event_open",
    "bpf",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "syslog",
    "acct",
    "mount",
    "umount2",
    "pivot_root",
    "swapon",
    "swapoff",
    "sethostname",
    "setdomainname",
    "init_module",
    "finit_module",
    "delete_module",
    "ioperm",
    "iopl",
    "open_tree",
    "open_tree_attr",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "unshare",
    "setns",
    "chroot",
    "open_by_handle_at",
    "pidfd_getfd",
    "process_madvise",
    "kcmp",
    "move_pages",
    "migrate_pages",
    "quotactl",
    "quotactl_fd",
    "vhangup",
    "settimeofday",
    "clock_settime",
    "ioctl",
    "clone",
];
/// Answered as if the kernel did not have them, so that programs fall back.
const MISSING: &[&str] = &["io_uring_setup", "io_uring_enter", "io_uring_register", "clone3"];
/// Of 32-bit programs only.
const ONLY_32_BIT: &[&str] = &["umount", "stime", "clock_settime64"];
/// What only has a 64-bit number.
const ONLY_64_BIT: &[&str] = &["kexec_file_load"];

/// What each call answers: "ok" or the errno's name.
type Answers = BTreeMap<String, String>;

fn wanted() -> Answers {
    let row = |errno: &'static str| move |name: &&str| (name.to_string(), errno.to_string());
    REFUSED.iter().map(row("EPERM")).chain(MISSING.iter().map(row("ENOSYS"))).collect()
}

/// Makes every call of `names` in one go; `prefix` is what runs the victim.
fn ask(world: &World, prefix: &[&str], way: &str, names: &Answers) -> Answers {
    let victim = world.victim().into_os_string().into_string().unwrap();
    let mut words: Vec<&str> = prefix.to_vec();
    words.extend([victim.as_str(), "each", way]);
    words.extend(names.keys().map(String::as_str));
    let ran = world.bare(words[0], &words[1..]).ok();
    let row = |line: &str| line.split_once(' ').map(|(name, errno)| (name.to_string(), errno.to_string()));
    let answers: Answers = ran.out.lines().filter_map(row).collect();
    assert_eq!(answers.len(), names.len(), "{ran:?}");
    answers
}

/// Outside no call may answer what the filter would. An ordinary user is refused much for want of capabilities; root
/// shows what the filter adds.
fn control(world: &World, way: &str, names: &Answers) {
    let outside = ask(world, &[], way, names);
    for (name, errno) in names.iter().filter(|_| world.who.uid == 0) {
        // This very kernel may be built without it.
        assert!(outside[name] != *errno || errno == "ENOSYS", "{way} {name} outside: {}", outside[name]);
    }
}

#[test]
fn dangerous_calls_are_refused() {
    for who in everybody() {
        let world = World::new(who);
        control(&world, "call", &wanted());
        let fence = world.fence().into_os_string().into_string().unwrap();
        assert_eq!(ask(&world, &[&fence, "--"], "call", &wanted()), wanted());
        // The filter alone, with all that root may do: no missing capability stands in for it.
        assert_eq!(ask(&world, &[&fence, "seccomp", "--"], "call", &wanted()), wanted());
    }
}

#[test]
fn the_32_bit_door_is_shut_too() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    for who in everybody() {
        let world = World::new(who);
        let works = world.bare(world.victim(), ["int80", "getpid"]).status == 0;
        if !has("ia32", works, "this kernel runs no 32-bit programs") {
            return;
        }
        let mut wanted = wanted();
        wanted.retain(|name, _| !ONLY_64_BIT.contains(&name.as_str()));
        wanted.extend(ONLY_32_BIT.iter().map(|name| (name.to_string(), "EPERM".to_string())));
        control(&world, "int80", &wanted);
        let fence = world.fence().into_os_string().into_string().unwrap();
        assert_eq!(ask(&world, &[&fence, "--"], "int80", &wanted), wanted);
        assert_eq!(ask(&world, &[&fence, "seccomp", "--"], "int80", &wanted), wanted);
        world.run(["--", world.victim().to_str().unwrap(), "int80", "getpid"]).ok();
        // New sockets with the family behind a pointer; any other call of socketcall goes on.
        world
            .run(["--", world.victim().to_str().unwrap(), "int80", "socketcall", "1"])
            .status(1)
            .says("EPERM");
        world
            .run(["--", world.victim().to_str().unwrap(), "int80", "socketcall", "3"])
            .status(1)
            .says("EFAULT");
        world
            .run(["--", world.victim().to_str().unwrap(), "int80", "socket", "40"])
            .status(1)
            .says("EAFNOSUPPORT");
    }
}

#[test]
fn the_x32_door_is_shut_too() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    for who in everybody() {
        let world = World::new(who);
        let fence = world.fence().into_os_string().into_string().unwrap();
        for prefix in [vec![fence.as_str(), "--"], vec![fence.as_str(), "seccomp", "--"]] {
            for (name, errno) in ask(&world, &prefix, "x32", &wanted()) {
                assert!(errno == "EPERM" || errno == "ENOSYS", "x32 {name}: {errno}");
            }
        }
    }
}

#[test]
fn no_namespace_can_be_made_or_entered() {
    let kinds =
        ["0x20000", "0x02000000", "0x04000000", "0x08000000", "0x10000000", "0x20000000", "0x40000000"];
    for who in everybody() {
        let world = World::new(who);
        for flags in kinds {
            // The kernel looks at the lower half of clone's flags only.
            let high = format!("0x1{:0>8}", &flags[2..]);
            let with_user = format!("{:#x}", i64::from_str_radix(&flags[2..], 16).unwrap() | 0x1000_0000);
            for act in [["clone", flags], ["clone", &high], ["clone", &with_user]] {
                let (inside, outside) = world.victim_both("{}", &act);
                assert!(
                    outside.status == 0 || who.uid != 0 || outside.out == "EINVAL\n",
                    "{act:?} {outside:?}"
                );
                assert_eq!(inside.status(1).out, "EPERM\n", "{act:?}");
            }
            let (inside, outside) = world.victim_both("{}", &["clone3", flags]);
            assert!(outside.status == 0 || who.uid != 0, "{outside:?}");
            assert_eq!(inside.status(1).out, "ENOSYS\n");
            world
                .run(["--", world.victim().to_str().unwrap(), "call", "unshare", flags])
                .status(1)
                .says("EPERM");
        }
        // A time namespace; and what threads unshare, which gives no rights.
        world
            .run(["--", world.victim().to_str().unwrap(), "call", "unshare", "0x80"])
            .status(1)
            .says("EPERM");
        world.run(["--", world.victim().to_str().unwrap(), "call", "unshare", "0x600"]).ok();
        for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"] {
            let path = format!("/proc/self/ns/{kind}");
            let ran = world.run(["--", "sh", "-c", &format!("{} setns {path}", world.victim().display())]);
            // Older kernels have no time namespace.
            let wanted = if std::path::Path::new(&path).exists() { "EPERM\n" } else { "ENOENT\n" };
            assert_eq!(ran.status(1).out, wanted, "{kind}");
        }
    }
}

#[test]
fn nothing_can_be_typed_into_the_terminal() {
    for who in everybody() {
        let world = World::new(who);
        // TIOCSTI and TIOCLINUX; the kernel looks at 32 bits of the request.
        for request in ["0x5412", "0x541c", "0x100005412", "0x7fffffff0000541c"] {
            for fd in ["0", "1", "99"] {
                let (inside, outside) = world.victim_both("{}", &["ioctl", fd, request]);
                assert!(outside.out != "EPERM\n", "{outside:?}");
                assert_eq!(inside.status(1).out, "EPERM\n", "{request}");
            }
        }
        world.run(["--", world.victim().to_str().unwrap(), "ioctl", "0", "0x5413"]).status(1).says("ENOTTY");
    }
}

#[test]
fn nobody_who_opens_a_file_is_held_up_by_a_lease() {
    for who in everybody() {
        let world = World::new(who);
        world.write("file", "text");
        // F_SETLEASE with F_RDLCK and F_WRLCK.
        for kind in ["0", "1"] {
            let line = format!("exec 3<file; exec {} call fcntl 3 1024 {kind}", world.victim().display());
            world.bare("sh", ["-c", &line]).ok();
            assert_eq!(world.run(["--", "sh", "-c", &line]).status(1).out, "EPERM\n");
        }
    }
}

#[test]
fn personalities_that_weaken_a_process_are_refused() {
    for who in everybody() {
        let world = World::new(who);
        let victim = world.victim().into_os_string().into_string().unwrap();
        for harmless in ["0", "8", "0x20000", "0x20008", "0xffffffff"] {
            world.run(["--", &victim, "call", "personality", harmless]).ok();
        }
        for bad in ["0x40000", "0x400000", "0x100000", "0x200000", "0x100400000", "0x440000"] {
            world.run(["--", &victim, "call", "personality", bad]).status(1).says("EPERM");
            world.bare(&victim, ["call", "personality", bad]).ok();
        }
    }
}

#[test]
fn socket_families_that_reach_outside_are_refused() {
    for who in everybody() {
        let world = World::new(who);
        let victim = world.victim().into_os_string().into_string().unwrap();
        // Unix, TCP, UDP, both versions; netlink ROUTE, which ip(8) and getifaddrs(3) need.
        for usual in ["1 1 0", "1 2 0", "1 5 0", "2 1 0", "2 2 0", "10 1 0", "10 2 0", "16 3 0", "16 2 0"] {
            let words = ["--", &victim, "socket"].into_iter().chain(usual.split(' '));
            world.run(words).ok();
        }
        // vsock, packet, crypto, XDP, Bluetooth, CAN, TIPC, SMC, KCM, key; netlink for audit, netfilter, uevents, xfrm.
        for rare in [
            "40 1 0", "17 3 3", "38 5 0", "44 3 0", "31 3 1", "29 3 1", "30 5 0", "43 1 0", "41 5 0",
            "15 3 2",
        ] {
            let words = ["--", &victim, "socket"].into_iter().chain(rare.split(' '));
            world.run(words).status(1).says("EAFNOSUPPORT");
        }
        for other in ["16 3 9", "16 3 12", "16 3 15", "16 3 6", "16 3 4"] {
            let words = ["--", &victim, "socket"].into_iter().chain(other.split(' '));
            world.run(words).status(1).says("EPROTONOSUPPORT");
        }
        // The kernel looks at 32 bits.
        world.run(["--", &victim, "call", "socket", "0x100000028", "1", "0"]).status(1).says("EAFNOSUPPORT");
        world.bare(&victim, ["socket", "16", "3", "15"]).ok();
    }
}

#[test]
fn the_status_of_a_process_shows_no_rights() {
    let policies = [
        "{}",
        r#"{"network": {"allowedDomains": ["*"]}}"#,
        r#"{"network": {"allowedDomains": ["example.com"]}}"#,
    ];
    for who in everybody() {
        let world = World::new(who);
        // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID
        let kept = if who.uid == 0 { "00000000000000fb" } else { "0000000000000000" };
        for policy in policies {
            let out = world.fenced(policy, [world.victim().to_str().unwrap(), "status"]).ok().out;
            let value = |name: &str| {
                out.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_string()
            };
            assert_eq!((value("NoNewPrivs:"), value("Seccomp:")), ("1".into(), "2".into()), "{out}");
            for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
                assert_eq!(value(set), kept, "{set} {out}");
            }
            for set in ["CapInh:", "CapAmb:"] {
                assert_eq!(value(set), "0000000000000000", "{set} {out}");
            }
        }
    }
}

/// By another process, as the harness does it: a file that is open for writing can't be run.
fn copy_of_victim(world: &World) -> PathBuf {
    let copy = world.root.join("bin/copy");
    assert!(Command::new("cp").args([world.victim(), copy.clone()]).status().unwrap().success());
    copy
}

#[test]
fn a_set_user_id_program_gains_nothing() {
    need!(root);
    need!(userns);
    let world = World::new(Who { uid: USER });
    let suid = copy_of_victim(&world);
    fs::set_permissions(&suid, fs::Permissions::from_mode(0o6755)).unwrap();
    let suid = suid.to_str().unwrap();
    world.bare(suid, ["ids"]).ok().says("uid=1000 euid=0");
    let policies = ["{}", r#"{"filesystem": {"allowWrite": ["../bin"]}}"#];
    for policy in policies {
        world.fenced(policy, [suid, "ids"]).ok().says("uid=1000 euid=1000 gid=1000 egid=1000");
        assert_eq!(world.fenced(policy, [suid, "setuid", "0"]).status(1).out, "EINVAL\n");
    }
    // Nor does it give root's sandbox back what the command dropped.
    let world = World::new(Who { uid: 0 });
    let victim = world.victim();
    world
        .fenced(policies[0], [victim.to_str().unwrap(), "as", "1000", "--", suid, "ids"])
        .ok()
        .says("euid=1000");
}

#[test]
fn a_program_with_file_capabilities_gains_nothing() {
    need!(root);
    need!(userns);
    need!(program "setcap");
    let world = World::new(Who { uid: USER });
    let capable = copy_of_victim(&world);
    assert!(
        Command::new("setcap").arg("cap_setuid,cap_sys_admin+ep").arg(&capable).status().unwrap().success()
    );
    let capable = capable.to_str().unwrap();
    world.bare(capable, ["setuid", "0"]).ok().says("euid=0");
    // The namespace knows no user 0.
    assert_eq!(world.fenced("{}", [capable, "setuid", "0"]).status(1).out, "EINVAL\n");
    world.fenced("{}", [capable, "status"]).ok().says("CapEff:\t0000000000000000");
}

#[test]
fn su_and_its_like_gain_nothing() {
    need!(root);
    need!(userns);
    let world = World::new(Who { uid: USER });
    for line in ["su -c id", "sudo -n id", "newuidmap $$ 0 0 1", "mount -t tmpfs x /tmp", "pkexec id"] {
        let name = line.split(' ').next().unwrap();
        if program(name) {
            let ran = world.run(["--", "sh", "-c", line]);
            assert!(ran.status != 0 && !ran.out.contains("uid=0"), "{line}: {ran:?}");
        }
    }
}

#[test]
fn a_filter_of_the_programs_own_works_and_opens_nothing() {
    for who in everybody() {
        let world = World::new(who);
        let victim = world.victim().into_os_string().into_string().unwrap();
        world.run(["--", &victim, "own-filter", "--", "sh", "-c", "echo ok"]).ok().says("ok");
        for name in ["mount", "ptrace", "bpf", "keyctl"] {
            world.run(["--", &victim, "own-filter", "--", &victim, "call", name]).status(1).says("EPERM");
        }
        world
            .run(["--", &victim, "refuse", "EIO", "statx", "--", &victim, "call", "statx"])
            .status(1)
            .says("EIO");
    }
}

#[test]
fn a_call_that_the_user_allows_is_allowed_alone() {
    for who in everybody() {
        let world = World::new(who);
        let victim = world.victim().into_os_string().into_string().unwrap();
        world
            .run(["--allow-syscall", "keyctl", "--", &victim, "call", "keyctl"])
            .status(1)
            .says("EOPNOTSUPP");
        world.run(["--allow-syscall", "keyctl", "--", &victim, "call", "add_key"]).status(1).says("EPERM");
        world.run(["--allow-syscall", "nothing", "--", "true"]).status(125).says("nothing");
    }
}
