//! File rules: the policy's lists and the built-in ones → one rule per real path.

use super::exec::Planned;
use super::mounts::{Mount, pin_ancestors};
use super::private;
use super::wanted::{words, writable_roots};
use super::watch::{self, Watched};
use crate::cli::Run;
use crate::config::Policy;
use crate::facts::{Engine, Facts, Found, Kind, Repository};
use crate::map::{Map, Set};
use crate::rules::glob;
use crate::tables::paths::{DEFAULT_READ, DEFAULT_READ_HOME};
use crate::tables::protected::{self, Where};
use std::path::{Path, PathBuf};

/// What is wanted at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Shown, read-only (where the rest is hidden or private).
    Read,
    /// Writable.
    Write,
    /// A symbolic link of the host that is made again where the host does not show.
    Link(PathBuf),
    /// The same, and where the host shows nobody may replace it: it leads to a place that is denied for writing.
    KeepLink(PathBuf),
    /// A directory that keeps its place: a mount of its own, as writable as before.
    Pin,
    /// A file system of the sandbox's own, made by these mounts.
    Private(Vec<Mount>),
    /// Not writable unless a rule for it or below says so.
    Guard,
    /// Not writable, whatever allows it.
    Deny,
    /// Not readable, whatever allows it.
    Mask,
    /// Shown whatever denies it here or above: the command line says so.
    Expose {
        /// Writable too.
        writable: bool,
    },
}

impl Place {
    /// Which rule wins when two name the same path: deny beats allow.
    fn strength(&self) -> u8 {
        match self {
            Place::Link(_) => 0,
            Place::Read | Place::Pin | Place::Guard => 1,
            Place::Write => 2,
            Place::Private(_) => 3,
            Place::Deny | Place::KeepLink(_) => 4,
            Place::Mask => 5,
            Place::Expose { .. } => 6,
        }
    }

    /// The host's tree is writable here when nothing denies it.
    pub fn opens(&self) -> bool {
        matches!(self, Place::Write | Place::Expose { writable: true })
    }
}

/// A place with what is known of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What is wanted.
    pub place: Place,
    /// Something allows reading it, also where a denial of writes has replaced that.
    pub shown: bool,
    /// The directories above, up to the writable one, must keep their places too.
    pub pinned: bool,
    /// It must be a mount of its own: a mount point can't be renamed.
    pub fixed: bool,
    /// A denial stood here before the command line exposed it.
    pub denied: bool,
    /// It is a directory on the host.
    pub directory: bool,
}

impl Rule {
    /// A place and nothing else known about it.
    pub fn new(place: Place, directory: bool) -> Rule {
        Rule { place, shown: false, pinned: false, fixed: false, denied: false, directory }
    }
}

/// All file rules of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// By real path: parents sort before children.
    pub places: Map<PathBuf, Rule>,
    /// The root is empty and filled with what is allowed.
    pub empty_root: bool,
    /// Nothing is hidden for not being allowed: an empty root then only has parts that the host lacks.
    pub all_readable: bool,
    /// Paths that can be executed but not listed (`allowExecute` where reads are denied).
    pub execute_only: Vec<PathBuf>,
    /// What the user's own denials are about, with the links that lead there: the other denials are built in.
    pub named: Set<PathBuf>,
    /// What a reader of `-d` should know: missing paths and the like.
    pub remarks: Vec<String>,
    /// What everybody should know: a rule that does less than it seems to.
    pub warnings: Vec<String>,
    /// Rules that are not enforced.
    pub unenforced: Vec<String>,
    /// Sockets of the host that may be connected to, or directories of such.
    pub sockets: Vec<PathBuf>,
    /// Sockets of the host that are hidden.
    pub hidden_sockets: Vec<PathBuf>,
    /// Names that must not appear.
    pub watched: Vec<Watched>,
    /// Directories that must keep their places for these.
    pub held: Vec<PathBuf>,
    /// Protected files that the command gets a copy of, which it may write.
    pub copied: Vec<PathBuf>,
}

impl Rules {
    /// The host's tree is writable at `path`.
    pub fn opens(&self, path: &Path) -> bool {
        let place = path.ancestors().find_map(|above| self.places.get(above)).map(|rule| &rule.place);
        place.is_some_and(Place::opens) && !self.denies_writing(path)
    }

