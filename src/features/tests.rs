//! Golden files: what is printed on the hosts that people have. `FENCE_BLESS=1 cargo test --lib features` writes them.

use super::cause::{Cause, System, cause};
use super::{Findings, show};
use crate::facts::Engine;

const EPERM: i32 = libc::EPERM;

/// A current machine where everything works, as root.
fn good() -> Findings {
    Findings {
        system: System {
            release: "6.12.48+deb13-amd64".into(),
            admin: true,
            root: true,
            root_is_mount: true,
            most_user_namespaces: "63432".into(),
            io_uring: "0".into(),
            yama: "0".into(),
            lockdown: "[none] integrity confidentiality".into(),
            container: "none".into(),
            ..System::default()
        },
        engine: Ok(Engine::Native),
        tried: Vec::new(),
        native: Ok(()),
        own_network: true,
        masked_proc: false,
        programs: [None, None],
        namespaces: [Ok(()); 7],
        seccomp: true,
        filter: Ok(()),
        log: true,
        listener: Ok(()),
        verdict: Ok(()),
        landlock_abi: 6,
        landlock_errata: 0xf,
        ebpf: Ok(()),
        cap_bpf: true,
        mount_setattr: true,
    }
}

/// The same for an ordinary user.
fn user() -> Findings {
    let mut found = good();
    (found.system.admin, found.system.root, found.cap_bpf) = (false, false, false);
    found.ebpf = Err("it takes cap_bpf and cap_perfmon: run as root, or once as root: setcap cap_bpf,cap_perfmon+p /usr/bin/fence".into());
    found
}

/// No namespaces: the kernel said this, and Landlock stands in.
fn without(mut found: Findings, errno: i32, made: bool, step: &str) -> Findings {
    found.native = Err(errno);
    found.own_network = false;
    found.engine = Ok(Engine::Landlock);
    found.tried = vec![format!("engine native: {step}: {}", crate::error::describe(errno))];
    if !made {
        found.namespaces = [Err(errno); 7];
    }
    found
}

const CLONE: &str = "cannot create namespaces for the sandbox";
const MAP: &str = "cannot write /proc/self/uid_map of the sandbox's user namespace";

fn docker(mut found: Findings) -> Findings {
    found.system.admin = false;
    found.cap_bpf = false;
    found.system.filtered = true;
    found.system.container = "Docker".into();
    found.system.apparmor = "docker-default (enforce)".into();
    if found.system.root {
        found.ebpf =
            Err("it takes cap_bpf and cap_perfmon, which root lacks in this container: run fence outside"
                .into());
    }
    without(found, EPERM, false, CLONE)
}

fn ubuntu(mut found: Findings) -> Findings {
    found.system.release = "6.8.0-48-generic".into();
    found.system.apparmor_switch = "1".into();
    found.system.apparmor = "unconfined".into();
    found.system.yama = "1".into();
    (found.landlock_abi, found.landlock_errata) = (4, 0);
    found
}

fn environments() -> Vec<(&'static str, Findings)> {
    let with = |mut found: Findings, change: &dyn Fn(&mut Findings)| {
        change(&mut found);
        found
    };
    vec![
        ("debian-13-root", good()),
        (
            "debian-12-user",
            with(user(), &|f| {
                f.system.release = "6.1.0-40-amd64".into();
                (f.landlock_abi, f.landlock_errata) = (2, 0xc);
                f.programs = [Some("/usr/bin/bwrap".into()), Some("/usr/bin/socat".into())];
            }),
        ),
        ("ubuntu-24.04", without(ubuntu(user()), EPERM, true, MAP)),
        (
            "github-actions",
            with(without(ubuntu(user()), libc::EACCES, true, MAP), &|f| {
                f.system.release = "6.11.0-1018-azure".into();
                f.landlock_abi = 5;
                (f.engine, f.own_network) = (Ok(Engine::Bwrap), true);
                f.programs[0] = Some("/usr/bin/bwrap".into());
            }),
        ),
        ("docker-root", docker(good())),
        ("docker-1000", docker(user())),
        (
            "docker-unconfined",
            with(user(), &|f| {
                f.system.container = "Docker".into();
                f.masked_proc = true;
            }),
        ),
        (
            "alpine-root",
            with(good(), &|f| {
                f.system.release = "6.6.58-0-lts".into();
                (f.landlock_abi, f.landlock_errata) = (3, 0);
                f.system.io_uring = "2".into();
            }),
        ),
        (
            "rhel-8",
            with(user(), &|f| {
                f.system.release = "4.18.0-553.el8_10.x86_64".into();
                f.system.selinux = "1".into();
                f.system.io_uring = String::new();
                (f.landlock_abi, f.landlock_errata, f.mount_setattr) = (0, 0, false);
                f.listener = Err(libc::EINVAL);
                f.verdict = Err(
                    "this kernel has no seccomp user notification (Linux 5.5 or newer has what is needed)"
                        .into(),
                );
            }),
        ),
        (
            "rhel-8-limit",
            with(without(user(), libc::ENOSPC, false, CLONE), &|f| {
                f.system.release = "4.18.0-553.el8_10.x86_64".into();
                f.system.most_user_namespaces = "0".into();
                f.landlock_abi = 0;
                f.engine =
                    Err("cannot make a sandbox on this host: engine native: …; engine landlock: …".into());
            }),
        ),
        (
            "debian-10-user",
            with(without(user(), EPERM, false, CLONE), &|f| {
                f.system.release = "4.19.0-27-amd64".into();
                f.system.debian_switch = "0".into();
                f.landlock_abi = 0;
                f.engine =
                    Err("cannot make a sandbox on this host: engine native: …; engine landlock: …".into());
            }),
        ),
        (
            "wsl2-mirrored",
            with(user(), &|f| {
                f.system.release = "6.6.87.2-microsoft-standard-WSL2".into();
                (f.system.wsl, f.system.wsl_interop) = (true, true);
                f.landlock_abi = 3;
                f.listener = Err(libc::EBUSY);
                f.verdict = Err("a filter with a listener is in force already".into());
            }),
        ),
        (
            "gvisor",
            with(without(good(), EPERM, false, CLONE), &|f| {
                f.system.release = "4.4.0".into();
                f.system.gvisor = true;
                f.system.container = "gVisor".into();
                (f.landlock_abi, f.log, f.mount_setattr) = (0, false, false);
                f.listener = Err(libc::EINVAL);
                f.verdict = Err(
                    "this kernel has no seccomp user notification (Linux 5.5 or newer has what is needed)"
                        .into(),
                );
                f.ebpf = Err("this kernel has no bpf(2)".into());
                f.engine =
                    Err("cannot make a sandbox on this host: engine native: …; engine landlock: …".into());
            }),
        ),
        ("setcap", with(user(), &|f| (f.ebpf, f.cap_bpf) = (Ok(()), true))),
        ("chroot", with(without(user(), EPERM, false, CLONE), &|f| f.system.root_is_mount = false)),
        (
            "chroot-root",
            with(without(good(), libc::EINVAL, true, "cannot make the sandbox's root"), &|f| {
                f.system.root_is_mount = false;
            }),
        ),
        (
            "inside-fence",
            with(without(user(), EPERM, false, CLONE), &|f| {
                (f.system.in_fence, f.system.filtered) = (true, true);
            }),
        ),
        ("no-user-namespaces", without(user(), libc::EINVAL, false, CLONE)),
    ]
}

