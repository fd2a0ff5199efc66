//! System calls by name: as this architecture makes them, as a 32-bit program does (`int 0x80`), and with x32's numbers.
//!
//! The arguments are such that the call is refused for their sake, or does nothing that lasts, once it gets past the
//! filter, also for root outside any sandbox: bad pointers, bad descriptors, unknown flags.

use crate::errno::{Errno, check};
use crate::{Act, Outcome, number};

pub(crate) const ACTS: &[Act] = &[
    // How long a call takes: nanoseconds, on stdout.
    ("loop", "getppid|open TIMES", |a| {
        let (open, times) = (a[0] == "open", number(&a[1]));
        let start = std::time::Instant::now();
        for _ in 0..times {
            if open {
                drop(std::fs::File::open("/etc/hostname")?);
            } else {
                // SAFETY: getppid takes nothing.
                unsafe { libc::syscall(libc::SYS_getppid) };
            }
        }
        println!("{}", start.elapsed().as_nanos() / times as u128);
        Ok(())
    }),
    ("call", "NAME [ARGUMENT...]", |a| native(a, 0)),
    ("x32", "NAME [ARGUMENT...]", |a| native(a, 0x4000_0000)),
    ("int80", "NAME [ARGUMENT...]", |a| {
        let row = row(&a[0]);
        let before = std::process::id();
        let answer = int80(row.i386, &arguments(row, &a[1..]));
        if std::process::id() != before {
            std::process::exit(0); // the child that clone made
        }
        answer
    }),
    // Many of them, one line each: the call and how it went. Each in a process of its own: some change what others may.
    ("each", "call|int80|x32 NAMES...", |a| {
        for name in &a[1..] {
            let (_, _, act) = ACTS.iter().find(|(way, _, _)| *way == a[0]).ok_or(Errno(libc::EINVAL))?;
            if crate::processes::fork()? == 0 {
                match act(std::slice::from_ref(name)) {
                    Ok(()) => println!("{name} ok"),
                    Err(errno) => println!("{name} {errno}"),
                }
                std::process::exit(0);
            }
            // SAFETY: no status is asked for.
            check(unsafe { libc::wait(std::ptr::null_mut()) })?;
        }
        Ok(())
    }),
    ("calls", "", |_| {
        ROWS.iter().for_each(|row| println!("{}", row.name));
        Ok(())
    }),
    // Namespaces by clone(2) proper: the child ends at once.
    ("clone", "FLAGS", |a| child(libc::SYS_clone, [number(&a[0]) | libc::SIGCHLD as i64, 0, 0, 0, 0, 0])),
    ("clone3", "FLAGS", |a| {
        // struct clone_args as of Linux 5.3: flags first, exit_signal fifth.
        let args = [number(&a[0]), 0, 0, 0, libc::SIGCHLD as i64, 0, 0, 0];
        child(libc::SYS_clone3, [args.as_ptr() as i64, size_of_val(&args) as i64, 0, 0, 0, 0])
    }),
    ("setns", "PATH", |a| {
        use std::os::fd::AsRawFd;
        let file = std::fs::File::open(&a[0])?;
        // SAFETY: two integers.
        check(unsafe { libc::setns(file.as_raw_fd(), 0) }).map(drop)
    }),
    ("ioctl", "FD REQUEST", |a| {
        // The whole register, as no library passes it: the kernel looks at 32 bits.
        syscall(libc::SYS_ioctl, &[number(&a[0]), number(&a[1]), BAD, 0, 0, 0])
    }),
];

/// A pointer that leads nowhere.
const BAD: i64 = 1;
/// Stands for the victim's own process id.
const SELF: i64 = i64::MIN;
const NEWUSER: i64 = 0x1000_0000;

struct Row {
    name: &'static str,
    number: i64,
    i386: i64,
    args: [i64; 6],
}

macro_rules! rows {
    ($($name:ident $number:expr, $i386:literal, [$($arg:expr),*];)*) => {
        const ROWS: &[Row] = &[$(Row { name: stringify!($name), number: $number, i386: $i386, args: pad(&[$($arg),*]) }),*];
    };
}

