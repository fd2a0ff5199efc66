//! The system calls that the filter judges: name, number per architecture, what happens, and why.
//!
//! Numbers are written by hand, because one filter holds the tables of two architectures (native and 32-bit);
//! tests compare them with the kernel's own lists. `syscalls.tbl` beside this file has every call there is, for the
//! names that users give.

use std::fmt;

use Action::Args;
use ArgRule::*;

/// An architecture whose calls can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit x86: 32-bit programs, and `int 0x80` in 64-bit ones.
    I386,
}

impl Arch {
    /// The architecture that fence was built for.
    #[cfg(target_arch = "x86_64")]
    pub const HOST: Arch = Arch::X86_64;
    /// The architecture that fence was built for.
    #[cfg(target_arch = "aarch64")]
    pub const HOST: Arch = Arch::Aarch64;

    /// `AUDIT_ARCH_*`: how the kernel names it in `seccomp_data.arch`.
    pub const fn audit(self) -> u32 {
        match self {
            Arch::X86_64 => 0xc000_003e,
            Arch::Aarch64 => 0xc000_00b7,
            Arch::I386 => 0x4000_0003,
        }
    }

    /// The 32-bit architecture whose programs run beside the native ones under the same rules. 32-bit ARM has no
    /// table: its programs are killed at their first call, because ENOSYS would let one whose calls nobody judges
    /// go on.
    pub const fn compat(self) -> Option<Arch> {
        match self {
            Arch::X86_64 => Some(Arch::I386),
            Arch::Aarch64 | Arch::I386 => None,
        }
    }
}

/// What a refused call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Errno(pub u16);

/// Operation not supported.
pub const EOPNOTSUPP: Errno = Errno(95);
/// Operation not permitted.
pub const EPERM: Errno = Errno(1);
/// Function not implemented: callers fall back to an older call.
pub const ENOSYS: Errno = Errno(38);
/// Protocol not supported.
pub const EPROTONOSUPPORT: Errno = Errno(93);
/// Address family not supported: what a kernel without the family says (EPERM makes `useradd` and others abort).
pub const EAFNOSUPPORT: Errno = Errno(97);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            EPERM => f.write_str("EPERM"),
            ENOSYS => f.write_str("ENOSYS"),
            EPROTONOSUPPORT => f.write_str("EPROTONOSUPPORT"),
            EAFNOSUPPORT => f.write_str("EAFNOSUPPORT"),
            EOPNOTSUPP => f.write_str("EOPNOTSUPP"),
            Errno(other) => write!(f, "errno {other}"),
        }
    }
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It goes on.
    Allow,
    /// It fails.
    Refuse(Errno),
    /// Its arguments decide.
    Args(ArgRule),
    /// It waits until who reads the filter's listener answers.
    Notify,
}

