//! File rules for a host without mounts: Landlock alone. It only allows, so a denial inside an allowed directory is said by
//! allowing what stands beside it, entry by entry.

use super::files::{self, Place, Rules};
use super::landlock::{Row, Ruleset};
use super::mounts::Mount;
use super::net::{Mode, Network};
use crate::cli::Run;
use crate::config::Policy;
use crate::error::{Failure, Result};
use crate::facts::{Entry, Facts, FileId};
use crate::map::Map;
use crate::tables::landlock as rights;
use std::path::{Path, PathBuf};

/// Most rows of a ruleset: each costs an open and a call.
const MOST_ROWS: usize = 20_000;

/// File contents and programs.
const READ: u64 = rights::EXECUTE_ONLY;
/// Names in directories.
const LIST: u64 = rights::READ_DIR;
/// Devices are opened, written to and asked; none is made.
const DEVICE: u64 = READ | LIST | rights::WRITE_FILE | rights::TRUNCATE | rights::IOCTL_DEV;

/// What Landlock alone makes of the file rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alone {
    /// Allowed places.
    pub rows: Vec<Row>,
    /// Directories that have denials inside and something allowed beside them, with what can't be done in them.
    pub split: Vec<Split>,
    /// Built-in protected names in writable places, which stay writable: nothing could be made beside them.
    pub unprotected: Vec<PathBuf>,
}

/// A directory whose entries are allowed one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The directory.
    pub path: PathBuf,
    /// It is in a writable place: no entry can be made, renamed or removed directly in it.
    pub fixed: bool,
    /// Its names can't be listed.
    pub unlisted: bool,
}

/// What is wanted at one path and, unless something below says otherwise, at all below it.
#[derive(Clone, Copy)]
struct Node {
    rights: u64,
    directory: bool,
}

/// The directories that the probe must list before [`plan`] can be made: those with denials inside, and where single files have
/// rules, which may be other names of what is denied.
pub fn to_list(policy: &Policy, run: &Run, facts: &Facts) -> Result<Vec<PathBuf>> {
    let rules = files::rules(policy, run, facts, &super::exec::plan(policy, run, facts)?);
    let holds = facts.cwd.ancestors().find_map(|above| rules.places.get(above));
    if holds.is_some_and(|rule| rule.place == Place::Mask) {
        let cwd = facts.cwd.display();
        return Err(Failure::new(format!(
            "cannot start in the working directory {cwd}: filesystem.denyRead hides it"
        ))
        .hint("start fence in a directory that the policy lets the command read"));
    }
    let mut build = Build::new(facts.landlock_abi, &rules, None);
    _ = build.grant(Path::new("/"), build.root, 0);
    let files = build.nodes.iter().filter(|(_, node)| !node.directory).filter_map(|(path, _)| path.parent());
    let files = files.map(Path::to_path_buf);
    Ok(build.out.split.iter().map(|split| split.path.clone()).chain(files).collect())
}

/// The rows for these rules. `facts.listings` has what [`to_list`] asks for.
///
/// # Errors
/// More entries beside the denied ones than a ruleset should have.
pub fn plan(abi: u32, rules: &Rules, facts: &Facts) -> Result<Alone> {
    let mut build = Build::new(abi, rules, Some(&facts.listings));
    build.grant(Path::new("/"), build.root, 0)?;
    Ok(build.out)
}

/// The ruleset of a run: files, signals, and no TCP port where nothing of the network is allowed, or fence connects. `scratch` is the run's own
/// directory for temporary files.
pub fn ruleset(abi: u32, alone: &Alone, scratch: Option<&Path>, network: &Network) -> Ruleset {
    let abi = abi.min(rights::NEWEST_ABI);
    let mut rows = alone.rows.clone();
    rows.extend(
        scratch.map(|path| Row { path: path.to_path_buf(), access: READ | LIST | rights::write_fs(abi) }),
    );
    let no_ports = abi >= 4 && matches!(network.mode, Mode::None | Mode::Brokered(_));
    Ruleset { abi, rows, scoped: rights::scoped(abi) != 0, no_ports, real: true }
}

struct Build<'a> {
    abi: u32,
    nodes: Map<PathBuf, Node>,
    root: u64,
    /// The most that a file may get at this path: Landlock goes by the file, so a name of it that is denied would get what another
    /// one is given.
    limits: Map<PathBuf, u64>,
    /// None: only ask which directories are split.
    listings: Option<&'a Map<PathBuf, Vec<Entry>>>,
    out: Alone,
}

