//! landlock(7): carries a planned ruleset out.

use crate::error::{Failure, Result};
use crate::nofollow::open_host;
use crate::plan::landlock::{Row, Ruleset as Planned};
use crate::tables::landlock::FILE;
use landlock::{
    AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};
use rustix::fs::{FileType, Mode, OFlags, fstat};
use std::os::fd::OwnedFd;

/// Restricts this process for good. One ruleset for everything: a second layer would deny REFER, and rename across
/// directories would fail with EXDEV. After no_new_privs, which the kernel asks for; before seccomp, whose filter may
/// deny these very calls.
pub(super) fn restrict(planned: &Planned, connect: &[u16], bind: &[u16]) -> Result<()> {
    let handled = bits(crate::tables::landlock::handled_fs(planned.abi));
    let failed = |doing: &str, error: &dyn std::error::Error| {
        Failure::new(format!("cannot {doing}: {error}"))
            .hint("fence does not go on without a layer that this kernel has")
    };
    // Hard requirement: the plan holds just what this kernel has, so anything less is an error and not a compromise.
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(handled)
        .map_err(|e| failed("create a Landlock ruleset", &e))?;
    if planned.scoped {
        ruleset = ruleset
            .scope(Scope::AbstractUnixSocket | Scope::Signal)
            .map_err(|e| failed("scope signals and abstract sockets with Landlock", &e))?;
    }
    if planned.no_ports || !(connect.is_empty() && bind.is_empty()) {
        ruleset = ruleset
            .handle_access(AccessNet::ConnectTcp | AccessNet::BindTcp)
            .map_err(|e| failed("handle TCP ports with Landlock", &e))?;
    }
    let mut created = ruleset.create().map_err(|e| failed("create a Landlock ruleset", &e))?;
    for row in &planned.rows {
        // A place that is not there needs no rule; one that can't be opened gets none.
        let Some((place, access)) = open(row, planned.real) else { continue };
        created = created
            .add_rule(PathBeneath::new(place, bits(access)))
            .map_err(|e| failed(&format!("allow {} in the Landlock ruleset", row.path.display()), &e))?;
    }
    let ports = connect.iter().map(|port| (port, AccessNet::ConnectTcp));
    for (port, access) in ports.chain(bind.iter().map(|port| (port, AccessNet::BindTcp))) {
        created = created
            .add_rule(NetPort::new(*port, access))
            .map_err(|e| failed(&format!("allow port {port} in the Landlock ruleset"), &e))?;
    }
    created.restrict_self().map_err(|e| failed("apply the Landlock ruleset", &e))?;
    Ok(())
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

fn bits(raw: u64) -> BitFlags<AccessFs> {
    BitFlags::from_bits_truncate(raw)
}