const fn pad(args: &[i64]) -> [i64; 6] {
    let mut all = [0; 6];
    let mut i = 0;
    while i < args.len() {
        all[i] = args[i];
        i += 1;
    }
    all
}

/// A number that this architecture does not have.
const NONE: i64 = -1;

rows! {
    ptrace libc::SYS_ptrace, 26, [9999, 0, 0, 0];
    process_vm_readv libc::SYS_process_vm_readv, 347, [SELF, 0, 0, 0, 0, 0];
    process_vm_writev libc::SYS_process_vm_writev, 348, [SELF, 0, 0, 0, 0, 0];
    keyctl libc::SYS_keyctl, 288, [9999];
    add_key libc::SYS_add_key, 286, [BAD, BAD, 0, 0, 0];
    request_key libc::SYS_request_key, 287, [BAD, BAD, 0, 0];
    // READ_IMPLIES_EXEC: makes an exploit's life easier.
    personality libc::SYS_personality, 136, [0x40_0000];
    userfaultfd libc::SYS_userfaultfd, 374, [1];
    perf_event_open libc::SYS_perf_event_open, 336, [BAD, 0, -1, -1, 0];
    bpf libc::SYS_bpf, 357, [9999, 0, 0];
    kexec_load libc::SYS_kexec_load, 283, [0, 99, 0, 0];
    kexec_file_load machine::KEXEC_FILE_LOAD, 0, [-1, -1, 0, 0, 0xffff];
    // Without the magic numbers nothing happens.
    reboot libc::SYS_reboot, 88, [0, 0, 0, 0];
    syslog libc::SYS_syslog, 103, [9999, 0, 0];
    acct libc::SYS_acct, 51, [BAD];
    mount libc::SYS_mount, 21, [BAD, BAD, BAD, 0, 0];
    umount2 libc::SYS_umount2, 52, [BAD, 0];
    pivot_root libc::SYS_pivot_root, 217, [BAD, BAD];
    swapon libc::SYS_swapon, 87, [BAD, 0];
    swapoff libc::SYS_swapoff, 115, [BAD];
    sethostname libc::SYS_sethostname, 74, [BAD, 9999];
    setdomainname libc::SYS_setdomainname, 121, [BAD, 9999];
    init_module libc::SYS_init_module, 128, [BAD, 0, BAD];
    finit_module libc::SYS_finit_module, 350, [-1, BAD, 0];
    delete_module libc::SYS_delete_module, 129, [BAD, 0];
    ioperm machine::IOPERM, 101, [0xffff_ffff, 0xffff, 1];
    iopl machine::IOPL, 110, [9];
    io_uring_setup libc::SYS_io_uring_setup, 425, [0, BAD];
    io_uring_enter libc::SYS_io_uring_enter, 426, [-1, 0, 0, 0, 0];
    io_uring_register libc::SYS_io_uring_register, 427, [-1, 0, 0, 0];
    open_tree libc::SYS_open_tree, 428, [-100, BAD, 0];
    open_tree_attr 467, 467, [-1, BAD, 0, 0, 0];
    move_mount libc::SYS_move_mount, 429, [-1, BAD, -1, BAD, 0];
    fsopen libc::SYS_fsopen, 430, [BAD, 0];
    fsconfig libc::SYS_fsconfig, 431, [-1, 99, 0, 0, 0];
    fsmount libc::SYS_fsmount, 432, [-1, 0, 0];
    fspick libc::SYS_fspick, 433, [-1, BAD, 0];
    mount_setattr libc::SYS_mount_setattr, 442, [-1, BAD, 0, BAD, 0];
    unshare libc::SYS_unshare, 310, [NEWUSER];
    setns libc::SYS_setns, 346, [-1, 0];
    clone3 libc::SYS_clone3, 435, [BAD, 0];
    chroot libc::SYS_chroot, 61, [BAD];
    open_by_handle_at libc::SYS_open_by_handle_at, 342, [-1, BAD, 0];
    pidfd_getfd libc::SYS_pidfd_getfd, 438, [-1, 0, 0];
    process_madvise libc::SYS_process_madvise, 440, [-1, BAD, 0, 0, 0];
    kcmp libc::SYS_kcmp, 349, [SELF, SELF, 1, 0, 0];
    move_pages libc::SYS_move_pages, 317, [0, 0, 0, 0, 0, 0xff];
    migrate_pages libc::SYS_migrate_pages, 294, [SELF, 0, 0, 0];
    quotactl libc::SYS_quotactl, 131, [-1, BAD, 0, BAD];
    quotactl_fd 443, 443, [-1, -1, 0, BAD];
    vhangup libc::SYS_vhangup, 111, [];
    settimeofday libc::SYS_settimeofday, 79, [BAD, 0];
    clock_settime libc::SYS_clock_settime, 264, [9999, BAD];
    // Of 32-bit programs only.
    umount NONE, 22, [BAD];
    stime NONE, 25, [BAD];
    clock_settime64 NONE, 404, [9999, BAD];
    // SYS_SOCKET with its arguments in memory, where no filter looks.
    socketcall NONE, 102, [1, BAD];
    // TIOCSTI, a lease, a forbidden family, a group: judged by their arguments.
    ioctl libc::SYS_ioctl, 54, [0, 0x5412, BAD];
    fcntl libc::SYS_fcntl, 55, [0, 1024, 0];
    socket libc::SYS_socket, 359, [40, 1, 0];
    clone libc::SYS_clone, 120, [NEWUSER + 17, 0, 0, 0, 0];
    // For `enosys` and for controls.
    getpid libc::SYS_getpid, 20, [];
    close_range libc::SYS_close_range, 436, [-1, 0, 0];
    openat2 libc::SYS_openat2, 437, [-1, BAD, 0, 0];
    pidfd_open libc::SYS_pidfd_open, 434, [-1, 0];
    pidfd_send_signal libc::SYS_pidfd_send_signal, 424, [-1, 0, 0, 0];
    landlock_create_ruleset libc::SYS_landlock_create_ruleset, 444, [0, 0, 1];
    landlock_add_rule libc::SYS_landlock_add_rule, 445, [-1, 0, 0, 0];
    landlock_restrict_self libc::SYS_landlock_restrict_self, 446, [-1, 0];
    seccomp libc::SYS_seccomp, 354, [9999, 0, 0];
    statx libc::SYS_statx, 383, [-1, BAD, 0, 0, BAD];
    faccessat2 libc::SYS_faccessat2, 439, [-1, BAD, 0, 0];
}