/// How arguments decide: only values in registers, because memory can change after the look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ArgRule {
    /// `unshare`: nothing but the flags known to make no namespace.
    UnshareFlags,
    /// `clone`: no CLONE_NEW* flag.
    CloneFlags,
    /// `ioctl`: not TIOCSTI, not TIOCLINUX.
    TerminalInput,
    /// `ioctl`: that, and nothing that changes a file's attributes or makes btrfs' subvolumes through a descriptor for reading.
    TerminalAndAttributes,
    /// `fcntl`: not F_SETLEASE, not F_SETDELEG.
    NoLease,
    /// `personality`: ask, or Linux with and without PER_LINUX32 and UNAME26.
    Personality,
    /// `clock_adjtime`: CLOCK_REALTIME only, where the kernel asks for CAP_SYS_TIME before it writes.
    SystemClock,
    /// `socket`: Unix, internet, netlink ROUTE.
    Families,
    /// `socketpair`: Unix.
    UnixPair,
    /// `socketcall`: not SYS_SOCKET, not SYS_SOCKETPAIR.
    SocketcallNew,
    /// `kill`: to 0 and -1 only job control.
    GroupKill,
    /// `pidfd_send_signal`: to a process group only job control.
    GroupPidfd,
    /// `socket`: netlink ROUTE alone.
    NoSockets,
    /// `socket`: Unix, netlink ROUTE.
    NoInternet,
    /// `socket`: internet, netlink ROUTE.
    NoUnix,
    /// `socketpair`: Unix, already connected for good.
    UnixStreams,
    /// `prlimit64`: the caller's own limits.
    OwnLimits,
    /// `sendmsg`: no MSG_FASTOPEN in the third argument.
    FastOpenAt2,
    /// `sendto`, `sendmmsg`: no MSG_FASTOPEN in the fourth argument.
    FastOpenAt3,
    /// `chmod`, `fchmod`: no set-user-ID, no set-group-ID (the mode is the second argument).
    NoSetId,
    /// `fchmodat`: the same (the third).
    NoSetIdAt,
    /// `open`: not to empty a file without opening it for writing (flags in the second argument).
    Truncates,
    /// `openat`: the same (the third).
    TruncatesAt,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Allow => "allowed",
            Action::Refuse(errno) => return errno.fmt(f),
            Action::Notify => "asks the supervisor",
            Args(UnshareFlags | CloneFlags) => "EPERM for new namespaces",
            Args(TerminalInput) => "EPERM for TIOCSTI and TIOCLINUX",
            Args(TerminalAndAttributes) => {
                "EPERM for TIOCSTI and TIOCLINUX, EOPNOTSUPP for requests that change attributes of files"
            }
            Args(NoLease) => "EPERM for F_SETLEASE and F_SETDELEG",
            Args(Personality) => "EPERM for all but plain Linux",
            Args(SystemClock) => "EPERM for all but CLOCK_REALTIME",
            Args(Families) => "EAFNOSUPPORT for all but Unix, internet and netlink ROUTE",
            Args(UnixPair) => "EAFNOSUPPORT for all but Unix",
            Args(SocketcallNew) => "EPERM for new sockets",
            Args(GroupKill | GroupPidfd) => "EPERM for process groups, except job control",
            Args(NoSockets) => "EAFNOSUPPORT for all but netlink ROUTE",
            Args(NoInternet) => "EAFNOSUPPORT for all but Unix and netlink ROUTE",
            Args(NoUnix) => "EAFNOSUPPORT for all but internet and netlink ROUTE",
            Args(UnixStreams) => "EAFNOSUPPORT for all but connected Unix sockets",
            Args(FastOpenAt2 | FastOpenAt3) => "EOPNOTSUPP for MSG_FASTOPEN",
            Args(OwnLimits) => "EPERM for other processes",
            Args(NoSetId | NoSetIdAt) => "EPERM for set-user-ID and set-group-ID",
            Args(Truncates | TruncatesAt) => "EPERM for O_TRUNC without O_WRONLY or O_RDWR",
        })
    }
}

/// A system call's number on each architecture that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// 64-bit x86.
    pub x86_64: Option<u32>,
    /// 64-bit ARM.
    pub aarch64: Option<u32>,
    /// 32-bit x86.
    pub i386: Option<u32>,
}

impl Numbers {
    /// The number on one architecture.
    pub const fn on(&self, arch: Arch) -> Option<u32> {
        match arch {
            Arch::X86_64 => self.x86_64,
            Arch::Aarch64 => self.aarch64,
            Arch::I386 => self.i386,
        }
    }
}

/// One row: what happens to one system call, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The kernel's name.
    pub name: &'static str,
    /// Its numbers.
    pub numbers: Numbers,
    /// What happens.
    pub action: Action,
    /// Why, for `fence plan` and the denial.
    pub why: &'static str,
}

/// Marks an architecture that lacks the call.
const NONE: i32 = -1;

const fn number(written: i32) -> Option<u32> {
    if written == NONE { None } else { Some(written.cast_unsigned()) }
}

/// A row; the numbers in the order x86_64, aarch64, i386.
const fn rule(name: &'static str, numbers: [i32; 3], action: Action, why: &'static str) -> Rule {
    let [x86_64, aarch64, i386] = numbers;
    let numbers = Numbers { x86_64: number(x86_64), aarch64: number(aarch64), i386: number(i386) };
    Rule { name, numbers, action, why }
}

