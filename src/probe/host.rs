//! The host as it is now → Facts.

use super::paths::{add, find, find_with_links, own_directory};
use super::protected::{Names, Wanted};
use super::{git, walk};
use crate::cli::{Command, Run, Shell};
use crate::config::Policy;
use crate::error::{Failure, Result};
use crate::facts::{Bwrap, Descriptor, Entry, Facts, FileId};
use crate::plan::watch::BARE;
use crate::plan::{command, private, wanted};
use crate::rules::glob;
use crate::sys;
use crate::tables::protected::Where::Everywhere;
use crate::tables::protected::{DEPTH, names as protected_names};
use rustix::fs::{CWD, FileType, OFlags, Stat, fcntl_getfl, fstat, readlinkat};
use rustix::termios::isatty;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// `PIPEFS_MAGIC`: an anonymous pipe, unlike a FIFO of the file system.
const PIPEFS: u64 = 0x5049_5045;

/// Looks at everything that the plan for this policy and run depends on. `cwd` and `home` are the caller's.
/// `policy_files` are those that the policy was read from.
pub fn look(
    policy: &Policy,
    run: &Run,
    cwd: &Path,
    home: Option<&Path>,
    policy_files: &[PathBuf],
) -> Result<Facts> {
    let mut facts = Facts {
        cwd: cwd.to_path_buf(),
        home: home.map(Path::to_path_buf),
        terminal: terminal(),
        wsl_interop: wsl_interop(),
        descriptors: descriptors(),
        environment: std::env::vars_os().collect(),
        nonce: nonce(),
        shell: shell(run)?,
        first_word_on_path: first_word(run).is_none_or(|word| on_path(word).is_some()),
        ..kernel()
    };
    let empty_root = policy.filesystem.default_deny_read;
    for name in ["TMPDIR", "XDG_RUNTIME_DIR"] {
        let path = std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        path.into_iter().for_each(|path| add(&mut facts, path));
    }
    for path in wanted::literal_paths(policy, run, facts.uid, cwd, home) {
        add(&mut facts, path);
    }
    // Names are protected where something is writable.
    if !policy.filesystem.allow_write.is_empty() {
        facts.obeyed().into_iter().for_each(|path| add(&mut facts, path));
    }
    facts.read_only_stdio = read_only_stdio();
    facts.policy_files = policy_files.to_vec();
    policy_files.iter().for_each(|path| add(&mut facts, path.clone()));
    facts.executable = std::fs::read_link("/proc/self/exe").ok();
    facts.executable.clone().into_iter().for_each(|path| add(&mut facts, path));
    look_at_words(&mut facts, run);
    root_entries(&mut facts, empty_root);
    let names = search(&mut facts, policy)?;
    // What globs make writable has protected names too.
    for root in wanted::writable_roots(policy, &facts) {
        protected_names(Everywhere).for_each(|name| add(&mut facts, root.join(name)));
    }
    aliases(&mut facts, policy, cwd, home);
    protected(&mut facts, policy, names)?;
    super::programs::look(&mut facts, policy);
    watched(&mut facts, policy);
    // From ABI 9 on Landlock denies connecting to what is not allowed.
    if facts.landlock_abi < 9 && !policy.network.allow_all_unix_sockets {
        facts.sockets = super::sockets::look();
    }
    Ok(facts)
}