/// What holds at a path while the rules are read from the root on.
#[derive(Clone, Copy)]
struct State {
    rights: u64,
    denied: bool,
    masked: bool,
}

impl<'a> Build<'a> {
    fn new(abi: u32, rules: &Rules, listings: Option<&'a Map<PathBuf, Vec<Entry>>>) -> Build<'a> {
        let abi = abi.min(rights::NEWEST_ABI);
        let mut build =
            Build { abi, nodes: Map::new(), root: 0, limits: Map::new(), listings, out: Alone::default() };
        build.read(rules);
        build.limit_links();
        build
    }

    /// Rules → nodes, each with the rights that hold there.
    fn read(&mut self, rules: &Rules) {
        let write = rights::write_fs(self.abi) & !READ & !LIST;
        let place = rules.places.get(Path::new("/")).map(|rule| &rule.place);
        let shown = !rules.empty_root || rules.all_readable;
        self.root =
            if shown { READ | LIST } else { 0 } | if place.is_some_and(Place::opens) { write } else { 0 };
        let first = State { rights: self.root, denied: place == Some(&Place::Deny), masked: false };
        let mut above: Vec<(&Path, State)> = vec![(Path::new("/"), first)];
        for (path, rule) in rules.places.iter().filter(|(path, _)| *path != Path::new("/")) {
            while above.len() > 1 && above.last().is_some_and(|(at, _)| !path.starts_with(at)) {
                above.pop();
            }
            let Some((_, up)) = above.last().copied() else { return };
            let named = rules.named.contains_key(path);
            let here = match &rule.place {
                Place::Expose { writable } => {
                    let denied = !writable && (up.denied || up.masked || rule.denied);
                    let open = *writable || up.rights & write != 0 && !denied;
                    let device = if path.starts_with("/dev") && *writable { rights::IOCTL_DEV } else { 0 };
                    let rights = READ | LIST | rights::RESOLVE_UNIX | device | if open { write } else { 0 };
                    State { rights, denied, masked: false }
                }
                _ if up.masked => continue,
                Place::Private(mounts) => {
                    self.private(mounts);
                    let sealed = mounts.iter().any(|m| matches!(m, Mount::Seal(at) if at == path));
                    let rights = if path == Path::new("/proc") { READ | LIST } else { LIST };
                    // `devices.mode: host` shows the whole of /dev.
                    let whole = self.nodes.get(path).map_or(rights, |node| node.rights);
                    State { rights: whole, denied: up.denied || sealed, masked: false }
                }
                Place::Mask => State { rights: 0, masked: true, ..up },
                Place::KeepLink(_) if named => State { rights: up.rights & !write, ..up },
                Place::Deny if up.rights & write != 0 && !named => {
                    self.out.unprotected.push(path.clone());
                    continue;
                }
                Place::Deny | Place::Guard => {
                    let shown = if rule.shown { READ | LIST } else { 0 };
                    let denied = up.denied || rule.place == Place::Deny;
                    State { rights: (up.rights | shown) & !write, denied, ..up }
                }
                Place::Read if rules.execute_only.contains(path) => {
                    State { rights: up.rights | rights::EXECUTE_ONLY, ..up }
                }
                Place::Read => State { rights: up.rights | READ | LIST, ..up },
                Place::Write if up.denied => State { rights: up.rights | READ | LIST, ..up },
                Place::Write => State { rights: up.rights | READ | LIST | write, ..up },
                Place::Link(_) | Place::KeepLink(_) | Place::Pin => continue,
            };
            self.nodes.insert(path.clone(), Node { rights: here.rights, directory: rule.directory });
            above.push((path, here));
        }
    }

    /// What each name of a file with several may have at most: what the one with the strictest rules has.
    fn limit_links(&mut self) {
        let listings = self.listings.into_iter().flat_map(Map::iter);
        let linked = listings.flat_map(|(directory, entries)| {
            entries.iter().filter_map(|entry| Some((directory.join(&entry.name), entry.linked?)))
        });
        let linked: Vec<(PathBuf, FileId)> = linked.collect();
        let mut files: Map<FileId, u64> = Map::new();
        for (path, file) in &linked {
            if let Some(node) = self.nodes.get(path) {
                *files.get_or_insert(*file, node.rights) &= node.rights;
            }
        }
        for (path, file) in linked {
            if let Some(most) = files.get(&file) {
                self.limits.insert(path, *most);
            }
        }
    }

    /// A place that would be the sandbox's own: the host's is hidden but for what would be mounted there.
    fn private(&mut self, mounts: &[Mount]) {
        for mount in mounts {
            let (path, node) = match mount {
                Mount::Bind { from, devices: true, .. } => (from, Node { rights: DEVICE, directory: true }),
                Mount::Bind { from, .. } => (from, Node { rights: READ | LIST, directory: true }),
                Mount::Tmpfs { to, .. } => (to, Node { rights: LIST, directory: true }),
                Mount::MaskFile(at) => (at, Node { rights: 0, directory: false }),
                _ => continue,
            };
            self.nodes.insert(path.clone(), node);
        }
    }

    /// Allows `rights` at `path` and below, but what nodes below it take away. `given` is allowed from above already.
    fn grant(&mut self, path: &Path, wanted: u64, given: u64) -> Result<()> {
        let lost = self.lost(path, wanted);
        let whole = wanted & !lost;
        self.row(path, true, whole & !given)?;
        let given = given | whole;
        if wanted & lost == 0 {
            for below in self.nearest(path) {
                self.visit(&below, given)?;
            }
            return Ok(());
        }
        let write = rights::write_fs(self.abi) & !READ & !LIST;
        let (fixed, unlisted) = (wanted & lost & write != 0, wanted & lost & LIST != 0);
        self.out.split.push(Split { path: path.to_path_buf(), fixed, unlisted });
        // Of what stands beside the nodes, only entries that exist can be named.
        let inner = self.children(path);
        for Entry { name, directory, .. } in self.listings.and_then(|all| all.get(path)).into_iter().flatten()
        {
            let child = path.join(name);
            if !inner.contains(&child) {
                self.row(&child, *directory, wanted & !given)?;
            }
        }
        for child in inner {
            if self.nodes.contains_key(&child) {
                self.visit(&child, given)?;
            } else {
                self.grant(&child, wanted & !given, given)?;
            }
        }
        Ok(())
    }

    fn visit(&mut self, path: &Path, given: u64) -> Result<()> {
        let Some(node) = self.nodes.get(path).copied() else { return Ok(()) };
        if node.directory {
            return self.grant(path, node.rights & !given, given);
        }
        self.row(path, false, node.rights & !given)?;
        for below in self.nearest(path) {
            self.visit(&below, given)?;
        }
        Ok(())
    }

    /// Which of `rights` something below `path` must not have. Writing is lost as a whole: a name that stays must not be
    /// renamed or removed either, and that is a right on the directory above it.
    fn lost(&self, path: &Path, rights: u64) -> u64 {
        let below = self.below(path);
        let gone = below.fold(0, |gone, (_, node)| {
            let possible = if node.directory { u64::MAX } else { rights::FILE };
            gone | rights & possible & !node.rights
        });
        let write = rights::write_fs(self.abi) & !READ & !LIST;
        let group = |bits: u64| if gone & bits != 0 { bits } else { 0 };
        (gone | group(READ) | group(write)) & rights
    }

    fn below<'b>(&'b self, path: &'b Path) -> impl Iterator<Item = (&'b PathBuf, &'b Node)> {
        self.nodes.after(path).take_while(move |(at, _)| at.starts_with(path))
    }

