//! The short programs that look at arguments, one per `ArgRule`; each ends in a return on every way.
//!
//! They compare the low 32 bits of a register, because the kernel reads these arguments as 32-bit integers: a test of all 64
//! would be passed by `TIOCSTI | 1 << 32`, which the kernel takes for TIOCSTI. Both architectures' tables share them: the
//! arguments are at the same place.

use super::{ALLOW, AND, ANY_BIT, AT_LEAST, EQUAL, GREATER, Instruction, give, load, op, refuse};
use crate::tables::syscalls::{ArgRule, EAFNOSUPPORT, EOPNOTSUPP, EPERM, EPROTONOSUPPORT};

/// CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}. CLONE_NEWTIME is missing: `clone` has its exit signal in that byte.
const CLONE_NEW: u32 = 0x7e02_0000;
/// CLONE_{VM,FS,FILES,SIGHAND,THREAD,SYSVSEM}: all that `unshare` takes except namespaces.
const UNSHARE_PLAIN: u32 = 0x0005_0f00;

const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;

const FS_IOC_SETFLAGS: u32 = 0x6602;
const FS_IOC_SET_ENCRYPTION_POLICY: u32 = 0x6613;
const FS_IOC_ENABLE_VERITY: u32 = 0x6685;
const FS_IOC_SETVERSION: u32 = 0x7602;
const FS_IOC_FSSETXATTR: u32 = 0x5820;
const FAT_IOCTL_SET_ATTRIBUTES: u32 = 0x7211;
const BTRFS: u32 = 0x9400;

const F_SETLEASE: u32 = 1024;
/// Linux 6.19
const F_SETDELEG: u32 = 1040;

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;
const NETLINK_ROUTE: u32 = 0;
/// The rest of the type argument is SOCK_CLOEXEC and SOCK_NONBLOCK.
const SOCK_TYPE_MASK: u32 = 0xf;
/// With AF_INET the kernel opens AF_PACKET for it.
const SOCK_PACKET: u32 = 10;

const SOCK_STREAM: u32 = 1;
const SOCK_SEQPACKET: u32 = 5;

/// S_ISUID | S_ISGID
const SET_ID: u32 = 0o6000;
const O_TRUNC: u32 = 0o1000;
const O_ACCMODE: u32 = 3;

const MSG_FASTOPEN: u32 = 0x2000_0000;

const SYS_SOCKET: u32 = 1;
const SYS_SOCKETPAIR: u32 = 8;

const PIDFD_SIGNAL_PROCESS_GROUP: u32 = 4;
const SIGCONT: u32 = 18;
/// SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU are neighbours.
const SIGTTOU: u32 = 22;
const SIGWINCH: u32 = 28;

/// Loads the low half of an argument (both architectures are little-endian).
const fn low(argument: u32) -> Instruction {
    load(16 + 8 * argument)
}

/// Loads the high half; 0 for 32-bit programs.
const fn high(argument: u32) -> Instruction {
    load(16 + 8 * argument + 4)
}

const PASS: Instruction = give(ALLOW);
const DENY: Instruction = refuse(EPERM);
const NO_FAMILY: Instruction = refuse(EAFNOSUPPORT);
const NO_PROTOCOL: Instruction = refuse(EPROTONOSUPPORT);

/// The program of a rule.
pub(super) fn program(rule: ArgRule) -> &'static [Instruction] {
    match rule {
        ArgRule::UnshareFlags => &UNSHARE,
        ArgRule::CloneFlags => &CLONE,
        ArgRule::TerminalInput => &IOCTL,
        ArgRule::TerminalAndAttributes => &HOST_IOCTL,
        ArgRule::NoLease => &NO_LEASE,
        ArgRule::Personality => &PERSONALITY,
        ArgRule::SystemClock => &SYSTEM_CLOCK,
        ArgRule::Families => &FAMILIES,
        ArgRule::UnixPair => &UNIX_PAIR,
        ArgRule::SocketcallNew => &SOCKETCALL,
        ArgRule::GroupKill => &GROUP_KILL,
        ArgRule::GroupPidfd => &GROUP_PIDFD,
        ArgRule::NoSockets => &NO_SOCKETS,
        ArgRule::NoInternet => &NO_INTERNET,
        ArgRule::NoUnix => &NO_UNIX,
        ArgRule::UnixStreams => &UNIX_STREAMS,
        ArgRule::OwnLimits => &OWN_LIMITS,
        ArgRule::FastOpenAt2 => &FAST_OPEN_2,
        ArgRule::FastOpenAt3 => &FAST_OPEN_3,
        ArgRule::NoSetId => &NO_SET_ID,
        ArgRule::NoSetIdAt => &NO_SET_ID_AT,
        ArgRule::Truncates => &TRUNCATES,
        ArgRule::TruncatesAt => &TRUNCATES_AT,
    }
}