/// What the engine `landlock` needs to know besides: what stands beside each denial, and where temporary files can go.
///
/// # Errors
/// Command rules that can't be kept here.
pub fn look_for_landlock(facts: &mut Facts, policy: &Policy, run: &Run) -> Result<()> {
    for path in crate::plan::alone::to_list(policy, run, facts)? {
        if facts.listings.contains_key(&path) {
            continue;
        }
        let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
        let entries = entries.filter_map(|entry| {
            let kind = entry.file_type().ok().filter(|kind| !kind.is_symlink())?;
            let linked = match kind.is_dir() {
                true => None,
                false => entry.metadata().ok().filter(|of| of.nlink() > 1).map(|of| (of.dev(), of.ino())),
            };
            Some(Entry { name: entry.file_name(), directory: kind.is_dir(), linked })
        });
        facts.listings.insert(path, entries.collect());
    }
    facts.exec_listener.get_or_insert_with(super::listener::try_it);
    facts.unix_files = unix_files();
    let writable = |path: &PathBuf| {
        path.is_absolute()
            && path.is_dir()
            && rustix::fs::access(path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
    };
    let own = std::env::var_os("TMPDIR").map(PathBuf::from);
    let usual = ["/tmp", "/var/tmp", "/dev/shm"].map(PathBuf::from);
    facts.scratch =
        own.into_iter().chain(usual).find(writable).and_then(|path| std::fs::canonicalize(path).ok());
    Ok(())
}

/// The files of all Unix sockets that this network namespace has: a path may be stale, or another one's by now.
fn unix_files() -> Vec<FileId> {
    let table = std::fs::read("/proc/net/unix").unwrap_or_default();
    let paths = table.split(|b| *b == b'\n').filter_map(|line| {
        let at = line.iter().position(|b| *b == b'/')?;
        rustix::fs::stat(OsStr::from_bytes(&line[at..])).ok()
    });
    paths.map(|stat| (stat.st_dev, stat.st_ino)).collect()
}

/// What the kernel and the caller's rights allow, without looking at any path.
pub fn kernel() -> Facts {
    Facts {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        capabilities: rustix::thread::capabilities(None).map_or(0, |sets| sets.effective.bits()),
        mount_setattr: sys::mount::has_set_attributes(),
        landlock_abi: sys::landlock_abi(),
        seccomp: sys::seccomp::available(),
        ..Facts::default()
    }
}

/// The shell for `-c` lines: bash where there is one, else sh; with `--shell user` the one that $SHELL names.
fn shell(run: &Run) -> Result<Option<PathBuf>> {
    if run.shell == Shell::Default && !command::may_need_shell(run) {
        return Ok(None);
    }
    if run.shell == Shell::Default {
        return Ok(on_path(OsStr::new("bash")).or_else(|| on_path(OsStr::new("sh"))));
    }
    const KNOWN: [&str; 6] = ["sh", "bash", "zsh", "ksh", "dash", "fish"];
    let invalid =
        |why: String| Failure::new(format!("invalid shell options: {why}")).hint("use --shell default");
    let value = std::env::var_os("SHELL").filter(|v| !v.is_empty());
    let path =
        PathBuf::from(value.ok_or_else(|| invalid("--shell user needs $SHELL, which is not set".into()))?);
    let known = path.file_name().and_then(OsStr::to_str).is_some_and(|name| KNOWN.contains(&name));
    match path {
        path if !path.is_absolute() => {
            Err(invalid(format!("$SHELL {} is not an absolute path", path.display())))
        }
        path if !known => Err(invalid(format!("$SHELL {} is none of {}", path.display(), KNOWN.join(", ")))),
        path if !executable(&path) => {
            Err(invalid(format!("$SHELL {} is not an executable file", path.display())))
        }
        path => Ok(Some(path)),
    }
}

/// The word that is looked up: the first that is no assignment.
fn first_word(run: &Run) -> Option<&OsStr> {
    match &run.command {
        Command::Argv(words) => {
            crate::plan::env::split_assignments(words).1.first().map(|word| word.as_os_str())
        }
        Command::Line { .. } => None,
    }
}

/// A program on PATH.
pub fn on_path(name: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(name));
    }
    directories().map(|directory| directory.join(name)).find(|file| executable(file))
}

/// Those of PATH.
fn directories() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let all: Vec<_> = std::env::split_paths(&path).collect();
    all.into_iter()
}

/// bubblewrap, where it is on PATH, links resolved. It runs outside the sandbox: what lies in the working directory by chance does
/// not count.
pub fn bwrap() -> Option<Bwrap> {
    let absolute = directories().filter(|directory| directory.is_absolute());
    let path = absolute.map(|directory| directory.join("bwrap")).find(|file| executable(file))?;
    let path = path.canonicalize().ok()?;
    let stat = rustix::fs::stat(&path).ok()?;
    Some(Bwrap { path, setuid: stat.st_uid == 0 && stat.st_mode & 0o4000 != 0 })
}

pub(super) fn executable(file: &Path) -> bool {
    rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && !file.is_dir()
}

