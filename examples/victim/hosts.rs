//! Other hosts than this one: what runs in them finds less than there is. Acts that end by becoming a command, so they are put
//! one before the other: `victim root DIR -- victim docker 1000 -- fence …`. They need root, and a kernel that has what they take away.

use crate::errno::{Errno, check};
use crate::filter::{self, ALLOW, EQUAL, ERRNO, LOAD, RETURN, Statement, statement};
use crate::{Act, Outcome, number, processes};
use std::ffi::CString;
use std::fs;
use std::path::Path;

pub(crate) const ACTS: &[Act] = &[
    // A directory as the root, by pivot_root: after chroot(2) nobody may make user namespaces.
    ("root", "DIRECTORY -- COMMAND...", |a| {
        root(&a[0])?;
        filter::run(&a[2..])
    }),
    ("docker", "UID -- COMMAND...", |a| {
        docker(number(&a[0]) as u32)?;
        filter::run(&a[2..])
    }),
    // ENOSYS for every system call that is younger than this kernel, and no younger flags of seccomp(2).
    ("old", "VERSION -- COMMAND...", |a| old(&a[0], &a[2..])),
];

/// Unmounted or mounted: C's way to say it.
pub(crate) fn mount(source: &str, target: &str, kind: &str, flags: u64, options: &str) -> Outcome {
    let [source, target, kind, options] = [source, target, kind, options].map(|s| CString::new(s).unwrap());
    // SAFETY: four C strings that outlive the call.
    check(unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags as _, options.as_ptr().cast())
    })
    .map(drop)
}

/// A mount table of this process's own, from which nothing gets out.
pub(crate) fn own_mounts(more: i32) -> Outcome {
    // SAFETY: an integer.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS | more) })?;
    mount("", "/", "", libc::MS_REC | libc::MS_PRIVATE, "")
}

/// Goes on in a child; the parent waits for it and ends as it does.
pub(crate) fn in_child() -> Outcome {
    let child = processes::fork()?;
    if child == 0 {
        return Ok(());
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    while unsafe { libc::waitpid(child, &raw mut status, 0) } != child {}
    std::process::exit(if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        128 + libc::WTERMSIG(status)
    })
}

fn root(directory: &str) -> Outcome {
    own_mounts(0)?;
    mount(directory, directory, "", libc::MS_BIND | libc::MS_REC, "")?;
    std::env::set_current_dir(directory)?;
    mount("proc", "proc", "proc", libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC, "")?;
    mount("/sys", "sys", "", libc::MS_BIND | libc::MS_REC, "")?;
    mount("/dev", "dev", "", libc::MS_BIND | libc::MS_REC, "")?;
    // Not over /tmp: what is tested may have been built there.
    mount("tmpfs", "run", "tmpfs", libc::MS_NOSUID | libc::MS_NODEV, "mode=755")?;
    // SAFETY: C strings. The old root comes to lie over the new one, and goes.
    unsafe {
        check(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()))?;
        check(libc::umount2(c".".as_ptr(), libc::MNT_DETACH))?;
    }
    Ok(std::env::set_current_dir("/")?)
}

/// Docker masks these with nothing, and makes the second ones read-only.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What Docker leaves root: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, net_raw,
/// sys_chroot, mknod, audit_write, setfcap.
const CAPABILITIES: [u32; 14] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];

/// What Docker's default profile refuses with EPERM in a container that has those capabilities (x86_64), as moby publishes it.
const REFUSED: [i64; 64] = [
    libc::SYS_syslog,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS_vhangup,
    libc::SYS_pivot_root,
    libc::SYS__sysctl,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_init_module,
    libc::SYS_delete_module,
    174,
    177,
    178,
    libc::SYS_quotactl,
    libc::SYS_nfsservctl,
    libc::SYS_uselib,
    libc::SYS_lookup_dcookie,
    libc::SYS_clock_settime,
    libc::SYS_mbind,
    libc::SYS_set_mempolicy,
    libc::SYS_get_mempolicy,
    libc::SYS_kexec_load,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_migrate_pages,
    libc::SYS_unshare,
    libc::SYS_move_pages,
    libc::SYS_perf_event_open,
    libc::SYS_fanotify_init,
    libc::SYS_open_by_handle_at,
    libc::SYS_setns,
    libc::SYS_kcmp,
    libc::SYS_finit_module,
    libc::SYS_kexec_file_load,
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    libc::SYS_mount_setattr,
    443,
    450,
    459,
    460,
    461,
    467,
];

/// A process in a container as `docker run` makes it, with the default profile: as root with Docker's capabilities, or as a user.
fn docker(uid: u32) -> Outcome {
    own_mounts(libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP)?;
    in_child()?;
    let still = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount("proc", "/proc", "proc", still, "")?;
    // SAFETY: a C string. A container's /sys has neither securityfs nor tracefs in it.
    unsafe { libc::umount2(c"/sys".as_ptr(), libc::MNT_DETACH) };
    mount("sysfs", "/sys", "sysfs", still | libc::MS_RDONLY, "")?;
    for path in MASKED.into_iter().filter(|path| Path::new(path).exists()) {
        if Path::new(path).is_dir() {
            mount("tmpfs", path, "tmpfs", libc::MS_RDONLY, "size=0k")?;
        } else {
            mount("/dev/null", path, "", libc::MS_BIND, "")?;
        }
    }
    for path in READ_ONLY.into_iter().filter(|path| Path::new(path).exists()) {
        mount(path, path, "", libc::MS_BIND | libc::MS_REC, "")?;
        mount("", path, "", libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | still, "")?;
    }
    for capability in (0..64).filter(|c| !CAPABILITIES.contains(c)) {
        // SAFETY: integers. Numbers that the kernel does not know fail, which is as good.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    // While CAP_SYS_ADMIN is still there, so without no_new_privs: runc does it the same way.
    filter::install(&profile())?;
    if uid == 0 {
        let bits = CAPABILITIES.iter().fold(0u32, |bits, c| bits | 1 << c);
        let header = [0x2008_0522u32, 0];
        let sets = [bits, bits, 0, 0, 0, 0];
        // SAFETY: struct __user_cap_header_struct and two of __user_cap_data_struct, of version 3.
        return check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) }).map(drop);
    }
    // SAFETY: no list, integers.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()))?;
        check(libc::setresgid(uid, uid, uid))?;
        check(libc::setresuid(uid, uid, uid)).map(drop)
    }
}

