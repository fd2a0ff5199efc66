//! Landlock's rights: which ABI brought each.
//!
//! The kernel and the `landlock` crate agree on the bits (a test compares them). ABI 7 (audit flags), 8 (TSYNC, all threads at
//! once) and what else brought no right has no row here.

/// What a right is about, which is also the field of `landlock_ruleset_attr` that handles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `handled_access_fs`
    Fs,
    /// `handled_access_net`
    Net,
    /// `scoped`
    Scope,
}

/// One right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// The field that it belongs to.
    pub kind: Kind,
    /// As the kernel spells it, without `LANDLOCK_ACCESS_` and `LANDLOCK_`.
    pub name: &'static str,
    /// Its bit.
    pub bit: u64,
    /// The first ABI that has it.
    pub abi: u32,
}

/// The newest ABI that the table knows; newer kernels are used as this one.
pub const NEWEST_ABI: u32 = 10;

/// Bind a TCP socket to a port.
pub const BIND_TCP: u64 = 1;
/// Connect a TCP socket to a port.
pub const CONNECT_TCP: u64 = 1 << 1;
/// Run a file.
pub const EXECUTE: u64 = 1;
/// Open a file for writing.
pub const WRITE_FILE: u64 = 1 << 1;
/// Open a file for reading.
pub const READ_FILE: u64 = 1 << 2;
/// List a directory.
pub const READ_DIR: u64 = 1 << 3;
/// Remove or rename an empty directory.
pub const REMOVE_DIR: u64 = 1 << 4;
/// Remove or rename a file.
pub const REMOVE_FILE: u64 = 1 << 5;
/// Make a character device.
pub const MAKE_CHAR: u64 = 1 << 6;
/// Make a directory.
pub const MAKE_DIR: u64 = 1 << 7;
/// Make a regular file.
pub const MAKE_REG: u64 = 1 << 8;
/// Make a Unix socket.
pub const MAKE_SOCK: u64 = 1 << 9;
/// Make a named pipe.
pub const MAKE_FIFO: u64 = 1 << 10;
/// Make a block device.
pub const MAKE_BLOCK: u64 = 1 << 11;
/// Make a symbolic link.
pub const MAKE_SYM: u64 = 1 << 12;
/// Rename or link between directories.
pub const REFER: u64 = 1 << 13;
/// Empty or shorten a file.
pub const TRUNCATE: u64 = 1 << 14;
/// ioctl on device files.
pub const IOCTL_DEV: u64 = 1 << 15;
/// Connect to a Unix socket by path.
pub const RESOLVE_UNIX: u64 = 1 << 16;

/// What a rule for readable and executable paths grants.
pub const READ: u64 = EXECUTE | READ_FILE | READ_DIR;
/// What a rule for paths grants that may be run but not listed.
pub const EXECUTE_ONLY: u64 = EXECUTE | READ_FILE;
/// The rights that mean something on a file that is no directory; the kernel refuses others in such a rule (EINVAL).
pub const FILE: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV | RESOLVE_UNIX;

const fn right(kind: Kind, name: &'static str, bit: u64, abi: u32) -> Right {
    Right { kind, name, bit, abi }
}

/// Every right, by kind and bit.
#[rustfmt::skip]
pub static RIGHTS: &[Right] = &[
    right(Kind::Fs,     "FS_EXECUTE",                 EXECUTE,       1),
    right(Kind::Fs,     "FS_WRITE_FILE",              WRITE_FILE,    1),
    right(Kind::Fs,     "FS_READ_FILE",               READ_FILE,     1),
    right(Kind::Fs,     "FS_READ_DIR",                READ_DIR,      1),
    right(Kind::Fs,     "FS_REMOVE_DIR",              REMOVE_DIR,    1),
    right(Kind::Fs,     "FS_REMOVE_FILE",             REMOVE_FILE,   1),
    right(Kind::Fs,     "FS_MAKE_CHAR",               MAKE_CHAR,     1),
    right(Kind::Fs,     "FS_MAKE_DIR",                MAKE_DIR,      1),
    right(Kind::Fs,     "FS_MAKE_REG",                MAKE_REG,      1),
    right(Kind::Fs,     "FS_MAKE_SOCK",               MAKE_SOCK,     1),
    right(Kind::Fs,     "FS_MAKE_FIFO",               MAKE_FIFO,     1),
    right(Kind::Fs,     "FS_MAKE_BLOCK",              MAKE_BLOCK,    1),
    right(Kind::Fs,     "FS_MAKE_SYM",                MAKE_SYM,      1),
    // Below ABI 2 the kernel refuses every such rename in a Landlock domain, so nothing leaks: programs break.
    right(Kind::Fs,     "FS_REFER",                   REFER,         2),
    right(Kind::Fs,     "FS_TRUNCATE",                TRUNCATE,      3),
    right(Kind::Fs,     "FS_IOCTL_DEV",               IOCTL_DEV,     5),
    right(Kind::Fs,     "FS_RESOLVE_UNIX",            RESOLVE_UNIX,  9),
    right(Kind::Net,    "NET_BIND_TCP",               BIND_TCP,      4),
    right(Kind::Net,    "NET_CONNECT_TCP",            CONNECT_TCP,   4),
    right(Kind::Net,    "NET_BIND_UDP",               1 << 2,       10),
    right(Kind::Net,    "NET_CONNECT_SEND_UDP",       1 << 3,       10),
    right(Kind::Scope,  "SCOPE_ABSTRACT_UNIX_SOCKET", 1 << 0,        6),
    right(Kind::Scope,  "SCOPE_SIGNAL",               1 << 1,        6),
];

