//! Finding configuration files and following `extends`, on real directories.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use fence::config::{Env, Loaded, Source, load};

/// A directory that goes away with the test, holding a home and a project.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("fence-load-{}-{name}", std::process::id()));
        for folder in ["home/.config/fence", "project/sub/deep", "xdg/fence"] {
            fs::create_dir_all(path.join(folder)).unwrap();
        }
        Dir(path.canonicalize().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn env(&self) -> Env {
        Env { cwd: self.path("project/sub/deep"), home: Some(self.path("home")), xdg_config_home: None }
    }

    fn load(&self) -> Loaded {
        load(None, None, &self.env(), false).unwrap()
    }

    fn load_named(&self, settings: &str) -> Result<Loaded, String> {
        load(Some(OsStr::new(settings)), None, &self.env(), false).map_err(|e| e.to_string())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_best_file_is_found_alone() {
    let dir = Dir::new("order");
    let none = dir.path("home/.config/fence/fence.json");
    assert_eq!(dir.load().source, Source::Default(Some(none.clone())));
    assert_eq!(dir.load().chain, [format!("builtin default (no config loaded from {})", none.display())]);

    // Each file is better than all that came before it.
    let users = [
        "home/.fence.json",
        "home/.fence.jsonc",
        "home/.config/fence/fence.json",
        "home/.config/fence/fence.jsonc",
    ];
    for name in users {
        let path = dir.write(name, "{\"allowPty\": true}");
        assert_eq!(dir.load().source, Source::User(path));
    }
    let projects =
        ["project/fence.json", "project/fence.jsonc", "project/sub/fence.json", "project/sub/fence.jsonc"];
    for name in projects {
        let path = dir.write(name, "");
        let loaded = dir.load();
        assert_eq!(loaded.source, Source::Project(path.clone()));
        assert!(!loaded.policy.allow_pty, "nothing is merged by itself");
        assert_eq!(loaded.file_paths, [path]);
    }
    // A directory of that name is passed over; a link to a file is as good as the file.
    fs::create_dir(dir.path("project/sub/deep/fence.jsonc")).unwrap();
    symlink(dir.path("home/.fence.json"), dir.path("project/sub/deep/fence.json")).unwrap();
    assert!(dir.load().policy.allow_pty);
}

#[test]
fn a_relative_xdg_config_home_does_not_count() {
    let dir = Dir::new("xdg");
    let home = dir.write("home/.config/fence/fence.json", "");
    let xdg = dir.write("xdg/fence/fence.json", "");
    let source = |value: PathBuf| {
        let env = Env { xdg_config_home: Some(value), ..dir.env() };
        load(None, None, &env, false).unwrap().source
    };
    assert_eq!(source(dir.path("xdg")), Source::User(xdg));
    assert_eq!(source("xdg".into()), Source::User(home));
    let nowhere = Env { home: None, ..dir.env() };
    assert_eq!(load(None, None, &nowhere, false).unwrap().source, Source::Default(None));
}

#[test]
fn named_files() {
    let dir = Dir::new("named");
    let empty = dir.write("project/sub/deep/empty", " \n");
    assert_eq!(dir.load_named("empty").unwrap().source, Source::Settings(empty));
    let here = dir.env().cwd.display().to_string();
    assert_eq!(
        dir.load_named("nope.json").unwrap_err(),
        format!("settings file not found: {here}/nope.json")
    );
    assert_eq!(dir.load_named("./x/..").unwrap_err(), format!("settings path is a directory: {here}"));
    assert_eq!(dir.load_named("~/x").unwrap_err(), format!("settings file not found: {here}/~/x"));
}

#[test]
fn a_template_wins_over_a_named_file() {
    let dir = Dir::new("template");
    let loaded = load(Some(OsStr::new("/nope")), Some("code-strict.json"), &dir.env(), false).unwrap();
    assert_eq!(loaded.source, Source::Template("code-strict".into()));
    assert_eq!(loaded.chain, ["builtin template: code-strict", "builtin template: code"]);
    let policy = loaded.policy;
    assert!(policy.filesystem.default_deny_read && policy.network.allow_local_binding);
    // The groups of the code template have become hosts.
    assert_eq!(policy.network.allowed_domains.len(), 41);
    assert!(policy.network.allowed_domains.iter().all(|name| !name.starts_with('@')));
    assert_eq!(
        load(None, Some("nope"), &dir.env(), false).unwrap_err().to_string(),
        "failed to load template: template \"nope\" not found; Use --list-templates to see available templates"
    );
}

#[test]
fn extends_leads_to_files_templates_and_the_user_file() {
    let dir = Dir::new("extends");
    let legacy = dir.write("home/.fence.json", "{\"extends\": \"git-readonly\"}");
    let middle =
        dir.write("project/middle.json", "{\"extends\": \"@base\", \"command\": {\"deny\": [\"a\"]}}");
    let root = dir.write(
        "project/sub/fence.jsonc",
        "{\"extends\": \"../middle.json\", \"command\": {\"deny\": [\"b\"]}}",
    );
    let loaded = dir.load();
    assert_eq!(
        loaded.chain,
        [
            format!("project config: {}", root.display()),
            format!("file: {}", middle.display()),
            format!("@base user config: {}", legacy.display()),
            "builtin template: git-readonly".to_string(),
        ]
    );
    assert_eq!(loaded.file_paths, [root, middle, legacy]);
    let deny = loaded.policy.command.deny;
    assert_eq!(
        (deny.first().unwrap().as_str(), &deny[deny.len() - 2..]),
        ("git push", &["a".to_string(), "b".into()][..])
    );
}

#[test]
fn circles_are_seen_through_links() {
    let dir = Dir::new("circle");
    dir.write("project/a.json", "{\"extends\": \"./link.json\"}");
    symlink(dir.path("project/a.json"), dir.path("project/link.json")).unwrap();
    let text = dir.load_named("../../a.json").unwrap_err();
    assert_eq!(text, "failed to resolve extends: circular extends detected: \"./link.json\"");

    // The user's file can't extend itself as @base either.
    dir.write("home/.config/fence/fence.json", "{\"extends\": \"@base\"}");
    let text = load(None, None, &dir.env(), false).unwrap_err().to_string();
    assert_eq!(text, "failed to resolve extends: circular extends detected: \"@base\"");
}

#[test]
fn ten_steps_are_followed_and_no_more() {
    let dir = Dir::new("deep");
    for step in 0..11 {
        dir.write(&format!("project/f{step}.json"), &format!("{{\"extends\": \"./f{}.json\"}}", step + 1));
    }
    dir.write("project/f11.json", "{\"allowPty\": true}");
    assert!(dir.load_named("../../f1.json").unwrap().policy.allow_pty);
    let text = dir.load_named("../../f0.json").unwrap_err();
    assert_eq!(text, "failed to resolve extends: extends chain too deep (max 10)");
}

#[test]
fn strict_reading_denies_reading_by_default() {
    let dir = Dir::new("strict");
    dir.write("project/fence.json", "{\"filesystem\": {\"strictDenyRead\": true}}");
    let loaded = dir.load();
    assert!(loaded.policy.filesystem.default_deny_read);
    assert!(!loaded.merged.policy.filesystem.default_deny_read, "config show prints what was written");
}

#[test]
fn a_found_project_file_that_allows_something_is_told() {
    let dir = Dir::new("notice");
    let path =
        dir.write("project/fence.json", "{\"filesystem\": {\"allowWrite\": [\".\"]}, \"allowPty\": true}");
    let notice = dir.load().notice().unwrap();
    assert!(
        notice.contains(&path.display().to_string()) && notice.ends_with(": filesystem.allowWrite"),
        "{notice}"
    );
    assert_eq!(dir.load_named("../../fence.json").unwrap().notice(), None);
    dir.write("project/fence.json", "{\"filesystem\": {\"denyWrite\": [\"x\"]}}");
    assert_eq!(dir.load().notice(), None);
    fs::remove_file(path).unwrap();
    dir.write("home/.fence.json", "{\"network\": {\"allowedDomains\": [\"*\"]}}");
    assert_eq!(dir.load().notice(), None, "the user's own file");
}

#[test]
fn what_a_tolerant_reading_lets_pass_is_told() {
    let dir = Dir::new("tolerant");
    let path = dir.write("project/fence.json", "{\"alowPty\": true}");
    let place = format!("{}:1:2: alowPty: unknown key; did you mean \"allowPty\"?", path.display());
    assert_eq!(load(None, None, &dir.env(), true).unwrap().warnings, [place]);
    assert!(load(None, None, &dir.env(), false).is_err());
}
