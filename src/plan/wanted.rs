//! What a plan depends on: the paths and patterns that the probe has to look at before there can be one.

use super::private;
use crate::cli::Run;
use crate::config::Policy;
use crate::facts::{Facts, Kind};
use crate::rules::glob;
use crate::tables::paths::{DEFAULT_READ, DEFAULT_READ_HOME};
use crate::tables::protected::{self, Where};
use std::path::{Path, PathBuf};

/// Every literal path whose state on the host the plan depends on: the probe looks at each. `uid`, `cwd` and `home` are the
/// caller's.
pub fn literal_paths(policy: &Policy, run: &Run, uid: u32, cwd: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let fs = &policy.filesystem;
    let sockets = &policy.network.allow_unix_sockets;
    let lists = [&fs.allow_read, &fs.allow_execute, &fs.deny_read, &fs.allow_write, &fs.deny_write, sockets];
    let mut paths: Vec<PathBuf> = lists
        .into_iter()
        .flatten()
        .filter(|entry| !glob::is_glob(entry))
        .map(|entry| glob::normalize(entry, cwd, home))
        .collect();
    paths.extend(policy.devices.allow.iter().map(PathBuf::from));
    paths.extend(run.expose_read.iter().chain(&run.expose_write).map(|p| cwd.join(p)));
    paths.extend(private::probed());
    if run.services_on_host {
        paths.extend(private::engines(uid));
    }
    // Names are protected where something is writable; with nothing writable there is nothing to look for.
    if !fs.allow_write.is_empty() {
        paths.extend(protected_paths(policy, cwd, home));
    }
    if fs.default_deny_read && !fs.strict_deny_read {
        paths.extend(DEFAULT_READ.iter().map(PathBuf::from));
        paths.extend(home.into_iter().flat_map(|h| DEFAULT_READ_HOME.iter().map(|name| h.join(name))));
    }
    paths
}

/// Where built-in protected names may stand: the working and the home directory and what is literally writable.
fn protected_paths(policy: &Policy, cwd: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let mut bases: Vec<PathBuf> = vec![cwd.to_path_buf()];
    bases.extend(home.map(Path::to_path_buf));
    bases.extend(
        policy
            .filesystem
            .allow_write
            .iter()
            .filter(|e| !glob::is_glob(e))
            .map(|entry| glob::normalize(entry, cwd, home)),
    );
    let names = || protected::names(Where::Everywhere);
    bases.iter().flat_map(|base| names().map(move |name| base.join(name))).collect()
}

/// Paths that are watched when they do not exist: what `denyWrite` names, and built-in names in `bases`.
pub fn watched_paths(policy: &Policy, cwd: &Path, home: Option<&Path>, bases: &[PathBuf]) -> Vec<PathBuf> {
    let denied = policy.filesystem.deny_write.iter().filter(|entry| !glob::is_glob(entry));
    let mut paths: Vec<PathBuf> = denied.map(|entry| glob::normalize(entry, cwd, home)).collect();
    let names = || protected::names(Where::Everywhere);
    paths.extend(bases.iter().flat_map(|base| names().map(move |name| base.join(name))));
    paths.push(cwd.join(".git"));
    paths
}

/// The glob patterns of the policy, as written.
pub fn glob_patterns(policy: &Policy) -> Vec<String> {
    let fs = &policy.filesystem;
    let sockets = &policy.network.allow_unix_sockets;
    let lists = [&fs.allow_read, &fs.allow_execute, &fs.deny_read, &fs.allow_write, &fs.deny_write, sockets];
    let mut patterns: Vec<String> =
        lists.into_iter().flatten().filter(|e| glob::is_glob(e)).cloned().collect();
    crate::order::set(&mut patterns);
    patterns
}

/// Real paths of the directories that the policy makes writable.
pub fn writable_roots(policy: &Policy, facts: &Facts) -> Vec<PathBuf> {
    let mut roots = Vec::new();
    for entry in &policy.filesystem.allow_write {
        if glob::is_glob(entry) {
            roots.extend(facts.globs.get(entry).into_iter().flatten());
        } else {
            roots.extend(facts.at(glob::normalize(entry, &facts.cwd, facts.home.as_deref())));
        }
    }
    roots.into_iter().filter(|f| f.kind == Kind::Directory).map(|f| f.real.clone()).collect()
}

/// The words of the command that may name files.
pub fn words(run: &Run) -> impl Iterator<Item = &Path> {
    let words = match &run.command {
        crate::cli::Command::Argv(words) => words.as_slice(),
        crate::cli::Command::Line { params, .. } => params.as_slice(),
    };
    words.iter().map(Path::new)
}