/// Every right of one kind that an ABI has: what a ruleset for it handles.
pub fn handled(kind: Kind, abi: u32) -> u64 {
    RIGHTS
        .iter()
        .filter(|right| right.kind == kind && right.abi <= abi)
        .fold(0, |bits, right| bits | right.bit)
}

/// `handled_access_fs` for an ABI.
pub fn handled_fs(abi: u32) -> u64 {
    handled(Kind::Fs, abi)
}

/// `scoped` for an ABI.
pub fn scoped(abi: u32) -> u64 {
    handled(Kind::Scope, abi)
}

/// What a rule for writable paths grants: reading, and all of writing. Not IOCTL_DEV, which is for the sandbox's own devices,
/// and not RESOLVE_UNIX: connecting to a socket is a matter of the network rules.
pub fn write_fs(abi: u32) -> u64 {
    handled_fs(abi) & !IOCTL_DEV & !RESOLVE_UNIX
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use landlock::{ABI, Access, AccessFs, AccessNet, Scope};

    #[test]
    fn agrees_with_the_crate() {
        for number in 0..=NEWEST_ABI + 2 {
            let abi = ABI::from(number.cast_signed());
            assert_eq!(handled_fs(number), AccessFs::from_all(abi).bits(), "fs {number}");
            assert_eq!(handled(Kind::Net, number), AccessNet::from_all(abi).bits(), "net {number}");
            assert_eq!(scoped(number), Scope::from_all(abi).bits(), "scope {number}");
            assert_eq!(FILE & handled_fs(number), AccessFs::from_file(abi).bits(), "file {number}");
            assert_eq!(READ & handled_fs(number), AccessFs::from_read(abi).bits(), "read {number}");
        }
    }

    #[test]
    fn agrees_with_the_headers() {
        use linux_raw_sys::landlock as kernel;
        let bit = |name: &str| RIGHTS.iter().find(|right| right.name == name).unwrap().bit;
        for (name, value) in [
            ("FS_EXECUTE", kernel::LANDLOCK_ACCESS_FS_EXECUTE),
            ("FS_WRITE_FILE", kernel::LANDLOCK_ACCESS_FS_WRITE_FILE),
            ("FS_READ_FILE", kernel::LANDLOCK_ACCESS_FS_READ_FILE),
            ("FS_READ_DIR", kernel::LANDLOCK_ACCESS_FS_READ_DIR),
            ("FS_REMOVE_DIR", kernel::LANDLOCK_ACCESS_FS_REMOVE_DIR),
            ("FS_REMOVE_FILE", kernel::LANDLOCK_ACCESS_FS_REMOVE_FILE),
            ("FS_MAKE_CHAR", kernel::LANDLOCK_ACCESS_FS_MAKE_CHAR),
            ("FS_MAKE_DIR", kernel::LANDLOCK_ACCESS_FS_MAKE_DIR),
            ("FS_MAKE_REG", kernel::LANDLOCK_ACCESS_FS_MAKE_REG),
            ("FS_MAKE_SOCK", kernel::LANDLOCK_ACCESS_FS_MAKE_SOCK),
            ("FS_MAKE_FIFO", kernel::LANDLOCK_ACCESS_FS_MAKE_FIFO),
            ("FS_MAKE_BLOCK", kernel::LANDLOCK_ACCESS_FS_MAKE_BLOCK),
            ("FS_MAKE_SYM", kernel::LANDLOCK_ACCESS_FS_MAKE_SYM),
            ("FS_REFER", kernel::LANDLOCK_ACCESS_FS_REFER),
            ("FS_TRUNCATE", kernel::LANDLOCK_ACCESS_FS_TRUNCATE),
            ("FS_IOCTL_DEV", kernel::LANDLOCK_ACCESS_FS_IOCTL_DEV),
            ("NET_BIND_TCP", kernel::LANDLOCK_ACCESS_NET_BIND_TCP),
            ("NET_CONNECT_TCP", kernel::LANDLOCK_ACCESS_NET_CONNECT_TCP),
            ("SCOPE_ABSTRACT_UNIX_SOCKET", kernel::LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET),
            ("SCOPE_SIGNAL", kernel::LANDLOCK_SCOPE_SIGNAL),
        ] {
            assert_eq!(bit(name), u64::from(value), "{name}");
        }
    }

    #[test]
    fn write_grants_no_devices_and_no_sockets() {
        assert_eq!(write_fs(1), handled_fs(1));
        assert_eq!(write_fs(10), handled_fs(4));
    }
}