#[test]
fn every_host_gets_its_report() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/features");
    let mut wrong = Vec::new();
    for (name, found) in environments() {
        let texts = [
            ("txt", show::text(&found, "/usr/bin/fence")),
            ("json", show::json(&found, "/usr/bin/fence").pretty() + "\n"),
        ];
        for (kind, text) in texts {
            let path = folder.join(format!("{name}.{kind}"));
            if std::env::var_os("FENCE_BLESS").is_some() {
                std::fs::write(&path, &text).unwrap();
            } else if std::fs::read_to_string(&path).unwrap_or_default() != text {
                wrong.push(format!("--- {} is not\n{text}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\nFENCE_BLESS=1 accepts these", wrong.join("\n"));
}

#[test]
fn whoever_is_root_is_not_told_to_become_root() {
    for (name, found) in environments().into_iter().filter(|(_, found)| found.system.root) {
        let text = show::text(&found, "/usr/bin/fence");
        assert!(!text.contains("as root: ") && !text.contains("fence as root"), "{name}: {text}");
    }
}

#[test]
fn what_does_not_work_has_a_cause_and_a_way_out() {
    for (name, found) in environments() {
        let programs = ["Bubblewrap", "Socat"];
        for row in found.rows().iter().filter(|row| row.works == Some(false) && !programs.contains(&row.name))
        {
            assert!(!row.cause.is_empty() && !row.fix.is_empty() && !row.tried.is_empty(), "{name}: {row:?}");
            assert!(!row.cause.contains("; ") && !row.details.contains("; "), "{name}: {row:?}");
        }
    }
}

#[test]
fn one_errno_has_many_causes() {
    let plain = || System { root_is_mount: true, ..System::default() };
    let one = "1".to_string();
    let zero = "0".to_string();
    let filtered = System { filtered: true, ..plain() };
    assert_eq!(cause(&filtered, EPERM, false), Cause::Seccomp);
    // A container on Ubuntu: the filter refuses the call before AppArmor has its turn.
    let both = System { apparmor_switch: one.clone(), ..filtered.clone() };
    assert_eq!(cause(&both, EPERM, false), Cause::Seccomp);
    assert_eq!(cause(&both, EPERM, true), Cause::AppArmor);
    assert_eq!(cause(&System { admin: true, ..both }, EPERM, true), Cause::Seccomp);
    let debian = System { debian_switch: zero.clone(), ..plain() };
    assert_eq!(cause(&debian, EPERM, false), Cause::Debian);
    assert_eq!(cause(&System { admin: true, ..debian }, EPERM, false), Cause::Unknown);
    assert_eq!(cause(&System { most_user_namespaces: zero, ..plain() }, libc::ENOSPC, false), Cause::None);
    assert_eq!(cause(&plain(), libc::ENOSPC, false), Cause::Limit);
    assert_eq!(cause(&System { root_is_mount: false, ..filtered }, EPERM, false), Cause::Chroot);
    assert_eq!(cause(&System { selinux: one, ..plain() }, EPERM, true), Cause::Selinux);
    assert_eq!(cause(&plain(), libc::ENOSYS, false), Cause::Kernel);
    assert_eq!(cause(&plain(), EPERM, false), Cause::Unknown);
}