/// Only what is known passes, in all 64 bits: flags go on being added (UNSHARE_EMPTY_MNTNS reuses a bit of `clone`).
static UNSHARE: [Instruction; 6] =
    [low(0), op(ANY_BIT, !UNSHARE_PLAIN, 2, 0), high(0), op(EQUAL, 0, 1, 0), DENY, PASS];

/// All 32 bits that `clone` reads are taken, so naming the bad ones is enough.
static CLONE: [Instruction; 4] = [low(0), op(ANY_BIT, CLONE_NEW, 0, 1), DENY, PASS];

static IOCTL: [Instruction; 5] = [low(1), op(EQUAL, TIOCSTI, 1, 0), op(EQUAL, TIOCLINUX, 0, 1), DENY, PASS];

/// Type and number of a request, without the size of its argument, which is another one for 32-bit programs. All of btrfs' count
/// but FICLONE, FICLONERANGE and FIDEDUPERANGE.
static HOST_IOCTL: [Instruction; 18] = [
    low(1),
    op(EQUAL, TIOCSTI, 14, 0),
    op(EQUAL, TIOCLINUX, 13, 0),
    op(AND, 0xffff, 0, 0),
    op(EQUAL, FS_IOC_SETFLAGS, 10, 0),
    op(EQUAL, FS_IOC_SETVERSION, 9, 0),
    op(EQUAL, FS_IOC_FSSETXATTR, 8, 0),
    op(EQUAL, FS_IOC_ENABLE_VERITY, 7, 0),
    op(EQUAL, FS_IOC_SET_ENCRYPTION_POLICY, 6, 0),
    op(EQUAL, FAT_IOCTL_SET_ATTRIBUTES, 5, 0),
    op(AT_LEAST, BTRFS, 0, 6),
    op(GREATER, BTRFS | 0xff, 5, 0),
    op(EQUAL, BTRFS | 9, 4, 0),
    op(EQUAL, BTRFS | 13, 3, 0),
    op(EQUAL, BTRFS | 54, 2, 0),
    refuse(EOPNOTSUPP),
    DENY,
    PASS,
];

static NO_LEASE: [Instruction; 5] =
    [low(1), op(EQUAL, F_SETLEASE, 1, 0), op(EQUAL, F_SETDELEG, 0, 1), DENY, PASS];

static PERSONALITY: [Instruction; 8] = [
    low(0),
    op(EQUAL, 0, 5, 0),
    op(EQUAL, 8, 4, 0),
    op(EQUAL, 0x0002_0000, 3, 0),
    op(EQUAL, 0x0002_0008, 2, 0),
    op(EQUAL, 0xffff_ffff, 1, 0),
    DENY,
    PASS,
];

static SYSTEM_CLOCK: [Instruction; 4] = [low(0), op(EQUAL, 0, 1, 0), DENY, PASS];

static FAMILIES: [Instruction; 13] = [
    low(0),
    op(EQUAL, AF_UNIX, 10, 0),
    op(EQUAL, AF_INET6, 9, 0),
    op(EQUAL, AF_INET, 4, 0),
    op(EQUAL, AF_NETLINK, 0, 6),
    low(2),
    op(EQUAL, NETLINK_ROUTE, 5, 0),
    NO_PROTOCOL,
    low(1),
    op(AND, SOCK_TYPE_MASK, 0, 0),
    op(EQUAL, SOCK_PACKET, 0, 1),
    NO_FAMILY,
    PASS,
];

