//! Policies far larger than anybody writes by hand.

use crate::harness::{Ran, World, everybody};
use std::fs;
use std::time::Instant;

/// Paths in a policy; fs.mount-max is 100,000 by default.
const MANY: usize = 20_000;

/// `d0/f0`, …: 100 files to a directory.
fn path(n: usize) -> String {
    format!("d{}/f{n}", n / 100)
}

fn policy(list: &str) -> String {
    let paths: Vec<String> = (0..MANY).map(|n| format!("{:?}", path(n))).collect();
    format!(r#"{{"filesystem": {{"allowWrite": ["."], "{list}": [{}]}}}}"#, paths.join(","))
}

fn sh(world: &World, policy: &str, line: &str) -> Ran {
    let start = Instant::now();
    let ran = world.fenced(policy, ["sh", "-c", line]);
    eprintln!("{} s", start.elapsed().as_secs_f32());
    ran
}

#[test]
fn twenty_thousand_files_are_denied() {
    // One user: the work is the same for both.
    for who in everybody().into_iter().rev().take(1) {
        let world = World::new(who);
        for n in 0..MANY {
            if n % 100 == 0 {
                world.mkdir(format!("d{}", n / 100));
            }
            fs::write(world.work().join(path(n)), "KEY").unwrap();
        }
        world.bare("true", [""]).ok();
        let line = "for f in d0/f0 d50/f5050 d199/f19999; do cat $f; echo evil > $f; rm $f; done; touch d199/new; echo ran";
        if world.engine_lacks(&policy("denyRead"), "Exceeded maximum number of arguments") {
            continue;
        }
        let masked = sh(&world, &policy("denyRead"), line).ok();
        assert_eq!(masked.out, "ran\n");
        let kept = sh(&world, &policy("denyWrite"), line).ok();
        assert_eq!(kept.out, "KEYKEYKEYran\n");
        for n in [0, 5050, 19999] {
            assert_eq!(fs::read_to_string(world.work().join(path(n))).unwrap(), "KEY");
        }
        assert!(world.work().join("d199/new").exists());
    }
}

#[test]
fn twenty_thousand_paths_are_missing() {
    for who in everybody() {
        let world = World::new(who);
        for list in ["denyRead", "denyWrite", "allowWrite"] {
            let policy = policy(list).replacen(r#""allowWrite": ["."], "allowWrite""#, r#""allowWrite""#, 1);
            assert_eq!(sh(&world, &policy, "ls").ok().out, "");
        }
    }
}

#[test]
fn a_glob_with_thousands_of_matches_holds() {
    for who in everybody().into_iter().rev().take(1) {
        let world = World::new(who);
        for n in 0..2000 {
            world.write(format!("d{}/{n}.key", n % 50), "KEY");
        }
        let policy = r#"{"filesystem": {"allowWrite": ["."], "denyRead": ["**/*.key"]}}"#;
        assert_eq!(sh(&world, policy, "cat d*/*.key; touch new").ok().out, "");
        assert!(world.work().join("new").exists());
    }
}
