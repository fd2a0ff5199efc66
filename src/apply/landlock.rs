//! landlock(7): carries a planned ruleset out.

use super::failed;
use crate::error::{Failure, Result};
use crate::nofollow::open_host;
use crate::plan::landlock::{Row, Ruleset};
use crate::sys::landlock::{Handled, allow_below, allow_port, create, restrict_self};
use crate::tables::landlock::{BIND_TCP, CONNECT_TCP, FILE, handled_fs, scoped};
use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// Restricts this process for good. One ruleset for everything: a second layer would deny REFER, and rename across
/// directories would fail with EXDEV. After no_new_privs, which the kernel asks for; before seccomp, whose filter may
/// deny these very calls.
pub(super) fn restrict(planned: &Ruleset, connect: &[u16], bind: &[u16]) -> Result<()> {
    let ports = planned.no_ports || !(connect.is_empty() && bind.is_empty());
    // The plan holds just what this kernel has, so anything less is an error and not a compromise.
    let handled = Handled {
        fs: handled_fs(planned.abi),
        net: if ports { CONNECT_TCP | BIND_TCP } else { 0 },
        scoped: if planned.scoped { scoped(planned.abi) } else { 0 },
    };
    let ruleset = create(&handled).map_err(|e| cannot("create a Landlock ruleset", e))?;
    for row in &planned.rows {
        // A place that is not there needs no rule; one that can't be opened gets none.
        let Some((place, access)) = open(row, planned.real) else { continue };
        allow_below(ruleset.as_fd(), place.as_fd(), access)
            .map_err(|e| cannot(&format!("allow {} in the Landlock ruleset", row.path.display()), e))?;
    }
    let ports = connect.iter().map(|port| (*port, CONNECT_TCP));
    for (port, access) in ports.chain(bind.iter().map(|port| (*port, BIND_TCP))) {
        allow_port(ruleset.as_fd(), port, access)
            .map_err(|e| cannot(&format!("allow port {port} in the Landlock ruleset"), e))?;
    }
    restrict_self(ruleset.as_fd()).map_err(|e| cannot("apply the Landlock ruleset", e))
}

fn cannot(doing: &str, errno: Errno) -> Failure {
    failed(doing, errno).hint("fence does not go on without a layer that this kernel has")
}

/// The place of a row and what can be allowed there. On the host's tree others can change it meanwhile: a symbolic link is
/// not followed, and what is no directory any more gets no rights of one.
fn open(row: &Row, real: bool) -> Option<(OwnedFd, u64)> {
    if !real {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        return Some((rustix::fs::open(&row.path, flags, Mode::empty()).ok()?, row.access));
    }
    let place = open_host(&row.path).ok()?;
    let kind = FileType::from_raw_mode(fstat(&place).ok()?.st_mode);
    let access = row.access & if kind == FileType::Directory { u64::MAX } else { FILE };
    (access != 0 && kind != FileType::Symlink).then_some((place, access))
}