#[cfg(target_arch = "x86_64")]
mod machine {
    pub(crate) const IOPERM: i64 = libc::SYS_ioperm;
    pub(crate) const IOPL: i64 = libc::SYS_iopl;
    pub(crate) const KEXEC_FILE_LOAD: i64 = libc::SYS_kexec_file_load;
}

#[cfg(not(target_arch = "x86_64"))]
mod machine {
    pub(crate) const IOPERM: i64 = super::NONE;
    pub(crate) const IOPL: i64 = super::NONE;
    /// libc lacks it.
    pub(crate) const KEXEC_FILE_LOAD: i64 = 294;
}

/// The number of a system call in the table.
pub(crate) fn number_of(name: &str) -> Option<i64> {
    ROWS.iter().find(|row| row.name == name).map(|row| row.number)
}

fn row(name: &str) -> &'static Row {
    ROWS.iter().find(|row| row.name == name).unwrap_or_else(|| {
        eprintln!("victim: no system call {name}");
        std::process::exit(2)
    })
}

fn arguments(row: &Row, given: &[String]) -> [i64; 6] {
    let mut args = row.args;
    given.iter().zip(&mut args).for_each(|(word, arg)| *arg = number(word));
    args.map(|arg| if arg == SELF { i64::from(std::process::id()) } else { arg })
}