    /// Something denies reading at `path` or above.
    pub fn denies_reading(&self, path: &Path) -> bool {
        let denies = |above| matches!(self.places.get(above), Some(Rule { place: Place::Mask, .. }));
        path.ancestors().any(denies)
    }

    /// Something denies writing at `path` or above.
    pub fn denies_writing(&self, path: &Path) -> bool {
        let denies = |rule: &Rule| matches!(rule.place, Place::Deny | Place::Mask);
        path.ancestors().any(|above| self.places.get(above).is_some_and(denies))
    }
}

/// The directories that are the sandbox's own, whatever the host has there.
pub const PRIVATE_TMP: [&str; 2] = ["/tmp", "/var/tmp"];

/// Policy and facts → one rule per path; `exec` is what the policy says about commands.
pub fn rules(policy: &Policy, run: &Run, facts: &Facts, exec: &Planned) -> Rules {
    let writable_roots = writable_roots(policy, facts);
    let mut build = Builder { facts, policy, writable_roots, rules: Rules::default() };
    build.rules.empty_root = build.empty_root(run);
    build.rules.all_readable = !policy.filesystem.default_deny_read;
    build.readable();
    build.private_places(run);
    // A process could change its child's arguments after the verdict, through /proc/PID/mem.
    if let Some(proc) = facts.at("/proc").filter(|_| exec.exec.is_some()) {
        build.put(proc, Place::Deny, false);
    }
    build.writable();
    build.shown_in_private(run);
    build.protected();
    build.sockets();
    build.denied();
    exec.masks.iter().for_each(|program| build.put(program, Place::Mask, false));
    build.exposed(run);
    build.rules.watched = watch::watch(policy, facts, &mut build.rules);
    pin_ancestors(&mut build.rules.places, &build.rules.held);
    build.rules
}

struct Builder<'a> {
    facts: &'a Facts,
    policy: &'a Policy,
    writable_roots: Vec<PathBuf>,
    rules: Rules,
}

