//! Builds the sandbox's file system from the plan's mount table and makes it the root.
//!
//! Everything goes by descriptor: a path is opened once, without following a symbolic link, and what was opened is what
//! is mounted (CVE-2026-87766). Sources are opened in the host's tree, targets in the new one; lookups from `/` still
//! see the host's until `become_root`.

mod attach;

use super::failed;
use crate::error::{Failure, Lacks, Result};
use crate::nofollow::{make_directories, open_below, open_host, text_below};
use crate::plan::mounts::Mount;
use crate::sys::mount::{NODEV, NOEXEC, NOSUID, RDONLY};
use crate::trace::Steps;
use attach::Attach;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, StatxAttributes, StatxFlags, fstat, openat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{chdir, chroot, fchdir, pivot_root};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Carries the table out and enters the new root.
pub(super) fn build(table: &[Mount], by_descriptor: bool, steps: &mut Steps) -> Result<()> {
    let attach = Attach::new(by_descriptor)?;
    let mut rows = table.iter();
    let root = match rows.next() {
        Some(Mount::EmptyRoot) => attach.empty_root(),
        Some(Mount::HostRoot { read_only }) => {
            attach.host_root(if *read_only { RDONLY } else { 0 } | NOSUID | NODEV)
        }
        _ => Err(Errno::INVAL),
    };
    let root = root.map_err(|e| failed("make the sandbox's root", e).unavailable())?;
    steps.mark("root");
    let mut tree = Tree { attach, root, private: None, empty: None, null: None };
    for row in rows {
        tree.carry_out(row)?;
        steps.mark(name(row));
    }
    become_root(&tree.root)?;
    steps.mark("pivot_root");
    Ok(())
}

/// Names in the directory of a copy: the copy, and the link to it.
const COPY: &str = "config";
const LINK: &str = "link";

/// How what a mount protects stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cover {
    /// The mount is there.
    There,
    /// It is not.
    Lost,
    /// There is nothing to protect.
    Gone,
    /// This kernel does not say (5.8 does): the mount table does.
    Unknown,
}

/// The file system of a sandbox, for mounts to be made in it.
pub(crate) struct Tree {
    attach: Attach,
    root: OwnedFd,
    /// The file system in memory that was mounted last, and where: most of what is made next is made in it.
    private: Option<(PathBuf, OwnedFd)>,
    /// The first mask of a directory, which the others are copies of.
    empty: Option<OwnedFd>,
    /// The same for files.
    null: Option<OwnedFd>,
}

impl Tree {
    /// The tree that is this process's root by now.
    pub(crate) fn inside(by_descriptor: bool, own: &'static str) -> Result<Tree> {
        let root = open_host(Path::new("/")).map_err(|e| failed("open the sandbox's root", e))?;
        let attach = if by_descriptor { Attach::Descriptors } else { Attach::Remount(Vec::new(), own) };
        Ok(Tree { attach, root, private: None, empty: None, null: None })
    }