const REFUSE: Action = Action::Refuse(EPERM);
const MISSING: Action = Action::Refuse(ENOSYS);

/// Number ranges (first, last) of x86_64 that are no calls of this architecture and answer ENOSYS, as a kernel without
/// x32 does. x32 is the same table again with bit 30 set; up to Linux 5.3 its own calls (ptrace, ioctl, kexec_load,
/// process_vm_writev…, 512–547) also ran without that bit. -1 stays allowed: it is what a tracer writes to skip a call.
pub const X32: [(u32, u32); 2] = [(512, 547), (0x4000_0000, 0xffff_fffe)];

/// Always blocked.
#[rustfmt::skip]
pub static BLOCKED: &[Rule] = &[
    // Other processes' memory, state and open files.
    rule("ptrace",            [ 101,  117,   26], REFUSE, "reads, writes and steers other processes"),
    rule("process_vm_readv",  [ 310,  270,  347], REFUSE, "reads another process's memory"),
    rule("process_vm_writev", [ 311,  271,  348], REFUSE, "writes another process's memory"),
    rule("process_madvise",   [ 440,  440,  440], REFUSE, "acts on another process's memory"),
    rule("pidfd_getfd",       [ 438,  438,  438], REFUSE, "takes an open file from another process"),
    rule("kcmp",              [ 312,  272,  349], REFUSE, "tells which kernel objects two processes share: a help against kernel address randomisation"),
    rule("move_pages",        [ 279,  239,  317], REFUSE, "moves another process's memory, and tells which pages are shared"),
    rule("migrate_pages",     [ 256,  238,  294], REFUSE, "moves another process's memory"),
    rule("perf_event_open",   [ 298,  241,  336], REFUSE, "measures other processes and the kernel; a large attack surface"),
    rule("userfaultfd",       [ 323,  282,  374], REFUSE, "stops the kernel in the middle of a copy: the usual help for kernel exploits"),
    // Programs and queues inside the kernel.
    rule("bpf",               [ 321,  280,  357], REFUSE, "loads programs into the kernel"),
    rule("io_uring_setup",    [ 425,  425,  425], MISSING, "does file and network work that no filter sees; ENOSYS so that programs fall back"),
    rule("io_uring_enter",    [ 426,  426,  426], MISSING, "as io_uring_setup, for a ring that was inherited"),
    rule("io_uring_register", [ 427,  427,  427], MISSING, "as io_uring_setup, for a ring that was inherited"),
    // Keys: the keyring is not in any namespace.
    rule("keyctl",            [ 250,  219,  288], REFUSE, "reads the caller's session keyring"),
    rule("add_key",           [ 248,  217,  286], REFUSE, "changes the caller's session keyring"),
    rule("request_key",       [ 249,  218,  287], REFUSE, "reads the caller's session keyring, and starts a helper on the host"),
    // Mounts, old interface and new.
    rule("mount",             [ 165,   40,   21], REFUSE, "changes what is mounted, and so the file rules"),
    rule("umount2",           [ 166,   39,   52], REFUSE, "uncovers what a mount hides"),
    rule("umount",            [NONE, NONE,   22], REFUSE, "umount2 of 32-bit programs, without flags"),
    rule("pivot_root",        [ 155,   41,  217], REFUSE, "replaces the root directory"),
    rule("chroot",            [ 161,   51,   61], REFUSE, "replaces the root directory: a known way out of one"),
    rule("open_tree",         [ 428,  428,  428], REFUSE, "takes a copy of a mount, without the mounts that hide parts of it"),
    rule("open_tree_attr",    [ 467,  467,  467], REFUSE, "as open_tree, with other attributes"),
    rule("move_mount",        [ 429,  429,  429], REFUSE, "changes what is mounted"),
    rule("fsopen",            [ 430,  430,  430], REFUSE, "makes a new file system to mount"),
    rule("fsconfig",          [ 431,  431,  431], REFUSE, "as fsopen"),
    rule("fsmount",           [ 432,  432,  432], REFUSE, "as fsopen"),
    rule("fspick",            [ 433,  433,  433], REFUSE, "changes a mounted file system"),
    rule("mount_setattr",     [ 442,  442,  442], REFUSE, "takes read-only off a mount"),
    rule("open_by_handle_at", [ 304,  265,  342], REFUSE, "opens files by inode, past every directory and mount that hides them"),
    // Namespaces: inside a new user namespace every capability is back.
    rule("unshare",           [ 272,   97,  310], Args(UnshareFlags), "a new user namespace gives all capabilities back"),
    rule("clone",             [  56,  220,  120], Args(CloneFlags), "a new user namespace gives all capabilities back"),
    rule("clone3",            [ 435,  435,  435], MISSING, "its flags are behind a pointer; ENOSYS so that the C library falls back to clone"),
    rule("setns",             [ 308,  268,  346], REFUSE, "enters another namespace"),
    // The terminal and sockets.
    rule("ioctl",             [  16,   29,   54], Args(TerminalInput), "TIOCSTI and TIOCLINUX type commands into the caller's terminal"),
    rule("vhangup",           [ 153,   58,  111], REFUSE, "hangs up the caller's terminal"),
    rule("socket",            [  41,  198,  359], Args(Families), "vsock reaches the hypervisor's host; rare families are attack surface"),
    rule("socketpair",        [  53,  199,  360], Args(UnixPair), "loads and runs the code of any family before it says no"),
    rule("socketcall",        [NONE, NONE,  102], Args(SocketcallNew), "32-bit socket(2) with the family behind a pointer; the direct call (Linux 4.3) is judged by it"),
    // Files.
    rule("fcntl",             [  72,   25,   55], Args(NoLease), "a lease on a file that may only be read holds up whoever opens it, for 45 s each time"),
    rule("fcntl64",           [NONE, NONE,  221], Args(NoLease), "as fcntl"),
    // The machine as a whole.
    rule("init_module",       [ 175,  105,  128], REFUSE, "loads code into the kernel"),
    rule("finit_module",      [ 313,  273,  350], REFUSE, "loads code into the kernel"),
    rule("delete_module",     [ 176,  106,  129], REFUSE, "removes code from the kernel"),
    rule("kexec_load",        [ 246,  104,  283], REFUSE, "replaces the kernel"),
    rule("kexec_file_load",   [ 320,  294, NONE], REFUSE, "replaces the kernel"),
    rule("reboot",            [ 169,  142,   88], REFUSE, "stops the machine"),
    rule("swapon",            [ 167,  224,   87], REFUSE, "changes swap space"),
    rule("swapoff",           [ 168,  225,  115], REFUSE, "changes swap space"),
    rule("acct",              [ 163,   89,   51], REFUSE, "writes a record of every process to a file"),
    rule("syslog",            [ 103,  116,  103], REFUSE, "reads and clears the kernel's log"),
    rule("sethostname",       [ 170,  161,   74], REFUSE, "renames the machine"),
    rule("setdomainname",     [ 171,  162,  121], REFUSE, "renames the machine"),
    rule("quotactl",          [ 179,   60,  131], REFUSE, "changes disk quotas"),
    rule("quotactl_fd",       [ 443,  443,  443], REFUSE, "changes disk quotas"),
    rule("ioperm",            [ 173, NONE,  101], REFUSE, "talks to hardware ports"),
    rule("iopl",              [ 172, NONE,  110], REFUSE, "talks to hardware ports"),
    rule("lookup_dcookie",    [ 212,   18,  253], REFUSE, "tells paths from the profiler's cookies (gone in Linux 6.7)"),
    rule("nfsservctl",        [ 180,   42,  169], REFUSE, "steers the NFS server (gone in Linux 3.1)"),
    rule("_sysctl",           [ 156, NONE,  149], MISSING, "writes /proc/sys past its read-only mount (gone in Linux 5.5)"),
    rule("uselib",            [ 134, NONE,   86], REFUSE, "loads a library at an address that the file names (gone in Linux 6.7)"),
    rule("vm86",              [NONE, NONE,  166], REFUSE, "16-bit mode: attack surface without a use here"),
    rule("vm86old",           [NONE, NONE,  113], REFUSE, "as vm86"),
    // Clocks. adjtimex has no row: its mode is behind a pointer, a plain read must pass, and the
    // kernel asks for CAP_SYS_TIME, which no sandboxed program has, when it writes.
    rule("settimeofday",      [ 164,  170,   79], REFUSE, "sets the clock"),
    rule("stime",             [NONE, NONE,   25], REFUSE, "sets the clock"),
    rule("clock_settime",     [ 227,  112,  264], REFUSE, "sets a clock"),
    rule("clock_settime64",   [NONE, NONE,  404], REFUSE, "sets a clock"),
    rule("clock_adjtime",     [ 305,  266,  343], Args(SystemClock), "a device clock needs no capability, only a writable file"),
    rule("clock_adjtime64",   [NONE, NONE,  405], Args(SystemClock), "a device clock needs no capability, only a writable file"),
    // Execution domains.
    rule("personality",       [ 135,   92,  136], Args(Personality), "turns address randomisation off and data executable"),
];

