//! The first things a user tries.

use crate::harness::{World, everybody};

#[test]
fn the_command_runs_and_cannot_write_to_the_system() {
    for who in everybody() {
        let world = World::new(who);
        let ran = world.run(["--", "sh", "-c", "echo ok; touch /etc/x"]).status(1);
        assert_eq!(ran.out, "ok\n");
        assert!(
            ran.err.contains("Read-only file system") || ran.err.contains("Permission denied"),
            "{ran:?}"
        );
    }
}

#[test]
fn a_writable_directory_is_writable_and_nothing_else_is() {
    for who in everybody() {
        let world = World::new(who);
        let policy = r#"{"filesystem": {"allowWrite": ["."]}}"#;
        world.fenced(policy, ["sh", "-c", "echo text > inside && mkdir -p a/b && mv inside a/b/moved"]).ok();
        assert_eq!(std::fs::read_to_string(world.work().join("a/b/moved")).unwrap(), "text\n");
        world.fenced(policy, ["sh", "-c", "echo x > ../outside"]).says("Read-only file system");
        assert!(!world.root.join("outside").exists());
    }
}