static UNIX_PAIR: [Instruction; 4] = [low(0), op(EQUAL, AF_UNIX, 1, 0), NO_FAMILY, PASS];

static SOCKETCALL: [Instruction; 5] =
    [low(0), op(EQUAL, SYS_SOCKET, 1, 0), op(EQUAL, SYS_SOCKETPAIR, 0, 1), DENY, PASS];

static GROUP_KILL: [Instruction; 10] = [
    low(0),
    op(EQUAL, 0, 1, 0),
    op(EQUAL, u32::MAX, 0, 6),
    low(1),
    op(EQUAL, 0, 4, 0),
    op(EQUAL, SIGWINCH, 3, 0),
    op(AT_LEAST, SIGCONT, 0, 1),
    op(GREATER, SIGTTOU, 0, 1),
    DENY,
    PASS,
];

static GROUP_PIDFD: [Instruction; 9] = [
    low(3),
    op(ANY_BIT, PIDFD_SIGNAL_PROCESS_GROUP, 0, 6),
    low(1),
    op(EQUAL, 0, 4, 0),
    op(EQUAL, SIGWINCH, 3, 0),
    op(AT_LEAST, SIGCONT, 0, 1),
    op(GREATER, SIGTTOU, 0, 1),
    DENY,
    PASS,
];

static FAST_OPEN_2: [Instruction; 4] = [low(2), op(ANY_BIT, MSG_FASTOPEN, 0, 1), refuse(EOPNOTSUPP), PASS];
static FAST_OPEN_3: [Instruction; 4] = [low(3), op(ANY_BIT, MSG_FASTOPEN, 0, 1), refuse(EOPNOTSUPP), PASS];

static NO_SOCKETS: [Instruction; 6] =
    [low(0), op(EQUAL, AF_NETLINK, 0, 3), low(2), op(EQUAL, NETLINK_ROUTE, 0, 1), PASS, NO_FAMILY];

static NO_INTERNET: [Instruction; 7] = [
    low(0),
    op(EQUAL, AF_UNIX, 3, 0),
    op(EQUAL, AF_NETLINK, 0, 3),
    low(2),
    op(EQUAL, NETLINK_ROUTE, 0, 1),
    PASS,
    NO_FAMILY,
];

static NO_UNIX: [Instruction; 12] = [
    low(0),
    op(EQUAL, AF_INET6, 9, 0),
    op(EQUAL, AF_INET, 4, 0),
    op(EQUAL, AF_NETLINK, 0, 6),
    low(2),
    op(EQUAL, NETLINK_ROUTE, 5, 0),
    NO_PROTOCOL,
    low(1),
    op(AND, SOCK_TYPE_MASK, 0, 0),
    op(EQUAL, SOCK_PACKET, 0, 1),
    NO_FAMILY,
    PASS,
];

static UNIX_STREAMS: [Instruction; 8] = [
    low(0),
    op(EQUAL, AF_UNIX, 0, 5),
    low(1),
    op(AND, SOCK_TYPE_MASK, 0, 0),
    op(EQUAL, SOCK_STREAM, 1, 0),
    op(EQUAL, SOCK_SEQPACKET, 0, 1),
    PASS,
    NO_FAMILY,
];

static OWN_LIMITS: [Instruction; 4] = [low(0), op(EQUAL, 0, 1, 0), DENY, PASS];

static NO_SET_ID: [Instruction; 4] = [low(1), op(ANY_BIT, SET_ID, 0, 1), DENY, PASS];

static NO_SET_ID_AT: [Instruction; 4] = [low(2), op(ANY_BIT, SET_ID, 0, 1), DENY, PASS];

/// Access mode 3 opens for neither reading nor writing, and empties all the same.
static TRUNCATES: [Instruction; 6] = truncates(1);

static TRUNCATES_AT: [Instruction; 6] = truncates(2);

const fn truncates(argument: u32) -> [Instruction; 6] {
    [
        low(argument),
        op(AND, O_TRUNC | O_ACCMODE, 0, 0),
        op(EQUAL, O_TRUNC, 1, 0),
        op(EQUAL, O_TRUNC | O_ACCMODE, 0, 1),
        DENY,
        PASS,
    ]
}
