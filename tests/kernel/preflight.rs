//! Command rules on the line that is typed, from end to end: each way to write it runs outside, and is refused inside.

use crate::harness::{World, everybody};
use crate::need;

/// A program that writes down that it ran.
const GIT: &str = "#!/bin/sh\necho \"$@\" >> ran\n";
const POLICY: &str = r#"{"filesystem": {"allowWrite": ["."]}, "command": {"deny": ["git push"]}}"#;

#[test]
fn a_denied_command_does_not_run_however_it_is_written() {
    need!(program "bash");
    for who in everybody() {
        let world = World::new(who);
        world.write("policy.json", POLICY);
        let git = world.write("git", GIT);
        std::fs::set_permissions(&git, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let ran = world.work().join("ran");
        let argv = POLICY.replace("\"deny\"", "\"runtimeExecPolicy\": \"argv\", \"deny\"");
        for line in [
            "./git push",
            "./git -C . push",
            "true & ./git push; wait",
            "(./git push)",
            "{ ./git push; }",
            "if true; then ./git push; fi",
            "true $(./git push)",
            "true `./git push`",
            "true\n./git push",
            "for x in 1; do ./git push; done",
            "f() { ./git push; }; f",
            "cat <<E\n$(./git push)\nE",
            "bash <<E\n./git push\nE",
            "bash -c 'eval \"./git push\"'",
            "./\"git\" pu\\sh",
            "$'./g\\x69t' push",
            "env -S './git push'",
            "xargs ./git <<< push",
            "find . -name git -exec {} \\; -exec ./git push \\;",
            "X=1 timeout 9 nice ./git push",
            "exec -a ls ./git push",
        ] {
            _ = std::fs::remove_file(&ran);
            world.bare("bash", ["-c", line]);
            let log = std::fs::read_to_string(&ran).unwrap_or_default();
            assert!(log.contains("push"), "outside: {line:?}: {log:?}");
            std::fs::remove_file(&ran).unwrap();
            for policy in [POLICY, &argv] {
                world.write("policy.json", policy);
                world.run(["-s", "policy.json", "-c", line]).status(126).says("matches \"git push\"");
                world.fenced(policy, ["bash", "-c", line]).status(126).says("matches \"git push\"");
                assert!(!ran.exists(), "{line:?}");
            }
        }
        for line in ["./git status", "echo git push", "true # ; ./git push", "cat <<'E'\n$(./git push)\nE"] {
            world.run(["-s", "policy.json", "-c", line]).ok();
        }
    }
}

#[test]
fn what_is_not_known_before_the_run_is_said() {
    need!(program "bash");
    for who in everybody() {
        let world = World::new(who);
        world.write("policy.json", POLICY);
        world
            .run(["-s", "policy.json", "-d", "-c", "X=true; $X push"])
            .ok()
            .says("not known before it runs")
            .says("\"$X push\"");
        world
            .run(["-s", "policy.json", "-c", "echo 'a"])
            .status(2)
            .says("not shell grammar that fence reads");
        world
            .run(["-s", "policy.json", "-c", "echo 'a; git push"])
            .status(126)
            .says("any word may begin a command");
    }
}
