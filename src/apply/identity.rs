//! user_namespaces(7): the caller keeps its own ids.

use super::failed;
use crate::error::Result;
use std::fs;

/// Maps the caller's user and group onto themselves. `setgroups` must be denied first, or the kernel refuses an
/// unprivileged gid_map (CVE-2014-8989).
pub(super) fn map(uid: u32, gid: u32) -> Result<()> {
    write("/proc/self/uid_map", &format!("{uid} {uid} 1"))?;
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/gid_map", &format!("{gid} {gid} 1"))
}

fn write(path: &str, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|e| {
        let errno = rustix::io::Errno::from_io_error(&e).unwrap_or(rustix::io::Errno::IO);
        failed(&format!("write {path} of the sandbox's user namespace"), errno).unavailable()
    })
}
