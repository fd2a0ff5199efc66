//! Unix sockets of the host that have a path: a read-only mount does not stop connect(2).

use crate::order;
use crate::plan::private;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Those of this network namespace outside the private places, by real path. A socket that was bound to a relative path can't
/// be found by it.
pub(super) fn look() -> Vec<PathBuf> {
    let mut table = Vec::with_capacity(8 * 1024);
    _ = File::open("/proc/net/unix").and_then(|mut file| file.read_to_end(&mut table));
    let mut paths: Vec<&Path> = table.split(|b| *b == b'\n').skip(1).filter_map(path).collect();
    order::set(&mut paths);
    let outside = paths.into_iter().filter(|path| !private::covers(path) && !path.starts_with("/var/run"));
    let sockets = outside.filter(|path| path.symlink_metadata().is_ok_and(|at| at.file_type().is_socket()));
    let real = sockets.filter_map(|path| super::paths::find(path).map(|found| found.real));
    real.filter(|real| !private::covers(real)).collect()
}

/// `Num: RefCount Protocol Flags Type St Inode Path`; the path may hold blanks.
fn path(line: &[u8]) -> Option<&Path> {
    let mut rest = line;
    for _ in 0..7 {
        rest = rest.trim_ascii_start();
        rest = &rest[rest.iter().position(|b| *b == b' ')?..];
    }
    let path = rest.strip_prefix(b" ").filter(|path| path.starts_with(b"/"))?;
    Some(Path::new(OsStr::from_bytes(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_has_a_path_or_none() {
        let line = b"0000000000000000: 00000002 00000000 00010000 0001 01 20123 /home/me/my agent.sock";
        assert_eq!(path(line), Some(Path::new("/home/me/my agent.sock")));
        assert_eq!(path(b"0000000000000000: 00000002 00000000 00010000 0001 01    17 @abstract"), None);
        assert_eq!(path(b"0000000000000000: 00000003 00000000 00000000 0001 03 20123"), None);
        assert_eq!(path(b""), None);
    }
}