fn native(words: &[String], bit: i64) -> Outcome {
    let row = row(&words[0]);
    if row.number == NONE {
        return Err(Errno(libc::ENOSYS));
    }
    if row.name == "clone" {
        return child(row.number | bit, arguments(row, &words[1..]));
    }
    if row.name == "vhangup" {
        // SAFETY: no arguments. Without a terminal of its own the call hangs nothing up.
        unsafe { libc::setsid() };
    }
    syscall(row.number | bit, &arguments(row, &words[1..]))
}

fn syscall(number: i64, args: &[i64; 6]) -> Outcome {
    // SAFETY: the arguments are bad on purpose: the kernel checks every pointer itself.
    check(unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]) }).map(drop)
}

/// A call that forks: the child ends at once, the parent says how it went.
fn child(call: i64, args: [i64; 6]) -> Outcome {
    // SAFETY: no CLONE_VM and no stack, so the child is a copy; it does nothing but end.
    unsafe {
        let pid = check(libc::syscall(call, args[0], args[1], args[2], args[3], args[4], args[5]))?;
        if pid == 0 {
            libc::_exit(0);
        }
        check(libc::waitpid(pid as i32, std::ptr::null_mut(), libc::__WALL)).map(drop)
    }
}

/// A system call as a 32-bit program makes it, from 64-bit code.
#[cfg(target_arch = "x86_64")]
fn int80(number: i64, args: &[i64; 6]) -> Outcome {
    let mut answer = number as i32;
    let ebp = args[5] as u32;
    // SAFETY: rbx and rbp belong to the compiler, so they are saved on the stack and put back; the kernel changes no
    // other register but eax (r8 to r11 were cleared by kernels before 4.17). Every pointer is checked by the kernel.
    unsafe {
        std::arch::asm!(
            "push rbx",
            "push rbp",
            "mov ebx, r12d",
            "mov ebp, r13d",
            "int 0x80",
            "pop rbp",
            "pop rbx",
            inout("eax") answer,
            in("r12") u64::from(args[0] as u32),
            in("r13") u64::from(ebp),
            in("ecx") args[1] as u32,
            in("edx") args[2] as u32,
            in("esi") args[3] as u32,
            in("edi") args[4] as u32,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if answer < 0 { Err(Errno(-answer)) } else { Ok(()) }
}

#[cfg(not(target_arch = "x86_64"))]
fn int80(_: i64, _: &[i64; 6]) -> Outcome {
    Err(Errno(libc::ENOSYS))
}

/// execve(2) by its 32-bit number: path and arguments have to lie where 32 bits reach.
#[cfg(target_arch = "x86_64")]
pub(crate) fn execve_i386(path: &std::ffi::CStr, words: &[std::ffi::CString]) -> Outcome {
    // SAFETY: a new page below 4 GiB that is never unmapped; what is written to it fits, or the assertion ends the victim.
    unsafe {
        let flags = libc::MAP_ANONYMOUS | libc::MAP_PRIVATE | libc::MAP_32BIT;
        let page = libc::mmap(std::ptr::null_mut(), 65536, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        let base = page as u64;
        assert!(base < 1 << 32);
        let mut at = base + 4096;
        let mut put = |text: &std::ffi::CStr| {
            let bytes = text.to_bytes_with_nul();
            assert!(at + (bytes.len() as u64) < base + 65536);
            (at as *mut u8).copy_from(bytes.as_ptr(), bytes.len());
            at += bytes.len() as u64;
            (at - bytes.len() as u64) as u32
        };
        let path = put(path);
        let pointers: Vec<u32> = words.iter().map(|word| put(word)).chain([0]).collect();
        assert!(pointers.len() < 1000);
        (base as *mut u32).copy_from(pointers.as_ptr(), pointers.len());
        let args = [i64::from(path), base as i64, base as i64 + 4 * words.len() as i64, 0, 0, 0];
        int80(11, &args)
    }
}
