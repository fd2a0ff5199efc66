//! The numbers against the kernel's own lists.

use super::*;
use std::collections::BTreeMap;

/// Every row of every table.
fn rows() -> impl Iterator<Item = &'static Rule> {
    [BLOCKED, GROUP_KILL, EXEC].into_iter().flatten()
}

/// Names and numbers by linux-raw-sys, which has those of the architecture that it is compiled for.
macro_rules! raw {
    ($($constant:ident)*) => {
        [$((stringify!($constant), linux_raw_sys::general::$constant)),*]
    };
}

/// What the rows of `arch` say must be what `kernel` says; rows that `kernel` lacks must be older than it.
fn compare(kernel: &BTreeMap<String, u32>, arch: Arch) {
    for row in rows() {
        match (kernel.get(row.name), row.numbers.on(arch)) {
            (Some(&number), ours) => assert_eq!(ours, Some(number), "{} on {arch:?}", row.name),
            // Newer than the header; numbers from 424 on are the same everywhere, so another test has it.
            (None, Some(number)) if number > 424 => {}
            (None, ours) => assert_eq!(ours, None, "{} on {arch:?}", row.name),
        }
    }
}

#[test]
fn rows_are_those_of_linux_raw_sys() {
    #[rustfmt::skip]
    let common = raw![
        __NR_ptrace __NR_process_vm_readv __NR_process_vm_writev __NR_process_madvise __NR_pidfd_getfd
        __NR_kcmp __NR_move_pages __NR_migrate_pages __NR_perf_event_open __NR_userfaultfd __NR_bpf
        __NR_io_uring_setup __NR_io_uring_enter __NR_io_uring_register __NR_keyctl __NR_add_key
        __NR_request_key __NR_mount __NR_umount2 __NR_pivot_root __NR_chroot __NR_open_tree
        __NR_open_tree_attr __NR_move_mount __NR_fsopen __NR_fsconfig __NR_fsmount __NR_fspick
        __NR_mount_setattr __NR_open_by_handle_at __NR_unshare __NR_clone __NR_clone3 __NR_setns
        __NR_ioctl __NR_vhangup __NR_fcntl __NR_socket __NR_socketpair __NR_init_module __NR_finit_module
        __NR_delete_module __NR_kexec_load __NR_kexec_file_load __NR_reboot __NR_swapon __NR_swapoff
        __NR_acct __NR_syslog __NR_sethostname __NR_setdomainname __NR_quotactl __NR_quotactl_fd
        __NR_lookup_dcookie __NR_nfsservctl __NR_settimeofday __NR_clock_settime __NR_clock_adjtime
        __NR_personality __NR_kill __NR_pidfd_send_signal __NR_execve __NR_execveat
    ];
    #[cfg(target_arch = "x86_64")]
    let only = raw![__NR_ioperm __NR_iopl __NR__sysctl __NR_uselib];
    #[cfg(target_arch = "aarch64")]
    let only: [(&str, u32); 0] = raw![];
    let kernel =
        common.iter().chain(&only).map(|(name, number)| (name.replacen("__NR_", "", 1), *number)).collect();
    compare(&kernel, Arch::HOST);
    for row in rows() {
        assert_eq!(
            row.numbers.on(Arch::HOST).is_some(),
            kernel.contains_key(row.name),
            "{} is not compared",
            row.name
        );
    }
}

#[test]
fn rows_are_those_of_the_table_of_all_calls() {
    for row in rows() {
        assert_eq!(find(row.name), Some((row.name, row.numbers)), "{}", row.name);
    }
    assert_eq!(find("read"), Some(("read", Numbers { x86_64: Some(0), aarch64: Some(63), i386: Some(3) })));
    assert_eq!(find("frobnicate"), None);
}

/// `#define __NR_name number` lines of a header; None where it is not installed.
fn header(path: &str) -> Option<BTreeMap<String, u32>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("SKIP: {path}: {error} (package linux-libc-dev)");
            return None;
        }
    };
    let define = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next()? == "#define").then_some(())?;
        let (name, number) = (words.next()?, words.next()?);
        // aarch64's header writes calls that differ on 32-bit machines as __NR3264_name.
        let name = name.strip_prefix("__NR_").or_else(|| name.strip_prefix("__NR3264_"))?;
        Some((name.to_string(), number.parse().ok()?))
    };
    Some(text.lines().filter_map(define).collect())
}

/// Every number of a header is in the table of all calls.
fn table_agrees(kernel: &BTreeMap<String, u32>, arch: Arch) {
    // Names for blocks of numbers, and calls that a header keeps for other machines.
    const NO_CALLS: [&str; 3] = ["syscalls", "arch_specific_syscall", "sync_file_range2"];
    for (name, number) in kernel.iter().filter(|(name, _)| !NO_CALLS.contains(&name.as_str())) {
        let ours = find(name).and_then(|(_, numbers)| numbers.on(arch));
        assert_eq!(ours, Some(*number), "{name} on {arch:?}");
    }
}

#[test]
fn numbers_of_x86_64_are_those_of_the_header() {
    let Some(kernel) = header("/usr/include/x86_64-linux-gnu/asm/unistd_64.h") else { return };
    compare(&kernel, Arch::X86_64);
    table_agrees(&kernel, Arch::X86_64);
}

#[test]
fn numbers_of_i386_are_those_of_the_header() {
    let Some(kernel) = header("/usr/include/x86_64-linux-gnu/asm/unistd_32.h") else { return };
    compare(&kernel, Arch::I386);
    table_agrees(&kernel, Arch::I386);
}

#[test]
fn numbers_of_aarch64_are_those_of_the_header() {
    let Some(mut kernel) = header("/usr/include/asm-generic/unistd.h") else { return };
    // 64-bit machines call it so, by a second #define.
    if let Some(number) = kernel.remove("fstatat") {
        kernel.insert("newfstatat".to_string(), number);
    }
    // The generic list has 32-bit-only time calls, which 64-bit machines leave out.
    kernel.retain(|name, number| !name.ends_with("time64") && !(403..=423).contains(number));
    compare(&kernel, Arch::Aarch64);
    table_agrees(&kernel, Arch::Aarch64);
}

#[test]
fn calls_since_linux_5_1_have_one_number() {
    for (name, numbers) in all() {
        let known: Vec<u32> = [numbers.x86_64, numbers.aarch64, numbers.i386].into_iter().flatten().collect();
        if known.iter().any(|number| (424..512).contains(number)) {
            assert!(known.iter().all(|number| *number == known[0]), "{name}");
        }
    }
}

#[test]
fn rows_are_complete_and_written_once() {
    for table in [BLOCKED, GROUP_KILL, EXEC] {
        let mut names: Vec<_> = table.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), table.len());
        assert!(table.iter().all(|row| !row.why.is_empty() && row.action != Action::Allow));
    }
    #[rustfmt::skip]
    let originals = [
        "ptrace", "process_vm_readv", "process_vm_writev", "keyctl", "add_key", "request_key", "personality",
        "userfaultfd", "perf_event_open", "bpf", "kexec_load", "kexec_file_load", "reboot", "syslog", "acct", "mount",
        "umount2", "pivot_root", "swapon", "swapoff", "sethostname", "setdomainname", "init_module", "finit_module",
        "delete_module", "ioperm", "iopl",
    ];
    for name in originals {
        assert!(BLOCKED.iter().any(|row| row.name == name), "{name}");
    }
}
