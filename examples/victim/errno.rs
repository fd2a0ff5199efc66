//! Errnos with their names.

use std::fmt;

/// An error number of the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

macro_rules! names {
    ($($name:ident)*) => { const NAMES: &[(i32, &str)] = &[$((libc::$name, stringify!($name))),*]; };
}

names! {
    E2BIG EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EBADF EBADFD EBUSY ECHILD ECONNREFUSED EEXIST EFAULT EFBIG
    EINTR EINVAL EIO EISDIR ELOOP EMFILE EMLINK ENAMETOOLONG ENFILE ENODEV ENOENT ENOEXEC ENOKEY ENOMEM ENOPKG ENOSPC
    ENOSYS ENOTBLK ENOTCONN ENOTDIR ENOTEMPTY ENOTSOCK ENOTTY ENXIO EOPNOTSUPP EPERM EPIPE EPROTONOSUPPORT EPROTOTYPE
    ERANGE EROFS ESOCKTNOSUPPORT ESPIPE ESRCH ESTALE ETIMEDOUT ETXTBSY EXDEV ENETUNREACH ENETDOWN EHOSTUNREACH EUSERS
}

impl Errno {
    /// What the last call of the C library failed with.
    pub(crate) fn last() -> Errno {
        Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }

    /// By its name.
    pub(crate) fn named(name: &str) -> Option<Errno> {
        NAMES.iter().find(|(_, n)| *n == name).map(|(number, _)| Errno(*number))
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Errno {
        Errno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// Turns the C convention (-1 and errno) into a result.
pub(crate) fn check(answer: impl Into<i64>) -> Result<i64, Errno> {
    let answer = answer.into();
    if answer == -1 { Err(Errno::last()) } else { Ok(answer) }
}
