//! The processes below this one, where no PID namespace holds them: who is a sub-reaper becomes the parent of every orphan
//! below, so nobody gets away by losing its parent.

use crate::error::{Failure, Result};
use crate::sys::signal;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// From now on this process is the parent of all below that lose theirs. Returns the children that it has already, which
/// are somebody else's affair.
///
/// # Errors
/// The kernel refuses, or `/proc` can't be read: then nobody below could be found again, to be ended.
pub fn adopt() -> Result<Vec<Pid>> {
    let failed = |errno: Errno| {
        Failure::new("cannot become the parent of the command's orphans").errno(errno.raw_os_error())
    };
    fs::read_dir("/proc/self/task").map_err(|e| {
        failed(Errno::from_io_error(&e).unwrap_or(Errno::IO)).hint("that takes a mounted /proc")
    })?;
    set_child_subreaper(Some(getpid())).map_err(failed)?;
    Ok(children())
}

/// Kills everything below this process but `spare` and what is below those, and waits until it is gone.
///
/// A process that goes on forking is met again as a child: killing its parent makes it one.
pub fn end(spare: &[Pid]) {
    // A process that the kernel itself holds (a dead disk) can't be waited for.
    for _ in 0..20_000 {
        let left: Vec<Pid> = children().into_iter().filter(|pid| !spare.contains(pid)).collect();
        if left.is_empty() {
            return;
        }
        for pid in &left {
            _ = signal::send(*pid, libc::SIGKILL);
        }
        let mut gone = false;
        for pid in &left {
            gone |= matches!(waitpid(Some(*pid), WaitOptions::NOHANG), Ok(Some(_)));
        }
        if !gone {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// The children of all threads of this process. The kernel may have been built without the list; then every process is asked.
fn children() -> Vec<Pid> {
    let threads =
        entries("/proc/self/task").filter_map(|path| fs::read_to_string(path.join("children")).ok());
    let lists: Vec<String> = threads.collect();
    if !lists.is_empty() {
        return lists.iter().flat_map(|list| list.split_whitespace()).filter_map(number).collect();
    }
    let own = getpid();
    let parent = |path: &Path| {
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        // The name before may hold anything, blanks and parentheses too.
        number(stat.rsplit_once(") ")?.1.split(' ').nth(1)?)
    };
    entries("/proc")
        .filter(|path| parent(path) == Some(own))
        .filter_map(|path| number(path.file_name()?.to_str()?))
        .collect()
}

fn entries(path: &str) -> impl Iterator<Item = std::path::PathBuf> {
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn number(text: &str) -> Option<Pid> {
    Pid::from_raw(text.parse().ok()?)
}