/// Added where Landlock cannot scope signals (below ABI 6).
#[rustfmt::skip]
pub static GROUP_KILL: &[Rule] = &[
    rule("kill",              [  62,  129,   37], Args(GroupKill), "kill(0) and kill(-1) reach the caller's script: its process group is ours"),
    rule("pidfd_send_signal", [ 424,  424,  424], Args(GroupPidfd), "reaches a process group by its leader's pidfd (Linux 6.9)"),
];

/// Added where somebody judges what is executed. x32 has these calls under numbers that [`X32`] refuses.
#[rustfmt::skip]
pub static EXEC: &[Rule] = &[
    rule("execve",            [  59,  221,   11], Action::Notify, "judged by file and arguments"),
    rule("execveat",          [ 322,  281,  358], Action::Notify, "judged by file and arguments"),
];

/// Added where the file tree is the host's own and not one of read-only mounts: Landlock does not judge these.
#[rustfmt::skip]
pub static HOST_TREE: &[(&str, Action, &str)] = &[
    ("chmod",        Args(NoSetId),   SET_ID), ("fchmod",    Args(NoSetId),   SET_ID),
    ("fchmodat",     Args(NoSetIdAt), SET_ID), ("fchmodat2", Args(NoSetIdAt), SET_ID),
    ("setxattr",     XATTR, ATTRIBUTES), ("lsetxattr",    XATTR, ATTRIBUTES), ("fsetxattr",     XATTR, ATTRIBUTES),
    ("removexattr",  XATTR, ATTRIBUTES), ("lremovexattr", XATTR, ATTRIBUTES), ("fremovexattr",  XATTR, ATTRIBUTES),
    ("setxattrat",   XATTR, ATTRIBUTES), ("removexattrat", XATTR, ATTRIBUTES), ("file_setattr", XATTR, ATTRIBUTES),
    ("ioctl", Args(TerminalAndAttributes), ATTRIBUTES),
];