impl Builder<'_> {
    fn put(&mut self, found: &Found, place: Place, pinned: bool) {
        let directory = found.kind == Kind::Directory;
        let shows = matches!(place, Place::Read | Place::Write);
        if matches!(place, Place::Deny | Place::Mask) {
            self.keep_links(found, pinned);
        }
        match self.rules.places.get_mut(&found.real) {
            // Denying writes to a place of the sandbox's own does not bring the host's back.
            Some(Rule { place: Place::Private(mounts), .. }) if place == Place::Deny => {
                mounts.push(Mount::Seal(found.real.clone()));
            }
            Some(old) if old.place.strength() > place.strength() => old.pinned |= pinned,
            Some(old) => {
                let shown = shows || old.shown;
                let denied = old.denied || matches!(old.place, Place::Deny | Place::Mask);
                *old = Rule { shown, pinned: pinned || old.pinned, denied, place, ..*old };
            }
            None => {
                let rule = Rule { shown: shows, pinned, ..Rule::new(place, directory) };
                self.rules.places.insert(found.real.clone(), rule);
            }
        }
    }

    /// Who can replace a link on the way to a path need not write to what it leads to.
    fn keep_links(&mut self, found: &Found, pinned: bool) {
        for (link, text) in found.links.iter().filter(|(link, _)| !private::is_closed(link)) {
            let pinned = pinned || self.rules.places.get(link).is_some_and(|old| old.pinned);
            let rule = Rule { pinned, ..Rule::new(Place::KeepLink(text.clone()), false) };
            self.rules.places.insert(link.clone(), rule);
        }
    }

    /// What a list of the policy names: (found, it was a literal path).
    fn entries(&mut self, list: &[String], name: &str) -> Vec<(Found, bool)> {
        let mut all = Vec::new();
        let trees = glob::trees(list, &self.facts.cwd, self.facts.home.as_deref());
        for entry in list {
            if glob::is_glob(entry) {
                let matches = self.facts.globs.get(entry).map(Vec::as_slice).unwrap_or_default();
                // What is in a directory that the list has as `dir/**` needs no rule of its own.
                let inside =
                    |m: &&Found| trees.iter().any(|tree| m.real != *tree && m.real.starts_with(tree));
                // Where the directories have names the rule is for this place; `**` finds a file wherever it is moved to.
                let placed = !entry.contains("**");
                all.extend(matches.iter().filter(|m| !inside(m)).map(|m| (m.clone(), placed)));
                continue;
            }
            let path = glob::normalize(entry, &self.facts.cwd, self.facts.home.as_deref());
            match self.facts.at(&path) {
                Some(found) => all.push((found.clone(), true)),
                None => self.rules.remarks.push(format!("{name} {entry:?} does not exist: ignored")),
            }
        }
        all
    }

    /// Reads are denied by default, unless `/` itself is allowed; or the root can't be the host's.
    fn empty_root(&self, run: &Run) -> bool {
        let facts = self.facts;
        let fs = &self.policy.filesystem;
        let root = |path: PathBuf| facts.at(path).is_some_and(|found| found.real == Path::new("/"));
        let lists = [&fs.allow_read, &fs.allow_execute, &fs.allow_write];
        let literal = lists.into_iter().flatten().filter(|entry| !glob::is_glob(entry));
        let mut allowed = literal.map(|entry| glob::normalize(entry, &facts.cwd, facts.home.as_deref()));
        let mut exposed = run.expose_read.iter().chain(&run.expose_write).map(|path| facts.cwd.join(path));
        let all_shown = allowed.any(root) || exposed.any(root);
        self.parts_missing() || fs.default_deny_read && !all_shown
    }

    /// A directory that the sandbox needs as a mount point does not exist (FROM scratch): the root is built from parts.
    fn parts_missing(&self) -> bool {
        ["/proc", "/dev", "/tmp"].iter().any(|p| self.facts.at(p).is_none())
    }

    /// Where the root is empty: what shows.
    fn readable(&mut self) {
        let fs = &self.policy.filesystem;
        if !self.rules.empty_root {
            // All shows but what lies in a private place.
            for found in self.allowed(&fs.allow_read, "filesystem.allowRead") {
                if private::covers(&found.real) {
                    self.allow(&found, Place::Read, "filesystem.allowRead");
                }
            }
            return;
        }
        let mut shown: Vec<Found> = Vec::new();
        let facts = self.facts;
        if !fs.default_deny_read {
            shown.extend(facts.root_entries.iter().filter_map(|p| facts.at(p)).cloned());
        } else if !fs.strict_deny_read {
            let home = facts.home.iter().flat_map(|h| DEFAULT_READ_HOME.iter().map(move |name| h.join(name)));
            let all = DEFAULT_READ.iter().map(PathBuf::from).chain(home);
            let found = all.filter_map(|p| facts.at(p));
            shown.extend(found.filter(|found| self.planted(found).is_none()).cloned());
        }
        shown.extend(self.allowed(&fs.allow_read, "filesystem.allowRead"));
        let execute = self.allowed(&fs.allow_execute, "filesystem.allowExecute");
        for found in &execute {
            if fs.default_deny_read && !shown.iter().any(|s| found.real.starts_with(&s.real)) {
                self.rules.execute_only.push(found.real.clone());
            }
        }
        shown.extend(execute);
        // Names are looked up through what /etc/resolv.conf leads to, wherever that is.
        shown.extend(facts.at("/etc/resolv.conf").filter(|_| !fs.strict_deny_read).cloned());
        shown.extend(facts.at("/init").filter(|_| fs.wsl_interop.unwrap_or(facts.wsl_interop)).cloned());
        // A root that is built from parts is writable when its parts are.
        let place = if self.parts_missing() && self.allows_root() { Place::Write } else { Place::Read };
        for found in shown {
            self.allow(&found, place.clone(), "filesystem.allowRead");
        }
    }

    /// `/` itself is in `allowWrite`.
    fn allows_root(&self) -> bool {
        let root = |entry: &String| self.facts.at(entry).is_some_and(|found| found.real == Path::new("/"));
        self.policy.filesystem.allow_write.iter().any(root)
    }

    /// The same for a list that allows. What is reached through a symbolic link that the policy lets the command replace
    /// is left out: an earlier run may have made the link, so that this one opens what it leads to.
    fn allowed(&mut self, list: &[String], name: &str) -> Vec<Found> {
        let mut all: Vec<Found> = self.entries(list, name).into_iter().map(|(found, _)| found).collect();
        all.retain(|found| {
            let Some(link) = self.planted(found) else { return true };
            // What is writable anyway needs no word.
            if !self.is_inside_writable(&found.real) {
                self.rules.warnings.push(format!(
                    "{name} does not open {}: it is reached through the symbolic link {}, which the command can \
                     replace; name the target itself",
                    found.real.display(),
                    link.display()
                ));
            }
            false
        });
        all
    }

    /// A link on the way to a path that the policy lets the command replace.
    fn planted<'f>(&self, found: &'f Found) -> Option<&'f Path> {
        found.links.iter().map(|(link, _)| link.as_path()).find(|link| self.is_inside_writable(link))
    }

    fn is_inside_writable(&self, path: &Path) -> bool {
        self.writable_roots.iter().any(|root| path.starts_with(root) && path != root)
    }

    /// Shows a path, writable or not; /dev and /proc are always the sandbox's own.
    fn allow(&mut self, found: &Found, place: Place, name: &str) {
        if private::is_closed(&found.real) {
            let remark =
                format!("{name} {} has no effect: the sandbox has its own there", found.real.display());
            self.rules.remarks.push(remark);
            return;
        }
        self.links(found);
        self.put(found, place, false);
    }

    /// Symbolic links on the way to a shown path are made again, so that `/lib64` still names what it names outside.
    fn links(&mut self, found: &Found) {
        for (link, text) in found.links.iter().filter(|(link, _)| !private::is_closed(link)) {
            let rule = Rule::new(Place::Link(text.clone()), false);
            self.rules.places.get_or_insert(link.clone(), rule);
        }
    }

    fn private_places(&mut self, run: &Run) {
        for (path, mounts) in private::places(self.policy, run, self.facts, self.rules.empty_root) {
            self.rules.places.insert(path, Rule::new(Place::Private(mounts), true));
        }
    }

    fn writable(&mut self) {
        for found in self.allowed(&self.policy.filesystem.allow_write, "filesystem.allowWrite") {
            self.allow(&found, Place::Write, "filesystem.allowWrite");
        }
        // A linked work tree and a submodule keep index and branches in the repository they belong to; git can't commit without.
        for repository in self.facts.git.iter().filter(|r| r.linked) {
            if self.is_writable(&repository.work_tree) && !self.is_writable(&repository.common_dir) {
                let common = Found {
                    real: repository.common_dir.clone(),
                    kind: Kind::Directory,
                    links: vec![],
                    nlink: 1,
                };
                self.put(&common, Place::Write, false);
            }
        }
    }

    fn is_writable(&self, path: &Path) -> bool {
        path.ancestors().any(|p| matches!(self.rules.places.get(p), Some(Rule { place: Place::Write, .. })))
    }

    /// The working directory, and files named by the command or on stdin, stay visible when they lie in a private place.
    fn shown_in_private(&mut self, run: &Run) {
        let facts = self.facts;
        let cwd = Found { real: facts.cwd.clone(), kind: Kind::Directory, links: vec![], nlink: 1 };
        let words = words(run).map(|word| facts.cwd.join(word));
        let stdio = facts.read_only_stdio.iter().map(|(_, path)| path.clone());
        let files =
            words.chain(stdio).filter_map(|path| facts.at(path)).filter(|found| found.kind == Kind::File);
        for found in files.chain([&cwd]).filter(|found| private::covers(&found.real)) {
            if !private::is_top(&found.real) && !private::is_closed(&found.real) {
                self.links(found);
                self.put(found, Place::Read, false);
            }
        }
    }

    /// Built-in names that make programs run code, where they lie in something writable.
    fn protected(&mut self) {
        let facts = self.facts;
        let lifted = self.literally_writable();
        let mut bases: Vec<(PathBuf, bool)> = vec![(facts.cwd.clone(), true)];
        bases.extend(facts.home.iter().map(|home| (home.clone(), true)));
        let writable =
            self.rules.places.iter().filter(|(_, rule)| rule.place == Place::Write && rule.directory);
        bases.extend(writable.map(|(path, _)| (path.clone(), true)));
        let mut names: Vec<(PathBuf, bool)> = Vec::new();
        for (base, pinned) in bases {
            names.extend(protected::names(Where::Everywhere).map(|n| (base.join(n), pinned)));
        }
        // A later run of fence outside is not to be somebody else's program.
        names.extend(facts.executable.iter().map(|path| (path.clone(), true)));
        // Nor is the command to write the next run's policy.
        names.extend(facts.policy_files.iter().map(|path| (path.clone(), true)));
        names.extend(facts.obeyed().into_iter().map(|path| (path, true)));
        // Nor to say what the next one moves aside.
        names.extend(facts.state.iter().map(|path| (path.clone(), true)));
        let mut found: Vec<(Found, bool)> =
            names.iter().filter_map(|(path, pinned)| facts.at(path).map(|f| (f.clone(), *pinned))).collect();
        let deep = |path: &PathBuf| facts.at(path).map(|f| (f.clone(), false));
        found.extend(facts.protected.iter().filter_map(deep));
        found.extend(facts.git.iter().flat_map(|repository| self.git_names(repository)));
        for (found, pinned) in found {
            if !lifted.contains(&found.real) {
                self.put(&found, Place::Deny, pinned);
            }
        }
        let modules = facts.git.iter().flat_map(|repository| &repository.modules);
        let config = modules.filter_map(|path| facts.at(path)).filter(|found| found.kind == Kind::File);
        self.rules.copied = config.map(|found| found.real.clone()).collect();
        // `.git` may be a link to what is protected.
        for repository in &facts.git {
            if let Some(found) = facts.at(repository.work_tree.join(".git")) {
                self.keep_links(found, true);
            }
        }
        // Writing below /sys changes the machine; a writable `/` does not mean that.
        if let Some(sys) = facts.at("/sys") {
            let guard = Rule::new(Place::Guard, true);
            self.rules.places.get_or_insert(sys.real.clone(), guard);
        }
    }

    fn git_names(&self, repository: &Repository) -> Vec<(Found, bool)> {
        let known = |path: &PathBuf| self.facts.at(path).map(|f| (f.clone(), true));
        repository.protect.iter().filter_map(known).collect()
    }

    /// A literal `allowWrite` entry for a protected name lifts its protection: the user said so.
    fn literally_writable(&self) -> Vec<PathBuf> {
        let facts = self.facts;
        let literal = self.policy.filesystem.allow_write.iter().filter(|e| !glob::is_glob(e));
        literal
            .filter_map(|e| facts.at(glob::normalize(e, &facts.cwd, facts.home.as_deref())))
            .filter(|found| self.planted(found).is_none())
            .map(|found| found.real.clone())
            .collect()
    }

    /// Sockets of the host outside /run: those that are not allowed are hidden. Those in a private place that are allowed are
    /// shown there.
    fn sockets(&mut self) {
        let facts = self.facts;
        let allowed = self.allowed(&self.policy.network.allow_unix_sockets, "network.allowUnixSockets");
        for found in &allowed {
            if private::covers(&found.real) {
                self.allow(found, Place::Read, "network.allowUnixSockets");
            }
            self.rules.sockets.push(found.real.clone());
        }
        // Without mounts Landlock and the filter say what can be connected to.
        let hidden = facts.sockets.iter().filter(|_| facts.engine != Engine::Landlock);
        for real in hidden.filter(|real| !allowed.iter().any(|a| real.starts_with(&a.real))) {
            let found = Found { real: real.clone(), kind: Kind::Other, links: Vec::new(), nlink: 1 };
            self.put(&found, Place::Mask, false);
            self.rules.hidden_sockets.push(real.clone());
        }
    }

    fn denied(&mut self) {
        let fs = &self.policy.filesystem;
        for found in self.closed(&fs.deny_write) {
            self.deny(&found, Place::Deny, true);
        }
        for found in self.closed(&fs.deny_read) {
            self.deny(&found, Place::Mask, true);
        }
        for (found, literal) in self.entries(&fs.deny_write, "filesystem.denyWrite") {
            self.of_a_process(&found, "filesystem.denyWrite");
            for found in self.everywhere(&found) {
                self.deny(&found, Place::Deny, literal);
            }
        }
        for (found, literal) in self.entries(&fs.deny_read, "filesystem.denyRead") {
            self.of_a_process(&found, "filesystem.denyRead");
            if found.kind == Kind::File && found.nlink > 1 {
                self.rules.warnings.push(format!(
                    "filesystem.denyRead hides {} but not its other {} hard links: they can be read under their names",
                    found.real.display(),
                    found.nlink - 1
                ));
            }
            // The mask moves with a directory above it, but then the next run would find nothing under this name.
            for found in self.everywhere(&found) {
                self.deny(&found, Place::Mask, literal);
            }
        }
        // What starts Windows programs, and its sockets, whatever shows them. Registered or not: `/init` works by itself too.
        if fs.wsl_interop == Some(false) {
            for found in ["/init", "/run/WSL"].iter().filter_map(|path| self.facts.at(path)) {
                self.deny(found, Place::Mask, false);
            }
        }
    }

    /// A denial that the user wrote.
    fn deny(&mut self, found: &Found, place: Place, pinned: bool) {
        self.rules.named.add(found.real.clone());
        found.links.iter().for_each(|(link, _)| _ = self.rules.named.add(link.clone()));
        self.put(found, place, pinned);
    }

    /// A path and the others of the same file.
    fn everywhere(&self, found: &Found) -> Vec<Found> {
        let others = self.facts.aliases.get(&found.real).into_iter().flatten();
        let others = others.map(|real| Found { real: real.clone(), links: Vec::new(), ..*found });
        std::iter::once(found.clone()).chain(others).collect()
    }

    /// What a denial names and nobody can look up, because a directory on the way is closed to its own owner: the command
    /// could open it again, so the denial is of that directory.
    fn closed(&self, list: &[String]) -> Vec<Found> {
        let facts = self.facts;
        let path = |entry: &String| glob::normalize(entry, &facts.cwd, facts.home.as_deref());
        let literal =
            list.iter().filter(|entry| !glob::is_glob(entry)).filter_map(|e| facts.blocked.get(&path(e)));
        let searched = facts.closed.iter().filter(|_| list.iter().any(|entry| glob::is_glob(entry)));
        let writable = |found: &&Found| self.writable_roots.iter().any(|root| found.real.starts_with(root));
        literal.chain(searched).filter(writable).cloned().collect()
    }

    /// What stands at `/proc/NUMBER` outside is another process inside, or none.
    fn of_a_process(&mut self, found: &Found, name: &str) {
        let mut components = found.real.strip_prefix("/proc").into_iter().flat_map(Path::components);
        let number = components.next().and_then(|c| c.as_os_str().to_str()?.parse::<u32>().ok());
        if number.is_some() {
            self.rules.unenforced.push(format!(
                "{name} {} is not enforced: the sandbox has processes of its own in /proc",
                found.real.display()
            ));
        }
    }

    fn exposed(&mut self, run: &Run) {
        let both = [(&run.expose_read, false), (&run.expose_write, true)];
        for (path, writable) in both.into_iter().flat_map(|(list, w)| list.iter().map(move |p| (p, w))) {
            let Some(found) = self.facts.at(self.facts.cwd.join(path)).cloned() else {
                self.rules.warnings.push(format!(
                    "ExposeHostPath: skipping {path:?} (does not exist on host at sandbox-launch time)"
                ));
                continue;
            };
            if let Some(link) = self.planted(&found) {
                self.rules.warnings.push(format!(
                    "--expose-host-path does not open {}: it is reached through the symbolic link {}, which the command \
                     can replace; name the target itself",
                    found.real.display(),
                    link.display()
                ));
                continue;
            }
            if found.real.starts_with("/proc") {
                let remark =
                    format!("--expose-host-path {}: the sandbox has its own /proc", found.real.display());
                self.rules.remarks.push(remark);
                continue;
            }
            self.links(&found);
            self.put(&found, Place::Expose { writable }, false);
        }
    }
}