    /// The nodes below `path` with no other between.
    fn nearest(&self, path: &Path) -> Vec<PathBuf> {
        let mut nearest: Vec<PathBuf> = Vec::new();
        for (at, _) in self.below(path) {
            if !nearest.last().is_some_and(|last| at.starts_with(last)) {
                nearest.push(at.clone());
            }
        }
        nearest
    }

    /// The entries of `path` that are nodes or lead to one.
    fn children(&self, path: &Path) -> Vec<PathBuf> {
        let depth = path.components().count() + 1;
        let mut children: Vec<PathBuf> =
            self.below(path).map(|(at, _)| at.components().take(depth).collect()).collect();
        children.dedup();
        children
    }

    fn row(&mut self, path: &Path, directory: bool, access: u64) -> Result<()> {
        let possible = rights::handled_fs(self.abi) & if directory { u64::MAX } else { rights::FILE };
        let access = access & self.limits.get(path).copied().unwrap_or(u64::MAX);
        if access & possible == 0 || self.listings.is_none() {
            return Ok(());
        }
        if self.out.rows.len() == MOST_ROWS {
            let above = path.parent().unwrap_or(path);
            return Err(Failure::new(format!(
                "cannot deny something in {} with Landlock alone: more than {MOST_ROWS} entries stand beside what is denied",
                above.display()
            ))
            .hint("deny a directory of its own, or run fence where namespaces are allowed"));
        }
        self.out.rows.push(Row { path: path.to_path_buf(), access: access & possible });
        Ok(())
    }
}