/// Added to those where Landlock does not know TRUNCATE (below ABI 3).
#[rustfmt::skip]
pub static NO_TRUNCATE: &[(&str, Action, &str)] = &[
    ("truncate", REFUSE, TRUNCATION), ("truncate64", REFUSE, TRUNCATION),
    ("open", Args(Truncates), TRUNCATION), ("openat", Args(TruncatesAt), TRUNCATION),
    ("openat2", MISSING, "its flags are behind a pointer; ENOSYS so that programs fall back to openat"),
];

/// Added where there is no IPC namespace: the host's segments, queues and semaphores are everybody's of the same user.
#[rustfmt::skip]
pub static HOST_IPC: &[(&str, Action, &str)] = &[
    ("shmget", MISSING, IPC), ("shmat", MISSING, IPC), ("shmctl", MISSING, IPC), ("msgget", MISSING, IPC),
    ("msgsnd", MISSING, IPC), ("msgrcv", MISSING, IPC), ("msgctl", MISSING, IPC), ("semget", MISSING, IPC),
    ("semop", MISSING, IPC), ("semtimedop", MISSING, IPC), ("semtimedop_time64", MISSING, IPC), ("semctl", MISSING, IPC),
    ("ipc", MISSING, IPC), ("mq_open", MISSING, IPC), ("mq_unlink", MISSING, IPC),
];