/// Docker's default filter, by what it refuses.
fn profile() -> Vec<Statement> {
    const SET: u16 = 0x45;
    const AND: u16 = 0x54;
    const AT_LEAST: u16 = 0x35;
    const NEW_NAMESPACES: u32 = 0x7e02_0000;
    let refuse = |errno: i32| statement(RETURN, ERRNO | errno as u32);
    let when = |code, k: u32, jt, jf| Statement { code, jt, jf, k };
    // 32-bit programs are not modelled.
    let mut program = vec![statement(LOAD, 4), when(EQUAL, 0xc000_003e, 1, 0), statement(RETURN, ALLOW)];
    program.push(statement(LOAD, 0));
    for call in REFUSED {
        program.extend([when(EQUAL, call as u32, 0, 1), refuse(libc::EPERM)]);
    }
    // The C library then falls back to clone(2), whose flags a filter can see.
    program.extend([when(EQUAL, libc::SYS_clone3 as u32, 0, 1), refuse(libc::ENOSYS)]);
    program.extend([
        when(EQUAL, libc::SYS_clone as u32, 0, 4),
        statement(LOAD, 16),
        statement(AND, NEW_NAMESPACES),
        when(EQUAL, 0, 1, 0),
        refuse(libc::EPERM),
        statement(LOAD, 0),
        when(EQUAL, libc::SYS_socket as u32, 0, 4),
        statement(LOAD, 16),
        when(EQUAL, libc::AF_ALG as u32, 1, 0),
        when(EQUAL, libc::AF_VSOCK as u32, 0, 1),
        refuse(libc::EPERM),
        statement(LOAD, 0),
        // Only the values that change nothing dangerous, and the question for it.
        when(EQUAL, libc::SYS_personality as u32, 0, 5),
        statement(LOAD, 16),
        when(EQUAL, u32::MAX, 3, 0),
        when(EQUAL, 0, 2, 0),
        when(SET, !0x2_0008, 0, 1),
        refuse(libc::EPERM),
        statement(LOAD, 0),
        // What is younger than the profile.
        when(AT_LEAST, 470, 0, 1),
        refuse(libc::ENOSYS),
        statement(RETURN, ALLOW),
    ]);
    program
}

/// The kernel that brought each system call since 4.18; their numbers are the same on every architecture.
const BROUGHT: [(u32, std::ops::RangeInclusive<i64>); 18] = [
    (501, 424..=427), // pidfd_send_signal, io_uring
    (502, 428..=433), // open_tree ... fspick
    (503, 434..=435), // pidfd_open, clone3
    (509, 436..=436), // close_range
    (506, 437..=438), // openat2, pidfd_getfd
    (508, 439..=439), // faccessat2
    (510, 440..=440), // process_madvise
    (511, 441..=441), // epoll_pwait2
    (512, 442..=442), // mount_setattr
    (514, 443..=443), // quotactl_fd
    (513, 444..=446), // Landlock
    (514, 447..=447), // memfd_secret
    (515, 448..=448), // process_mrelease
    (516, 449..=449), // futex_waitv
    (517, 450..=450), // set_mempolicy_home_node
    (605, 451..=453), // cachestat, fchmodat2, map_shadow_stack
    (607, 454..=456), // futex_wake ... futex_requeue
    (608, 457..=490), // statmount and later
];
/// Flags of seccomp(2): log and listener, and what came with 5.7 and 5.19.
const SECCOMP_FLAGS: [(u32, u32); 3] = [(500, 1 << 3), (507, 1 << 4), (519, 1 << 5)];

fn old(version: &str, command: &[String]) -> Outcome {
    let (major, minor) = version.split_once('.').ok_or(Errno(libc::EINVAL))?;
    let version = (number(major) * 100 + number(minor)) as u32;
    let mut program = vec![statement(LOAD, 0)];
    let younger = BROUGHT.into_iter().filter(|(since, _)| *since > version);
    for call in younger.flat_map(|(_, calls)| calls) {
        program.push(Statement { code: EQUAL, jt: 0, jf: 1, k: call as u32 });
        program.push(statement(RETURN, ERRNO | libc::ENOSYS as u32));
    }
    let flags =
        SECCOMP_FLAGS.iter().filter(|(since, _)| *since > version).fold(0, |all, (_, flag)| all | flag);
    program.extend([
        Statement { code: EQUAL, jt: 0, jf: 3, k: libc::SYS_seccomp as u32 },
        statement(LOAD, 24),
        Statement { code: 0x45, jt: 0, jf: 1, k: flags },
        statement(RETURN, ERRNO | libc::EINVAL as u32),
        statement(RETURN, ALLOW),
    ]);
    filter::install_as_root(&program)?;
    filter::run(command)
}

/// Files of a directory and below with what is in them, as far as they can be read.
pub(crate) fn contents(directory: &Path) -> Vec<(std::path::PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.push((path.clone(), None));
            found.extend(contents(&path));
        } else if let Ok(bytes) = fs::read(&path) {
            found.push((path, Some(bytes)));
        }
    }
    found
}
