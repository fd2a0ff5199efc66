//! Mounts that the host takes away are made again: when a program outside renames a new file over one that is masked or
//! protected, or removes it, the kernel drops the mount.

use crate::apply::mounts::{Cover, Tree};
use crate::error::{Failure, Result};
use crate::mountinfo;
use crate::plan::Plan;
use crate::plan::mounts::Mount;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Attempts for one mount that others keep pulling away.
const MOST_ROUNDS: usize = 100;

pub(super) struct Keeper<'p> {
    rows: Vec<(&'p Mount, PathBuf)>,
    tree: Tree,
    table: File,
}

/// What a check found: paths that are covered again, and paths where nothing is to be covered any more.
#[derive(Default)]
pub(super) struct Found {
    pub(super) again: Vec<PathBuf>,
    pub(super) gone: Vec<PathBuf>,
}

impl<'p> Keeper<'p> {
    /// Goes into the sandbox's user and mount namespaces; `proc` is the host's /proc, where this process has a name.
    pub(super) fn enter(plan: &'p Plan, namespaces: &[OwnedFd], proc: &OwnedFd) -> Result<Keeper<'p>> {
        let cannot = |doing: &str, errno: Errno| {
            Failure::new(format!("cannot {doing} to keep its protections")).errno(errno.raw_os_error())
        };
        for namespace in namespaces {
            move_into_link_name_space(namespace.as_fd(), None::<LinkNameSpaceType>)
                .map_err(|e| cannot("enter the sandbox", e))?;
        }
        // mount(2) takes descriptors by their name in /proc alone, and the sandbox's has none of this process.
        rustix::process::fchdir(proc).map_err(|e| cannot("use the host's /proc", e))?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let table = openat(proc, "self/mountinfo", flags, Mode::empty())
            .map_err(|e| cannot("read the sandbox's mounts", e))?;
        let rows = plan.mounts.iter().filter_map(|row| Some((row, row.protects()?.to_path_buf())));
        let tree = Tree::inside(plan.mount_setattr, "self/fd/")?;
        Ok(Keeper { rows: rows.collect(), tree, table: File::from(table) })
    }

    /// Becomes urgent when a mount comes or goes.
    pub(super) fn table(&self) -> BorrowedFd<'_> {
        self.table.as_fd()
    }

    /// What the command made of a copy.
    pub(super) fn copied(&self, at: &Path) -> Option<Vec<u8>> {
        self.tree.copied(at)
    }

    /// Makes again what is missing, but where `others` see to it. Parents come before children, as in the plan.
    pub(super) fn check(&mut self, others: &dyn Fn(&Path) -> bool) -> Result<Found> {
        let mut found = Found::default();
        for _ in 0..MOST_ROUNDS {
            found.gone.clear();
            let (before, mut points) = (found.again.len(), None);
            for (row, path) in self.rows.iter().filter(|(_, path)| !others(path)) {
                let cover = match self.tree.cover(row, path)? {
                    Cover::Unknown => {
                        if points.is_none() {
                            points = Some(points_of(&mut self.table)?);
                        }
                        let there = points.as_ref().is_some_and(|all| all.binary_search(path).is_ok());
                        if there { Cover::There } else { Cover::Lost }
                    }
                    known => known,
                };
                match cover {
                    Cover::Lost => {
                        self.tree.again(row)?;
                        found.again.push(path.clone());
                    }
                    Cover::Gone => found.gone.push(path.clone()),
                    Cover::There | Cover::Unknown => {}
                }
            }
            // It may have been pulled away while it was made.
            if found.again.len() == before {
                return Ok(found);
            }
        }
        let what =
            "cannot keep the sandbox's protections: the host replaces files faster than they are covered";
        Err(Failure::new(what))
    }
}

/// The sandbox's mount points, sorted.
fn points_of(table: &mut File) -> Result<Vec<PathBuf>> {
    // In one piece: the table may change between two reads.
    let mut text = Vec::with_capacity(256 * 1024);
    let read = table.rewind().and_then(|()| table.read_to_end(&mut text));
    read.map_err(|e| {
        Failure::new("cannot read the sandbox's mounts").errno(e.raw_os_error().unwrap_or(libc::EIO))
    })?;
    Ok(mountinfo::points(&text))
}