/// Added where there is no PID namespace.
pub static HOST_PROCESSES: &[(&str, Action, &str)] =
    &[("prlimit64", Args(OwnLimits), "a limit on processor time ends another process of the same user")];

/// Added where the network is the host's and nothing of it is allowed.
#[rustfmt::skip]
pub static NO_INTERNET: &[(&str, Action, &str)] = &[
    ("socket", Args(NoInternet), "the network is the host's"), ("socketcall", REFUSE, SOCKETCALL),
];

/// Added where a Unix socket of the host can't be told from one of the command's own (below Landlock's ABI 9).
#[rustfmt::skip]
pub static NO_UNIX: &[(&str, Action, &str)] = &[
    ("socket", Args(NoUnix), "the Unix sockets are the host's"), ("socketpair", Args(UnixStreams), DATAGRAMS),
    ("socketcall", REFUSE, SOCKETCALL),
];

/// Added where fence makes and connects the command's sockets: the network and the Unix sockets are the host's.
#[rustfmt::skip]
pub static BROKERED: &[(&str, Action, &str)] = &[
    ("socket", Action::Notify, "fence makes it, tied to the loopback device"), ("socketcall", REFUSE, SOCKETCALL),
    ("socketpair", Args(UnixStreams), DATAGRAMS),
    ("connect", Action::Notify, "fence connects to what the policy allows"),
    ("bind", Action::Notify, "fence gives the ports that the policy allows"),
    ("listen", Action::Notify, "a listen without bind takes a port by itself"),
    ("sendto", Args(FastOpenAt3), FAST_OPEN), ("sendmsg", Args(FastOpenAt2), FAST_OPEN),
    ("sendmmsg", Args(FastOpenAt3), FAST_OPEN),
];

/// Added where both is so.
#[rustfmt::skip]
pub static NO_SOCKETS: &[(&str, Action, &str)] = &[
    ("socket", Args(NoSockets), "the network is the host's, and so are the Unix sockets"),
    ("socketpair", Args(UnixStreams), DATAGRAMS), ("socketcall", REFUSE, SOCKETCALL),
    ("listen", REFUSE, "a socket that was inherited must not start to listen"),
];

const SOCKETCALL: &str = "32-bit calls for sockets with the family behind a pointer";
const FAST_OPEN: &str = "MSG_FASTOPEN connects without connect(2)";
const DATAGRAMS: &str = "a datagram pair can send to other sockets";
const XATTR: Action = Action::Refuse(EOPNOTSUPP);
const SET_ID: &str = "a program that runs as its owner would have its effect outside";
const ATTRIBUTES: &str = "Landlock does not keep attributes of files from being changed";
const TRUNCATION: &str = "this kernel's Landlock does not keep files from being emptied";
const IPC: &str = "reaches other programs of the same user: there is no IPC namespace";

/// A call of `syscalls.tbl` by its name.
pub fn find(name: &str) -> Option<(&'static str, Numbers)> {
    all().find(|(known, _)| *known == name)
}

/// Every call of `syscalls.tbl`, sorted by name. Parsed at each use: only names that users give need it.
pub fn all() -> impl Iterator<Item = (&'static str, Numbers)> {
    const TABLE: &str = include_str!("syscalls.tbl");
    TABLE.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut words = line.split(' ');
        let name = words.next()?;
        let mut next = || words.next().and_then(|word| word.parse().ok());
        Some((name, Numbers { x86_64: next(), aarch64: next(), i386: next() }))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "syscalls_tests.rs"]
mod tests;
