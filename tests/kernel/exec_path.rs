//! `command.runtimeExecPolicy: "path"`: what a rule of one word names can't be started, whoever tries.

use crate::harness::{World, everybody};
use crate::need;

/// A program that no check of the literal command sees.
fn script(world: &World, text: &str) -> std::path::PathBuf {
    world.write("script.sh", text)
}

/// Where the host has a program.
fn outside(world: &World, name: &str) -> String {
    world.bare("sh", ["-c", &format!("command -v {name}")]).ok().out.trim().to_string()
}

#[test]
fn a_denied_program_is_hidden_wherever_it_is_started() {
    need!(program "dd");
    for who in everybody() {
        let world = World::new(who);
        let dd = outside(&world, "dd");
        // env says 126 where a shell says "not found" of what is there and can't be executed.
        let lines = format!(
            "env dd if=/dev/null of=/dev/null 2>/dev/null; echo name $?\n\
             env {dd} if=/dev/null of=/dev/null 2>/dev/null; echo path $?\n\
             ln -sf {dd} link; env ./link if=/dev/null of=/dev/null 2>/dev/null; echo link $?\n"
        );
        let script = script(&world, &lines);
        let sh = |policy: &str| world.fenced(policy, ["sh".as_ref(), script.as_os_str()]).ok().out;
        let write = r#""filesystem": {"allowWrite": ["."]}"#;
        assert_eq!(sh(&format!("{{{write}}}")), "name 0\npath 0\nlink 0\n");
        let denied = sh(&format!(r#"{{{write}, "command": {{"deny": ["dd"]}}}}"#));
        assert_eq!(denied, "name 126\npath 126\nlink 126\n");
    }
}

#[test]
fn rules_of_several_words_and_allow_hide_nothing() {
    need!(program "dd");
    for who in everybody() {
        let world = World::new(who);
        let script = script(&world, "env dd if=/dev/null of=/dev/null 2>/dev/null; echo $?");
        let sh = |policy: &str| world.fenced(policy, ["sh".as_ref(), script.as_os_str()]).ok().out;
        assert_eq!(sh(r#"{"command": {"deny": ["dd of="]}}"#), "0\n");
        // As in the original: `allow` lifts no mask.
        assert_eq!(sh(r#"{"command": {"deny": ["dd"], "allow": ["dd if="]}}"#), "126\n");
    }
}

#[test]
fn the_shell_of_the_line_itself_stays() {
    need!(program "bash");
    for who in everybody() {
        let world = World::new(who);
        let policy = world.root.join("policy.json");
        std::fs::write(&policy, r#"{"command": {"deny": ["bash"]}}"#).unwrap();
        let ran = world.run(["-s".as_ref(), policy.as_os_str(), "-c".as_ref(), "echo runs".as_ref()]).ok();
        assert_eq!(ran.out, "runs\n");
        assert!(ran.err.contains("the command line runs through it"), "{ran:?}");
    }
}
