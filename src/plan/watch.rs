//! Names that must not appear while the command runs, and names whose appearance is said: what can't be mounted over without
//! leaving something on the host.

use super::files::{Place, Rule, Rules};
use crate::config::Policy;
use crate::facts::{Facts, Missing};
use crate::map::{Map, Set};
use crate::rules::glob;
use crate::tables::protected::{self, Where};
use std::path::{Path, PathBuf};

/// A path that is watched, and what happens when something stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Canonical as far as it exists.
    pub path: PathBuf,
    /// What happens.
    pub then: Then,
    /// The setting that lets the command make it.
    pub allow: String,
    /// It exists, protected: it counts from when the host has removed it.
    pub there: bool,
}

/// What happens to something that appeared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// It is moved aside at once: programs outside obey it by themselves, or the policy names it.
    Aside,
    /// It stays and is named at the end.
    Report,
    /// `path` is a directory that must not become a git repository without a `.git`: when it has all that git looks for, the
    /// first of these that was not there before is moved aside.
    Bare(Vec<&'static str>),
}

/// What makes git take a directory for a repository.
pub const BARE: [&str; 4] = ["HEAD", "commondir", "objects", "refs"];

/// The list for these rules. What must keep its place for it goes into `rules.held`: a directory that could be moved away
/// would take the watch with it.
pub fn watch(policy: &Policy, facts: &Facts, rules: &mut Rules) -> Vec<Watched> {
    // Without a writable place nothing can appear.
    if !rules.places.values().any(|rule| rule.place.opens()) {
        return Vec::new();
    }
    let lifted = lifted(policy, facts);
    let mut all: Vec<(Missing, Then, Option<&str>)> = Vec::new();
    let mut missing = |path: PathBuf, then: Then, allow: Option<&'static str>| {
        all.extend(facts.missing_at(&path).map(|missing| (missing, then, allow)));
    };
    for entry in policy.filesystem.deny_write.iter().filter(|entry| !glob::is_glob(entry)) {
        let path = glob::normalize(entry, &facts.cwd, facts.home.as_deref());
        missing(path, Then::Aside, Some("filesystem.denyWrite names it"));
    }
    facts.obeyed().into_iter().for_each(|path| missing(path, Then::Aside, None));
    let dot_git = if facts.inside_repository { Then::Aside } else { Then::Report };
    missing(facts.cwd.join(".git"), dot_git, None);
    // What is obeyed by itself only in the home directory is obeyed elsewhere by who goes there.
    for base in bases(facts, rules) {
        protected::names(Where::Everywhere).for_each(|name| missing(base.join(name), Then::Report, None));
    }
    for path in facts.git.iter().flat_map(|repository| &repository.absent) {
        missing(path.clone(), Then::Aside, None);
    }
    for (base, lacks) in &facts.not_bare {
        let allow = "make repositories in directories of their own";
        let here = Missing { real: base.clone(), there: base.clone(), links: Vec::new() };
        all.push((here, Then::Bare(lacks.clone()), Some(allow)));
    }
    let mut watched: Vec<Watched> = protected_now(policy, facts);
    watched.retain(|w| rules.places.get(&w.path).is_some_and(|rule| matches!(rule.place, Place::Deny)));
    let mut known: Set<PathBuf> = watched.iter().map(|w| (w.path.clone(), ())).collect();
    // Of directories: what has no rule of its own is as writable as its directory.
    let mut directories: Map<PathBuf, bool> = Map::new();
    for (missing, then, allow) in all {
        let bare = matches!(then, Then::Bare(_));
        let appears = if bare { missing.real.join(BARE[0]) } else { missing.real.clone() };
        let writable = match appears.parent().filter(|_| !rules.places.contains_key(&appears)) {
            Some(directory) => match directories.get(directory) {
                Some(writable) => *writable,
                None => *directories.get_or_insert(directory.into(), rules.writable(directory)),
            },
            None => rules.writable(&appears),
        };
        if !writable || !bare && (lifted.contains(&missing.real) || !known.add(missing.real.clone())) {
            continue;
        }
        if then != Then::Report {
            rules.hold(&missing);
        }
        let name = missing.real.display();
        let allow = allow.map_or_else(
            || format!("{:?} in filesystem.allowWrite allows it", name.to_string()),
            str::to_string,
        );
        watched.push(Watched { path: missing.real, then, allow, there: false });
    }
    watched
}

/// What must not come back when the host removes it: nobody could say who made it.
fn protected_now(policy: &Policy, facts: &Facts) -> Vec<Watched> {
    let denied = policy.filesystem.deny_write.iter().filter(|entry| !glob::is_glob(entry));
    let denied = denied.map(|entry| glob::normalize(entry, &facts.cwd, facts.home.as_deref()));
    let git = facts.git.iter().flat_map(|repository| repository.protect.iter().cloned());
    let found = denied
        .chain(facts.obeyed())
        .chain(git)
        .filter_map(|path| facts.at(&path).map(|found| found.real.clone()));
    let allow = "it was there at the start, and the host removed it";
    found.map(|path| Watched { path, then: Then::Aside, allow: allow.into(), there: true }).collect()
}

/// Literal `allowWrite` entries for what does not exist: the user said that it may appear.
fn lifted(policy: &Policy, facts: &Facts) -> Vec<PathBuf> {
    let literal = policy.filesystem.allow_write.iter().filter(|entry| !glob::is_glob(entry));
    literal.map(|entry| glob::normalize(entry, &facts.cwd, facts.home.as_deref())).collect()
}

/// The directories in which built-in names count: the working directory, the home directory, and writable ones.
fn bases(facts: &Facts, rules: &Rules) -> Vec<PathBuf> {
    let writable = rules.places.iter().filter(|(_, rule)| rule.place == Place::Write && rule.directory);
    let all = [&facts.cwd].into_iter().chain(&facts.home).cloned();
    all.chain(writable.map(|(path, _)| path.clone())).collect()
}

impl Rules {
    /// Whether the command can make something at `path` on the host.
    pub fn writable(&self, path: &Path) -> bool {
        let decisive =
            |rule: &&Rule| rule.place.opens() || matches!(rule.place, Place::Private(_) | Place::Guard);
        let nearest = path.ancestors().filter_map(|above| self.places.get(above)).find(decisive);
        nearest.is_some_and(|rule| rule.place.opens()) && !self.denies_writing(path)
    }

    /// Where something would appear stays where it is, and so do the links that lead there.
    fn hold(&mut self, missing: &Missing) {
        self.held.push(missing.there.clone());
        for (link, text) in missing.links.iter().filter(|(link, _)| !super::private::is_closed(link)) {
            let rule = Rule { pinned: true, ..Rule::new(Place::KeepLink(text.clone()), false) };
            self.places.get_or_insert(link.clone(), rule);
        }
    }
}
