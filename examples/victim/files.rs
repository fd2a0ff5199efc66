//! Acts on files and directories.

use crate::errno::{Errno, check};
use crate::{Act, Outcome};
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

pub(crate) const ACTS: &[Act] = &[
    ("read", "PATH", |a| {
        let mut bytes = Vec::new();
        File::open(&a[0])?.read_to_end(&mut bytes)?;
        Ok(std::io::stdout().write_all(&bytes)?)
    }),
    ("write", "PATH [TEXT]", |a| {
        let mut file = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&a[0])?;
        Ok(file.write_all(text(a, 1).as_bytes())?)
    }),
    // Opens for writing and writes nothing: for files that obey what is written.
    ("open-write", "PATH", |a| {
        OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&a[0])?;
        Ok(())
    }),
    ("append", "PATH [TEXT]", |a| {
        Ok(OpenOptions::new().append(true).open(&a[0])?.write_all(text(a, 1).as_bytes())?)
    }),
    ("create", "PATH [TEXT]", |a| {
        Ok(OpenOptions::new().write(true).create_new(true).open(&a[0])?.write_all(text(a, 1).as_bytes())?)
    }),
    ("copy", "DIRECTORY FILES...", |a| {
        for file in &a[1..] {
            fs::copy(file, Path::new(&a[0]).join(Path::new(file).file_name().unwrap()))?;
        }
        Ok(())
    }),
    ("mkdir", "PATH", |a| Ok(fs::create_dir(&a[0])?)),
    ("rmdir", "PATH", |a| Ok(fs::remove_dir(&a[0])?)),
    ("unlink", "PATH", |a| Ok(fs::remove_file(&a[0])?)),
    ("rename", "FROM TO", |a| Ok(fs::rename(&a[0], &a[1])?)),
    ("exchange", "ONE OTHER", |a| exchange(&a[0], &a[1])),
    ("truncate", "PATH", |a| {
        let path = c_string(&a[0]);
        // SAFETY: a C string that outlives the call.
        check(unsafe { libc::truncate(path.as_ptr(), 0) }).map(drop)
    }),
    ("symlink", "TARGET PATH", |a| Ok(symlink(&a[0], &a[1])?)),
    ("link", "FROM TO", |a| Ok(fs::hard_link(&a[0], &a[1])?)),
    ("chmod", "PATH [MODE]", |a| {
        let mode = a.get(1).map_or(0o777, |m| u32::from_str_radix(m, 8).unwrap());
        Ok(fs::set_permissions(&a[0], fs::Permissions::from_mode(mode))?)
    }),
    ("chown", "PATH UID", |a| {
        let id = Some(crate::number(&a[1]) as u32);
        Ok(std::os::unix::fs::chown(&a[0], id, id)?)
    }),
    // openat2(2), which some filters and wrappers forget; resolves nothing through magic links when asked so.
    ("openat2-write", "PATH [RESOLVE]", |a| {
        let path = c_string(&a[0]);
        let how = [libc::O_WRONLY as u64, 0, a.get(1).map_or(0, |r| crate::number(r) as u64)];
        // SAFETY: `how` is a whole struct open_how (flags, mode, resolve) and outlives the call, as the path does.
        check(unsafe {
            libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path.as_ptr(), how.as_ptr(), size_of_val(&how))
        })
        .map(drop)
    }),
    ("mknod", "PATH", |a| {
        let path = c_string(&a[0]);
        // SAFETY: a C string that outlives the call. The node would be the null device.
        check(unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(1, 3)) }).map(drop)
    }),
    ("setxattr", "PATH", |a| {
        let path = c_string(&a[0]);
        // SAFETY: C strings that outlive the call, and a value of the length that is given.
        check(unsafe { libc::setxattr(path.as_ptr(), c"user.victim".as_ptr(), c"x".as_ptr().cast(), 1, 0) })
            .map(drop)
    }),
    ("list", "PATH", |a| {
        for entry in fs::read_dir(&a[0])? {
            println!("{}", entry?.file_name().to_string_lossy());
        }
        Ok(())
    }),
    ("touch", "PATH", |a| {
        let path = c_string(&a[0]);
        // SAFETY: a C string that outlives the call; no times means now.
        check(unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), std::ptr::null(), 0) }).map(drop)
    }),
    ("stat", "PATH", |a| {
        let meta = fs::metadata(&a[0])?;
        println!(
            "uid={} gid={} mode={:o} size={} links={}",
            meta.uid(),
            meta.gid(),
            meta.mode(),
            meta.len(),
            meta.nlink()
        );
        Ok(())
    }),
    ("readlink", "PATH", |a| {
        println!("{}", fs::read_link(&a[0])?.display());
        Ok(())
    }),
    ("reopen", "FD", reopen),
    ("fchmod", "FD", |a| {
        // SAFETY: two integers.
        check(unsafe { libc::fchmod(crate::number(&a[0]) as i32, 0o777) }).map(drop)
    }),
    ("openable-for-writing", "TOP...", openable),
];

fn text(args: &[String], at: usize) -> &str {
    args.get(at).map_or("written by victim\n", String::as_str)
}

pub(crate) fn c_string(word: &str) -> CString {
    CString::new(word).unwrap()
}

/// Opens an inherited descriptor once more, for writing, through its magic link, and writes.
fn reopen(args: &[String]) -> Outcome {
    let mut file = OpenOptions::new().write(true).open(format!("/proc/self/fd/{}", args[0]))?;
    Ok(file.write_all(b"written by victim\n")?)
}

/// Prints every file below that is made to be written to (some write bit is set) and opens for writing; writes nothing.
/// Below /proc not what belongs to a process.
fn openable(args: &[String]) -> Outcome {
    let mut stack: Vec<std::path::PathBuf> = args.iter().map(Into::into).collect();
    while let Some(directory) = stack.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(meta) = entry.metadata() else { continue };
            let kind = meta.file_type();
            let file = kind.is_file() || kind.is_char_device() || kind.is_block_device();
            if kind.is_dir() && !of_a_process(&path) {
                stack.push(path);
            } else if file && meta.mode() & 0o222 != 0 && opens(&path) {
                println!("{}", path.display());
            }
        }
    }
    Ok(())
}

fn of_a_process(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.parent() == Some(Path::new("/proc")) && name.bytes().all(|b| b.is_ascii_digit())
}

fn opens(path: &Path) -> bool {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW;
    let opened: Result<_, Errno> =
        OpenOptions::new().write(true).custom_flags(flags).open(path).map_err(Errno::from);
    opened.is_ok()
}

pub(crate) fn exchange(one: &str, other: &str) -> Outcome {
    let (one, other) = (c_string(one), c_string(other));
    // SAFETY: both paths are C strings that outlive the call.
    check(unsafe {
        libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, one.as_ptr(), libc::AT_FDCWD, other.as_ptr(), 2)
    })
    .map(drop)
}
