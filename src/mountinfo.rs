//! proc_pid_mountinfo(5) as values.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `major:minor`, the same for all parts of a file system, subvolumes too.
    pub device: Vec<u8>,
    /// The directory of the file system that is mounted.
    pub root: PathBuf,
    /// Where.
    pub point: PathBuf,
}

/// All lines, in the kernel's order.
pub fn parse(table: &[u8]) -> Vec<Mount> {
    table.split(|b| *b == b'\n').filter_map(line).collect()
}

/// The mount points, parents first.
pub fn points(table: &[u8]) -> Vec<PathBuf> {
    let mut points: Vec<PathBuf> = parse(table).into_iter().map(|mount| mount.point).collect();
    crate::order::set(&mut points);
    points
}

fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ').skip(2);
    let device = fields.next()?.to_vec();
    let mut path = || Some(PathBuf::from(OsString::from_vec(unescape(fields.next()?))));
    Some(Mount { device, root: path()?, point: path()? })
}

/// Blanks and the like are written as `\040`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let octal = (*first == b'\\').then(|| after.get(..3)).flatten();
        let value =
            octal.and_then(|o| std::str::from_utf8(o).ok()).and_then(|o| u8::from_str_radix(o, 8).ok());
        out.push(value.unwrap_or(*first));
        rest = if value.is_some() { &after[3..] } else { after };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn mount_points_are_unescaped_and_in_order() {
        let table = b"30 1 8:1 / / rw - ext4 /dev/a rw\n31 30 0:5 / /a\\040b/c rw - tmpfs t rw\n32 30 0:6 / /a\\040b rw - x y z\n";
        assert_eq!(points(table), [Path::new("/"), Path::new("/a b"), Path::new("/a b/c")]);
    }
}