/// Words of the command that lie in a private place are shown there when they are files; so are files on stdin.
fn look_at_words(facts: &mut Facts, run: &Run) {
    let words = wanted::words(run).map(|word| facts.cwd.join(word));
    let stdio = facts.read_only_stdio.iter().map(|(_, path)| path.clone());
    for path in words.chain(stdio).filter(|path| private::covers(path)).collect::<Vec<_>>() {
        add(facts, path);
    }
}

/// A root that is built from parts needs to know what the host's has.
fn root_entries(facts: &mut Facts, needed: bool) {
    let missing = ["/proc", "/dev", "/tmp"].iter().any(|p| facts.at(p).is_none());
    if !needed && !missing {
        return;
    }
    let entries = std::fs::read_dir("/").into_iter().flatten().flatten().map(|entry| entry.path());
    facts.root_entries = entries.collect();
    crate::order::sort(&mut facts.root_entries);
    for path in facts.root_entries.clone() {
        facts.paths.remove(&path);
        add(facts, path);
    }
}

/// One walk for all that has to be searched for: glob matches, and built-in names below the working directory.
fn search(facts: &mut Facts, policy: &Policy) -> Result<Names> {
    let patterns = wanted::glob_patterns(policy);
    // Patterns that make something writable may turn out to name the working directory.
    let writable = writes_here(facts, &wanted::writable_roots(policy, facts))
        || policy.filesystem.allow_write.iter().any(|entry| glob::is_glob(entry));
    if patterns.is_empty() && !writable {
        return Ok(Names::default());
    }
    let git_config = policy.filesystem.allow_git_config;
    let wanted = Wanted { top: &facts.cwd, depth: DEPTH, git_config };
    let found = walk::expand(&patterns, &facts.cwd, facts.home.as_deref(), writable.then_some(wanted))?;
    facts.unread = found.unread_places();
    facts.closed = found.closed.iter().filter_map(|path| own_directory(path, facts.uid)).collect();
    for (pattern, paths) in patterns.into_iter().zip(found.matches) {
        facts.globs.insert(pattern, paths.iter().filter_map(|path| find_with_links(path)).collect());
    }
    Ok(found.protected)
}

/// Whether the working directory is in one of the writable ones.
fn writes_here(facts: &Facts, writable: &[PathBuf]) -> bool {
    writable.iter().any(|root| facts.cwd.starts_with(root))
}

/// A file system that is mounted twice shows what is denied under a second path.
fn aliases(facts: &mut Facts, policy: &Policy, cwd: &Path, home: Option<&Path>) {
    let fs = &policy.filesystem;
    if fs.deny_read.is_empty() && fs.deny_write.is_empty() {
        return;
    }
    let table = super::mounts::Table::read();
    for entry in fs.deny_read.iter().chain(&fs.deny_write) {
        let literal = facts.at(glob::normalize(entry, cwd, home)).filter(|_| !glob::is_glob(entry));
        let matches = facts.globs.get(entry).into_iter().flatten();
        let denied: Vec<PathBuf> =
            literal.into_iter().chain(matches).map(|found| found.real.clone()).collect();
        for path in denied {
            let others = table.other_paths(&path);
            if !others.is_empty() {
                facts.aliases.insert(path, others);
            }
        }
    }
}

/// Built-in names below the working directory, and the git directories of everything writable: only where something can
/// be written at all.
fn protected(facts: &mut Facts, policy: &Policy, names: Names) -> Result<()> {
    let writable = wanted::writable_roots(policy, facts);
    let mut own = None;
    if writes_here(facts, &writable) {
        for path in names.paths {
            add(facts, path.clone());
            facts.protected.push(path);
        }
        for top in names.work_trees {
            repository(facts, policy, &top, &mut own)?;
        }
    }
    // A repository is in reach when its top is: at or above the working directory up to what is writable, or itself
    // writable, or the home directory's own.
    let above = facts.cwd.ancestors().filter(|dir| writable.iter().any(|root| dir.starts_with(root)));
    let mut tops: Vec<PathBuf> = above.map(Path::to_path_buf).collect();
    tops.extend(facts.home.clone().filter(|_| !writable.is_empty()));
    tops.extend(writable);
    crate::order::set(&mut tops);
    for top in tops {
        repository(facts, policy, &top, &mut own)?;
    }
    Ok(())
}

