//! The short programs that look at arguments, one per `ArgRule`; each ends in a return on every way.
//!
//! They compare the low 32 bits of a register, because the kernel reads these arguments as 32-bit integers: a test of all 64
//! would be passed by `TIOCSTI | 1 << 32`, which the kernel takes for TIOCSTI. Both architectures' tables share them: the
//! arguments are at the same place.

use super::{ALLOW, AND, ANY_BIT, AT_LEAST, EQUAL, GREATER, Instruction, give, load, op, refuse};
use crate::tables::syscalls::{ArgRule, EAFNOSUPPORT, EPERM, EPROTONOSUPPORT};

/// CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}. CLONE_NEWTIME is missing: `clone` has its exit signal in that byte.
const CLONE_NEW: u32 = 0x7e02_0000;
/// CLONE_{VM,FS,FILES,SIGHAND,THREAD,SYSVSEM}: all that `unshare` takes except namespaces.
const UNSHARE_PLAIN: u32 = 0x0005_0f00;

const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;
const NETLINK_ROUTE: u32 = 0;
/// The rest of the type argument is SOCK_CLOEXEC and SOCK_NONBLOCK.
const SOCK_TYPE_MASK: u32 = 0xf;
/// With AF_INET the kernel opens AF_PACKET for it.
const SOCK_PACKET: u32 = 10;

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
        ArgRule::Personality => &PERSONALITY,
        ArgRule::SystemClock => &SYSTEM_CLOCK,
        ArgRule::Families => &FAMILIES,
        ArgRule::UnixPair => &UNIX_PAIR,
        ArgRule::SocketcallNew => &SOCKETCALL,
        ArgRule::GroupKill => &GROUP_KILL,
        ArgRule::GroupPidfd => &GROUP_PIDFD,
    }
}

/// Only what is known passes, in all 64 bits: flags go on being added (UNSHARE_EMPTY_MNTNS reuses a bit of `clone`).
static UNSHARE: [Instruction; 6] =
    [low(0), op(ANY_BIT, !UNSHARE_PLAIN, 2, 0), high(0), op(EQUAL, 0, 1, 0), DENY, PASS];

/// All 32 bits that `clone` reads are taken, so naming the bad ones is enough.
static CLONE: [Instruction; 4] = [low(0), op(ANY_BIT, CLONE_NEW, 0, 1), DENY, PASS];

static IOCTL: [Instruction; 5] = [low(1), op(EQUAL, TIOCSTI, 1, 0), op(EQUAL, TIOCLINUX, 0, 1), DENY, PASS];

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