    /// How what a mount protects stands by now; an error when nothing can be mounted there.
    pub(crate) fn cover(&self, row: &Mount, path: &Path) -> Result<Cover> {
        let file = match self.open(path) {
            // Where openat2 is missing a link can't be opened.
            Err(Errno::LOOP) if matches!(row, Mount::KeepLink(_) | Mount::Copy { .. }) => {
                return Ok(Cover::Unknown);
            }
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Cover::Gone),
            other => other.map_err(|e| cannot("cover", path, e))?,
        };
        let attributes = rustix::fs::statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::empty());
        Ok(match attributes {
            Ok(x) if x.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
                if x.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
                    Cover::There
                } else {
                    Cover::Lost
                }
            }
            _ => Cover::Unknown,
        })
    }

    /// Makes a mount again that was lost. Masks that others would be copies of may be lost by now too.
    pub(crate) fn again(&mut self, row: &Mount) -> Result<()> {
        (self.empty, self.null) = (None, None);
        self.carry_out(row)
    }

    fn carry_out(&mut self, row: &Mount) -> Result<()> {
        match row {
            Mount::EmptyRoot | Mount::HostRoot { .. } => Ok(()),
            Mount::Bind { from, to, read_only, devices, may_be_gone } => {
                // What lies over a file system in memory hides what was made there.
                if self.private.as_ref().is_some_and(|(at, _)| at == to) {
                    self.private = None;
                }
                let flags = NOSUID | if *read_only { RDONLY } else { 0 } | if *devices { 0 } else { NODEV };
                match self.bind(from, to, flags) {
                    Err(Errno::NOENT) if *may_be_gone => gone(Errno::NOENT, from),
                    other => other.map_err(|e| cannot("bind", from, e)),
                }
            }
            Mount::Tmpfs { to, mode, read_only } => {
                let made = self.tmpfs(to, *mode, *read_only).map_err(|e| cannot("mount a private", to, e))?;
                self.private = Some((to.clone(), made));
                Ok(())
            }
            Mount::MaskDirectory(at) => self.mask_directory(at).or_else(|e| gone(e, at)),
            Mount::MaskFile(at) => self.mask_file(at).or_else(|e| gone(e, at)),
            Mount::MaskSocket(at) => match self.mask_file(at) {
                Err(Errno::NOENT) => Ok(()),
                other => other.map_err(|e| cannot("hide the socket", at, e)),
            },
            Mount::Proc(to) => self.fresh("proc", &[], to).map_err(|e| {
                let hint = "the kernel refuses a fresh procfs where parts of /proc are masked, as in containers; there run \
                            the container with --security-opt systempaths=unconfined";
                cannot("mount a private", to, e).hint(hint).lacks(Some(Lacks::Proc))
            }),
            Mount::Pts(to) => self
                .fresh("devpts", &[("ptmxmode", "0666"), ("mode", "0620")], to)
                .map_err(|e| cannot("mount a private", to, e)),
            Mount::Directory { at, mode } => {
                let (top, rest) = self.base(at);
                make_directories(top, rest, *mode).map_err(|e| cannot("make the directory", at, e))
            }
            Mount::File(at) => self.file(at).map_err(|e| cannot("make the mount point", at, e)),
            Mount::Text { text, at, over } => {
                self.text(text, at, over).map_err(|e| cannot("lay fence's own text over", over, e))
            }
            Mount::Link { at, text } => self.link(at, text).map_err(|e| cannot("make the link", at, e)),
            Mount::KeepLink(at) => self.keep_link(at).or_else(|e| gone(e, at)),
            Mount::Copy { of, at } => self.copy(of, at).or_else(|e| gone(e, of)),
            Mount::Seal(at) => self.seal(at).map_err(|e| cannot("make read-only", at, e)),
            Mount::ReadOnlyPart(at) => match self.read_only_part(at) {
                Err(Errno::NOENT) => Ok(()),
                other => other.map_err(|e| cannot("make read-only", at, e)),
            },
        }
    }

    /// Where to look a path of the new tree up from: a directory and the rest of the path.
    fn base<'a>(&self, path: &'a Path) -> (BorrowedFd<'_>, &'a Path) {
        let private =
            self.private.as_ref().and_then(|(at, top)| Some((top.as_fd(), path.strip_prefix(at).ok()?)));
        private.filter(|(_, rest)| !rest.as_os_str().is_empty()).unwrap_or((self.root.as_fd(), path))
    }

    fn open(&self, path: &Path) -> std::result::Result<OwnedFd, Errno> {
        let (top, rest) = self.base(path);
        open_below(top, rest)
    }

    fn bind(&self, from: &Path, to: &Path, flags: u64) -> std::result::Result<(), Errno> {
        let source = open_host(from)?;
        let target = self.open(to)?;
        self.attach.bind(source.as_fd(), from, target.as_fd(), flags, true).map(drop)
    }

    fn tmpfs(&self, to: &Path, mode: u32, read_only: bool) -> std::result::Result<OwnedFd, Errno> {
        let target = self.open(to)?;
        let flags = NOSUID | NODEV | if read_only { RDONLY } else { 0 };
        self.attach.fresh("tmpfs", &[("mode", &format!("{mode:o}"))], target.as_fd(), flags)
    }

    fn fresh(&self, kind: &str, options: &[(&str, &str)], to: &Path) -> std::result::Result<(), Errno> {
        let target = self.open(to)?;
        let nodev = if kind == "devpts" { 0 } else { NODEV };
        self.attach.fresh(kind, options, target.as_fd(), NOSUID | NOEXEC | nodev).map(drop)
    }

    fn mask_directory(&mut self, at: &Path) -> std::result::Result<(), Errno> {
        let target = self.open(at)?;
        must_be(FileType::Directory, &target, true)?;
        if let Some(empty) = &self.empty {
            return self
                .attach
                .bind(empty.as_fd(), at, target.as_fd(), RDONLY | NOSUID | NODEV, false)
                .map(drop);
        }
        self.empty =
            Some(self.attach.fresh("tmpfs", &[("mode", "755")], target.as_fd(), RDONLY | NOSUID | NODEV)?);
        Ok(())
    }

    /// NODEV is what denies: opening a device node on such a mount fails with EACCES for root too, while a file without
    /// permission bits would read as empty.
    fn mask_file(&mut self, at: &Path) -> std::result::Result<(), Errno> {
        let target = self.open(at)?;
        must_be(FileType::Directory, &target, false)?;
        let flags = RDONLY | NOSUID | NODEV | NOEXEC;
        if let Some(null) = &self.null {
            return self.attach.bind(null.as_fd(), at, target.as_fd(), flags, false).map(drop);
        }
        // Its absence must not look like that of the file to hide.
        let null = open_host(Path::new("/dev/null"))
            .map_err(|e| if e == Errno::NOENT { Errno::NODEV } else { e })?;
        must_be(FileType::CharacterDevice, &null, true)?;
        self.null =
            Some(self.attach.bind(null.as_fd(), Path::new("/dev/null"), target.as_fd(), flags, false)?);
        Ok(())
    }

    fn file(&self, at: &Path) -> std::result::Result<(), Errno> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        self.make(at, |parent, name| openat(parent, name, flags, Mode::from_raw_mode(0o644)))
    }

    /// Where there is no file to cover there is no reader either.
    fn text(&self, text: &str, at: &Path, over: &Path) -> std::result::Result<(), Errno> {
        let target = match self.open(over) {
            Err(Errno::NOENT) => return Ok(()),
            other => other?,
        };
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        self.make(at, |parent, name| {
            rustix::io::write(openat(parent, name, flags, Mode::from_raw_mode(0o444))?, text.as_bytes())
        })?;
        let source = self.open(at)?;
        self.attach.bind(source.as_fd(), at, target.as_fd(), RDONLY | NOSUID | NODEV, false).map(drop)
    }

    fn link(&self, at: &Path, text: &Path) -> std::result::Result<(), Errno> {
        self.make(at, |parent, name| symlinkat(text, parent, name))
    }

    /// Makes something in the directory above `at`, which is made too where it is missing.
    fn make<T>(
        &self,
        at: &Path,
        make: impl FnOnce(BorrowedFd<'_>, &std::ffi::OsStr) -> std::result::Result<T, Errno>,
    ) -> std::result::Result<(), Errno> {
        let (top, rest) = self.base(at);
        let name = at.file_name().ok_or(Errno::INVAL)?;
        let parent = rest.parent().unwrap_or(Path::new(""));
        let made = if parent.as_os_str().is_empty() {
            make(top, name)
        } else {
            // Programs look whether their directory there is private.
            let mode = if at.starts_with("/run/user") { 0o700 } else { 0o755 };
            make_directories(top, parent, mode)?;
            make(open_below(top, parent)?.as_fd(), name)
        };
        match made {
            Ok(_) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// A symbolic link can be a mount point like anything else when it is named by a descriptor.
    fn keep_link(&self, at: &Path) -> std::result::Result<(), Errno> {
        let parent = self.open(at.parent().unwrap_or(Path::new("/")))?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = openat(parent, at.file_name().ok_or(Errno::INVAL)?, flags, Mode::empty())?;
        must_be(FileType::Symlink, &link, true)?;
        self.attach.link(link.as_fd(), link.as_fd())
    }

    /// Where a program replaces a file it follows a link to it first. What is in the copy's directory by now may be the
    /// command's: nothing of it is followed.
    fn copy(&self, of: &Path, at: &Path) -> std::result::Result<(), Errno> {
        let parent = self.open(of.parent().unwrap_or(Path::new("/")))?;
        let name = of.file_name().ok_or(Errno::INVAL)?;
        rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let text = text_below(parent.as_fd(), name).ok_or(Errno::STALE)?;
        let (top, rest) = self.base(at);
        make_directories(top, rest, 0o700)?;
        let own = self.open(at)?;
        for name in [COPY, LINK] {
            match unlinkat(&own, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        let copy = openat(&own, COPY, flags, Mode::from_raw_mode(0o644))?;
        if rustix::io::write(&copy, &text)? != text.len() {
            return Err(Errno::NOSPC);
        }
        symlinkat(at.join(COPY), &own, LINK)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = openat(&own, LINK, flags, Mode::empty())?;
        let target = openat(&parent, name, flags, Mode::empty())?;
        self.attach.link(link.as_fd(), target.as_fd())
    }

    /// A copy's text as it is by now.
    pub(crate) fn copied(&self, at: &Path) -> Option<Vec<u8>> {
        text_below(self.open(at).ok()?.as_fd(), OsStr::new(COPY))
    }

    fn seal(&self, at: &Path) -> std::result::Result<(), Errno> {
        let mount = self.open(at)?;
        self.attach.restrict(mount.as_fd(), RDONLY | NOSUID | NODEV)
    }

    fn read_only_part(&self, at: &Path) -> std::result::Result<(), Errno> {
        let part = self.open(at)?;
        let flags = RDONLY | NOSUID | NODEV | NOEXEC;
        self.attach.bind(part.as_fd(), at, part.as_fd(), flags, false).map(drop)
    }
}

/// A mask of the wrong kind would not cover: the host changed the file after it was looked at.
fn must_be(kind: FileType, file: &OwnedFd, wanted: bool) -> std::result::Result<(), Errno> {
    let is = FileType::from_raw_mode(fstat(file)?.st_mode) == kind;
    if is == wanted { Ok(()) } else { Err(Errno::STALE) }
}

/// What is gone needs no cover.
fn gone(errno: Errno, at: &Path) -> Result<()> {
    match errno {
        // A directory above that is gone was moved, with the file in it.
        Errno::NOENT if at.parent().is_some_and(|above| open_host(above).is_ok()) => Ok(()),
        Errno::NOENT => Err(cannot("cover", at, Errno::STALE)),
        errno => Err(cannot("cover", at, errno)),
    }
}

/// Makes the new root the process's root and lets go of the old one.
fn become_root(root: &OwnedFd) -> Result<()> {
    let enter = |e| failed("enter the sandbox's root", e).unavailable();
    fchdir(root).map_err(enter)?;
    match pivot_root(".", ".") {
        Ok(()) => unmount(".", UnmountFlags::DETACH).map_err(|e| failed("detach the host's root", e))?,
        // The initramfs can't be pivoted away from (up to 6.19): the new root lies over it, and nothing keeps a
        // descriptor or working directory below. Docker's seccomp profile forbids the call, whatever the capabilities.
        Err(Errno::INVAL | Errno::PERM) => chroot(".").map_err(enter)?,
        Err(errno) => return Err(enter(errno)),
    }
    chdir("/").map_err(enter)
}

fn cannot(doing: &str, path: &Path, errno: Errno) -> Failure {
    let failure = failed(&format!("{doing} {}", path.display()), errno);
    match errno {
        Errno::STALE => failure.hint("the host moved or replaced it just now; run fence again"),
        Errno::NODEV => failure.hint("hiding a file takes the host's /dev/null, which is missing"),
        Errno::LOOP => failure.hint("a part of the path became a symbolic link just now; run fence again"),
        Errno::NOSPC => failure.hint("there are more mounts than sysctl fs.mount-max allows"),
        _ => failure,
    }
}

fn name(row: &Mount) -> &'static str {
    match row {
        Mount::EmptyRoot | Mount::HostRoot { .. } => "root",
        Mount::Bind { .. } => "bind",
        Mount::Tmpfs { .. } => "tmpfs",
        Mount::MaskDirectory(_) | Mount::MaskFile(_) | Mount::MaskSocket(_) => "mask",
        Mount::Proc(_) => "proc",
        Mount::Pts(_) => "devpts",
        Mount::Directory { .. } | Mount::File(_) | Mount::Text { .. } | Mount::Link { .. } => "make",
        Mount::KeepLink(_) => "link",
        Mount::Copy { .. } => "copy",
        Mount::Seal(_) | Mount::ReadOnlyPart(_) => "read-only",
    }
}