/// What is not there and must not appear, or is to be said when it does.
fn watched(facts: &mut Facts, policy: &Policy) {
    let (cwd, home) = (facts.cwd.clone(), facts.home.clone());
    let mut bases = wanted::writable_roots(policy, facts);
    if bases.is_empty() {
        return;
    }
    bases.extend([cwd.clone()].into_iter().chain(home.clone()));
    crate::order::set(&mut bases);
    for path in wanted::watched_paths(policy, &cwd, home.as_deref(), &bases) {
        add(facts, path);
    }
    let has = |above: &Path| git::kind(&above.join(".git")).is_some();
    facts.inside_repository = facts.at(cwd.join(".git")).is_none()
        && (cwd.ancestors().any(git::is_git_dir) || cwd.ancestors().skip(1).any(has));
    // Where there is a `.git` git looks no further; a repository that is one already has its own protection.
    bases.retain(|base| git::kind(&base.join(".git")).is_none());
    for base in bases.into_iter().filter(|base| !git::is_git_dir(base)) {
        let lacks = BARE.iter().filter(|name| git::kind(&base.join(name)).is_none()).copied().collect();
        facts.not_bare.push((base, lacks));
    }
}

/// `own`: what the user's own configuration says, once it was read.
fn repository(facts: &mut Facts, policy: &Policy, top: &Path, own: &mut Option<git::Search>) -> Result<()> {
    if facts.git.iter().any(|r| r.work_tree == top) {
        return Ok(());
    }
    let home = facts.home.clone();
    let Some(dirs) = git::look(top, home.as_deref(), policy.filesystem.allow_git_config, own)? else {
        return Ok(());
    };
    add(facts, top.join(".git"));
    for path in dirs.protect.iter().chain(&dirs.absent) {
        add(facts, path.clone());
    }
    facts.git.push(dirs);
    Ok(())
}

fn terminal() -> Option<PathBuf> {
    let all = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let terminal = all.into_iter().find(|fd| isatty(fd))?;
    let name = rustix::termios::ttyname(terminal, Vec::new()).ok()?;
    find(Path::new(OsStr::from_bytes(name.as_bytes()))).map(|found| found.real)
}

fn wsl_interop() -> bool {
    ["WSLInterop", "WSLInterop-late"]
        .iter()
        .any(|name| Path::new("/proc/sys/fs/binfmt_misc").join(name).exists())
}

/// Inherited descriptors above 2. Without a mounted /proc none is known, and none is kept.
fn descriptors() -> Vec<Descriptor> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok()).filter(|n| *n > 2);
    let mut all: Vec<Descriptor> = numbers
        .filter_map(|number| {
            let pipe = rustix::fs::fstatfs(sys::fd::inherited(number)).ok()?.f_type as u64 == PIPEFS;
            Some(Descriptor { number, pipe })
        })
        .collect();
    crate::order::sort(&mut all);
    all
}

/// Regular files at 0, 1, 2 that were opened for reading only, with their paths. One without a name (a shell's
/// here-document) can't be opened again, and nobody else would see what was written to it.
fn read_only_stdio() -> Vec<(i32, PathBuf)> {
    let path = |number: i32| {
        let fd = sys::fd::inherited(number);
        let stat = fstat(fd).ok()?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink > 0;
        let reads = fcntl_getfl(fd).ok()? & OFlags::ACCMODE == OFlags::RDONLY;
        let name = readlinkat(CWD, format!("/proc/self/fd/{number}"), Vec::new()).ok()?;
        (regular && reads).then(|| (number, PathBuf::from(std::ffi::OsString::from_vec(name.into_bytes()))))
    };
    (0..3).filter_map(path).collect()
}

/// Refuses descriptors that would be a way round every file rule.
pub fn check_stdio() -> Result<()> {
    for number in 0..3 {
        let directory = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if fstat(sys::fd::inherited(number)).is_ok_and(directory) {
            return Err(Failure::new(format!(
                "cannot start with a directory as standard descriptor {number}: the command could reach the host's files \
                 through it"
            ))
            .hint("redirect it from /dev/null"));
        }
    }
    Ok(())
}

/// Eight hexadecimal digits from the kernel's random numbers.
fn nonce() -> String {
    let mut bytes = [0u8; 4];
    _ = sys::random(&mut bytes);
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The kernel's release, as uname(2) says it.
pub fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}
