//! The original's answers (tests/data/compat/glob.tsv) against ours, in trees made for each row.
#![allow(clippy::unwrap_used, reason = "a test stops on what it does not expect")]

use super::protected::Wanted;
use super::walk;
use crate::rules::{files, glob};
use crate::testdata::{self, Row};
use std::fs;
use std::path::{Path, PathBuf};

const TABLE: &str = include_str!("../../tests/data/compat/glob.tsv");

/// A directory of its own, removed at the end.
pub(super) struct Temp(pub(super) PathBuf);

impl Temp {
    pub(super) fn new(name: &str) -> Temp {
        let path =
            std::env::temp_dir().canonicalize().unwrap().join(format!("fence-{}-{name}", std::process::id()));
        _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Temp(path)
    }

    /// `d/`: a directory, `a -> b`: a link, else a file; directories above are made.
    pub(super) fn make(&self, entries: &[impl AsRef<str>]) {
        for entry in entries {
            let (name, target) =
                entry.as_ref().split_once(" -> ").map_or((entry.as_ref(), None), |(n, t)| (n, Some(t)));
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match target {
                Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                None if name.ends_with('/') => fs::create_dir_all(path).unwrap(),
                None => fs::write(path, "").unwrap(),
            }
        }
    }

    /// Paths relative to the top, as text.
    pub(super) fn relative(&self, paths: &[PathBuf]) -> Vec<String> {
        paths.iter().map(|p| p.strip_prefix(&self.0).unwrap_or(p).to_str().unwrap().to_string()).collect()
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

fn rows(kind: &str) -> Vec<Row> {
    testdata::table(TABLE).into_iter().filter(|row| row["kind"] == kind).collect()
}

/// The original's answer, or ours where `ours_by_design` says `ours: ANSWER because REASON`.
fn expected(row: &Row) -> String {
    let ours = &row["ours_by_design"];
    match ours.strip_prefix("ours: ") {
        Some(answer) => answer.split_once(" because ").unwrap().0.to_string(),
        None => {
            assert_eq!(ours, "same", "{row:?}");
            row["original"].clone()
        }
    }
}

fn tree(row: &Row) -> Temp {
    let temp = Temp::new(&row["id"]);
    temp.make(&testdata::list(&row["tree"]));
    fs::create_dir_all(temp.0.join(&row["cwd"])).unwrap();
    temp
}

#[test]
fn expansion() {
    for row in rows("expand") {
        let temp = tree(&row);
        let (cwd, home, id) = (temp.0.join(&row["cwd"]), temp.0.join("home"), &row["id"]);
        let patterns: Vec<String> = testdata::list(&row["input"])
            .into_iter()
            .map(|pattern| pattern.replace("ROOT", temp.0.to_str().unwrap()))
            .collect();
        let found = if patterns.iter().all(|pattern| glob::is_glob(pattern)) {
            walk::expand(&patterns, &cwd, Some(&home), None).unwrap().matches.concat()
        } else {
            patterns.iter().map(|path| glob::normalize(path, &cwd, Some(&home))).collect()
        };
        assert_eq!(temp.relative(&found), testdata::list(&expected(&row)), "{id} {patterns:?}");
    }
}

#[test]
fn protected_names() {
    for row in rows("protected-walk") {
        let temp = tree(&row);
        let depth = row["input"].parse().unwrap();
        let wanted = Wanted { top: &temp.0.join(&row["cwd"]), depth, git_config: false };
        let found = walk::expand(&[], wanted.top, None, Some(wanted)).unwrap();
        assert_eq!(temp.relative(&found.protected.paths), testdata::list(&expected(&row)), "{}", row["id"]);
    }
}

#[test]
fn which_are_patterns() {
    for row in rows("is-glob") {
        assert_eq!(glob::is_glob(&row["input"]).to_string(), expected(&row), "{}", row["id"]);
    }
}

#[test]
fn normalized() {
    for row in rows("normalize") {
        let place = row["note"].strip_prefix("cwd=").unwrap();
        let (cwd, home) = place.split_once(" HOME=").unwrap();
        let found = glob::normalize(&row["input"], Path::new(cwd), Some(Path::new(home)));
        assert_eq!(found.to_str().unwrap(), expected(&row).trim_matches('"'), "{}", row["id"]);
    }
}

/// The verdict on one path as the table writes it.
fn verdict(result: Result<(), String>) -> (String, String) {
    result.map_or_else(|why| ("blocked".into(), why), |()| ("allowed".into(), String::new()))
}

#[test]
fn announced_reads_and_writes_get_the_originals_verdicts() {
    // What the original's default list leads to on a host whose /bin, /sbin, /lib and /lib64 are links into /usr.
    let system: Vec<PathBuf> =
        ["/usr", "/etc", "/proc", "/sys", "/dev", "/opt", "/run", "/tmp", "/nix", "/snap"]
            .map(PathBuf::from)
            .into();
    for row in rows("hook-write").iter().chain(&rows("hook-read")) {
        let reading = crate::config::file::read("row", &row["config"], false).unwrap();
        let fs = &reading.file.policy.filesystem;
        let cwd = Some(PathBuf::from(&row["cwd"])).filter(|cwd| cwd.is_absolute());
        let place = files::Place { cwd, home: Some("/home/u".into()) };
        let result = if row["kind"] == "hook-write" {
            files::check_write(fs, &row["input"], &place)
        } else {
            files::check_read(fs, &row["input"], &place, &system)
        };
        assert_eq!(row["ours_by_design"], "same", "{}", row["id"]);
        assert_eq!(verdict(result), (row["original"].clone(), row["message"].clone()), "{}", row["id"]);
    }
}

#[test]
fn every_row_is_tested() {
    let tested = ["expand", "protected-walk", "is-glob", "normalize", "hook-write", "hook-read"];
    let table = testdata::table(TABLE);
    assert!(table.len() > 100 && table.iter().all(|row| tested.contains(&row["kind"].as_str())));
}
