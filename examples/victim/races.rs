//! Somebody who changes a tree while others look paths up in it, and who falls for that.

use crate::errno::{Errno, check};
use crate::files::{c_string, exchange};
use crate::{Act, Outcome};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub(crate) const ACTS: &[Act] = &[
    // Until `stop` exists there or the seconds are over: directories become links to elsewhere and back, ancestors move, files
    // are replaced.
    ("flip", "DIRECTORY SECONDS", |a| {
        std::env::set_current_dir(&a[0])?;
        until_stopped(&a[1], || {
            _ = exchange("a", "link");
            _ = fs::write("n", "KEY").and_then(|()| fs::rename("n", "t/u/secret"));
            _ = exchange("a", "link");
            _ = fs::rename("t", "t2");
            _ = exchange("t2", "t.link");
            _ = exchange("t2", "t.link");
            _ = fs::rename("t2", "t");
            _ = exchange("f", "fd");
            _ = fs::rename(".git/hooks", ".git/h2").and_then(|()| fs::rename(".git/h2", ".git/hooks"));
            _ = exchange("f", "fd");
            _ = fs::rename("a/c", "a/c2").and_then(|()| fs::rename("a/c2", "a/c"));
        })
    }),
    // The same for what is mounted; who may not mount leaves it.
    ("flip-mount", "DIRECTORY SECONDS", |a| {
        let (kind, path) = (c_string("tmpfs"), c_string(&a[0]));
        until_stopped(&a[1], || {
            // SAFETY: C strings that outlive the call, and no options.
            if unsafe { libc::mount(kind.as_ptr(), path.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) } == 0 {
                _ = fs::write(format!("{}/x", a[0]), "")
                    .and_then(|()| fs::write(format!("{}/y", a[0]), "KEY"));
                // SAFETY: a C string that outlives the call.
                unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
            } else {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        })
    }),
    // What a helper must not do: it looks whether a link is on the way, and mounts by path. 0: that landed on ELSEWHERE.
    ("mount-by-path", "TOP BELOW ELSEWHERE TIMES", |a| {
        let user = if rustix::process::geteuid().is_root() { 0 } else { libc::CLONE_NEWUSER };
        // SAFETY: unshare takes no pointers, and this process has one thread.
        check(i64::from(unsafe { libc::unshare(libc::CLONE_NEWNS | user) }))?;
        let (root, path) = (c_string("/"), c_string(&format!("{}/{}", a[0], a[1])));
        let null = std::ptr::null();
        // SAFETY: C strings that outlive the call, or null where mount(2) takes null.
        check(i64::from(unsafe {
            libc::mount(null, root.as_ptr(), null, libc::MS_REC | libc::MS_PRIVATE, null.cast())
        }))?;
        let source = c_string("/proc");
        let before = fs::metadata(&a[2])?.dev();
        for _ in 0..crate::number(&a[3]) {
            let mut way = Path::new(&a[0]).to_path_buf();
            let plain = Path::new(&a[1]).iter().all(|name| {
                way.push(name);
                way.symlink_metadata().is_ok_and(|m| m.is_dir())
            });
            if !plain {
                continue;
            }
            // SAFETY: C strings that outlive the call, or null where mount(2) takes null.
            unsafe {
                libc::mount(source.as_ptr(), path.as_ptr(), null, libc::MS_BIND | libc::MS_REC, null.cast())
            };
            if fs::metadata(&a[2])?.dev() != before {
                return Ok(());
            }
            // SAFETY: a C string that outlives the call.
            unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        }
        Err(Errno(libc::ETIMEDOUT))
    }),
];

/// Again and again, until there is a file `stop` or these seconds are over.
fn until_stopped(seconds: &str, mut act: impl FnMut()) -> Outcome {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(crate::number(seconds) as u64);
    while !Path::new("stop").exists() && std::time::Instant::now() < end {
        act();
    }
    Ok(())
}
