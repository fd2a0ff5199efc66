//! Patterns and protected names where directories can't be listed.

use crate::harness::{Ran, World, everybody};
use std::fs::{Permissions, read_to_string, set_permissions};
use std::os::unix::fs::PermissionsExt;

const POLICY: &str = r#"{"filesystem": {"allowWrite": ["."], "denyRead": ["**/.env"]}}"#;

#[test]
fn a_directory_above_that_cannot_be_listed_hides_no_match() {
    for who in everybody() {
        let world = World::new(who);
        world.write("sub/.env", "secret");
        world.write("sub/.bashrc", "run");
        world.bare("cat", ["sub/.env"]).ok().says("secret");
        let mut command = world.fenced_command(POLICY, ["sh", "-c", "cat sub/.env; echo more > sub/.bashrc"]);
        set_permissions(&world.root, Permissions::from_mode(0o111)).unwrap();
        let ran = command.output();
        set_permissions(&world.root, Permissions::from_mode(0o755)).unwrap();
        let ran = Ran::new(ran.unwrap());
        ran.says("sub/.env: Permission denied");
        assert_eq!(read_to_string(world.work().join("sub/.bashrc")).unwrap(), "run");
    }
}

#[test]
fn a_directory_that_cannot_be_searched_is_a_remark() {
    for who in everybody().into_iter().filter(|who| who.uid != 0) {
        let world = World::new(who);
        let closed = world.mkdir("closed");
        set_permissions(&closed, Permissions::from_mode(0)).unwrap();
        let remark = format!("filesystem globs: could not search {}: Permission denied", closed.display());
        world.write("policy.json", POLICY);
        let ran = world.run(["-d", "-s", "policy.json", "--", "true"]).ok().says(&remark);
        assert_eq!(ran.err.matches("could not search").count(), 1, "{ran:?}");
        assert!(!world.fenced(POLICY, ["true"]).ok().err.contains("could not search"));
    }
}
