//! Which arguments of a system call name what it acts on: for the monitors, which show them.

/// What is worth showing of a call's arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The first path: which argument.
    pub path: Option<u8>,
    /// The second path.
    pub second: Option<u8>,
    /// A socket address.
    pub address: Option<u8>,
    /// The first is only text: what a link says, what is mounted.
    pub text: bool,
    /// The argument before a path is the directory that it starts from.
    pub at: bool,
    /// What the call does to what it names.
    pub act: Act,
}

/// What a call does to the file that it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Act {
    /// Looks at it.
    #[default]
    Read,
    /// Changes it.
    Write,
    /// Changes the directory that it stands in.
    Name,
    /// The flags in this argument say.
    Open(u8),
    /// Runs it.
    Execute,
}

const NOTHING: Shown =
    Shown { path: None, second: None, address: None, text: false, at: false, act: Act::Read };

const fn path(act: Act) -> Shown {
    Shown { path: Some(0), act, ..NOTHING }
}

const fn path_at(act: Act) -> Shown {
    Shown { path: Some(1), at: true, act, ..NOTHING }
}

const fn paths(first: u8, second: u8, at: bool) -> Shown {
    Shown { path: Some(first), second: Some(second), at, act: Act::Name, ..NOTHING }
}

const fn address(argument: u8) -> Shown {
    Shown { address: Some(argument), ..NOTHING }
}

/// Calls by what is shown of them; the names are blank-separated.
#[rustfmt::skip]
static ROWS: &[(Shown, &str)] = &[
    (path(Act::Open(1)), "open"),
    (path_at(Act::Open(2)), "openat"),
    // Its flags are behind a pointer.
    (path_at(Act::Read), "openat2"),
    (path(Act::Read), "stat lstat stat64 lstat64 oldstat oldlstat access chdir readlink statfs getxattr lgetxattr listxattr llistxattr uselib"),
    (path_at(Act::Read), "newfstatat fstatat64 faccessat faccessat2 readlinkat statx name_to_handle_at open_tree open_tree_attr getxattrat listxattrat file_getattr"),
    (path(Act::Name), "mkdir rmdir unlink mknod"),
    (path(Act::Write), "creat chmod chown chown32 lchown lchown32 truncate truncate64 utime utimes setxattr lsetxattr removexattr lremovexattr acct swapon swapoff umount umount2 chroot"),
    (path_at(Act::Name), "mkdirat mknodat unlinkat"),
    (path_at(Act::Write), "fchmodat fchmodat2 fchownat utimensat utimensat_time64 futimesat setxattrat removexattrat fspick mount_setattr file_setattr"),
    (path(Act::Execute), "execve"),
    (path_at(Act::Execute), "execveat"),
    (Shown { at: false, ..path_at(Act::Read) }, "inotify_add_watch quotactl"),
    (Shown { path: Some(4), at: true, ..NOTHING }, "fanotify_mark"),
    (paths(0, 1, false), "rename link pivot_root"),
    (Shown { text: true, ..paths(0, 1, false) }, "mount symlink"),
    (paths(1, 3, true), "renameat renameat2 linkat move_mount"),
    (Shown { text: true, ..paths(0, 2, true) }, "symlinkat"),
    (address(1), "connect bind"),
    (address(4), "sendto"),
];

/// What is shown of the call with this name.
pub fn of(name: &str) -> Shown {
    let row = ROWS.iter().find(|(_, names)| names.split(' ').any(|one| one == name));
    row.map_or(NOTHING, |(shown, _)| *shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::syscalls::find;

    #[test]
    fn every_name_is_a_system_call_and_stands_once() {
        let names: Vec<&str> = ROWS.iter().flat_map(|(_, names)| names.split(' ')).collect();
        for name in &names {
            assert!(find(name).is_some(), "{name}");
            assert_eq!(names.iter().filter(|other| *other == name).count(), 1, "{name}");
        }
    }

    #[test]
    fn an_argument_before_a_path_is_a_directory() {
        for (shown, names) in ROWS.iter().filter(|(shown, _)| shown.at) {
            let last = shown.second.or(shown.path);
            assert!(last > Some(0), "{names}");
        }
    }
}
