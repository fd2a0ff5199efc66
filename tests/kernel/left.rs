//! What a run leaves behind that somebody should look at: one line each with `-m`, and nothing without, or when there is
//! nothing to say.

use crate::harness::{Ran, World, everybody};
use crate::need;

const POLICY: &str =
    r#"{"filesystem": {"allowWrite": ["."], "denyRead": ["**/*.key"], "denyWrite": ["**/.env"]}}"#;

fn run(world: &World, flags: &[&str], line: &str) -> Ran {
    let policy = world.write("../p.json", POLICY);
    world.run([flags, &["-s", policy.to_str().unwrap(), "--", "sh", "-ec", line]].concat())
}

fn left(ran: &Ran) -> Vec<&str> {
    ran.err.lines().filter(|line| line.contains(" appeared")).collect()
}

#[test]
fn what_a_run_leaves_is_said_with_m() {
    for who in everybody() {
        let world = World::new(who);
        world.bare("sh", ["-ec", "mkdir old; touch old/.env old/x; ln -s /etc/passwd old/link; ln -s x old/in; chmod u+s old/x"]).ok();
        std::thread::sleep(std::time::Duration::from_millis(30));
        let acts = [
            ("ln -s /etc/shadow out; ln -s ../../elsewhere old/up", "lead out", "out"),
            (
                "mkdir d; ln -s /nowhere/at/all d/dangling; ln -s d inside; ln -s ../old/x d/inside",
                "lead out",
                "d/dangling",
            ),
            ("cp old/x s; chmod 4755 s; cp old/x g; chmod 2755 g", "set-user-ID", "/s"),
            ("mkdir -p a/b/c/d/e; touch a/b/c/d/e/.env a/my.key", "patterns", "a/b/c/d/e/.env"),
            (
                "mkdir -p app/.vscode; touch app/.bashrc app/.mcp.json; mkdir -p copy/.git",
                "programs obey",
                "app/.vscode",
            ),
        ];
        for (act, says, path) in acts {
            let ran = run(&world, &["-m"], act).ok();
            let lines = left(&ran);
            assert!(
                lines.len() == 1 && lines[0].contains(says) && lines[0].contains(path),
                "{who:?} {act}: {ran:?}"
            );
            // Only what is new: the next run says nothing, and nobody says it who was not asked.
            std::thread::sleep(std::time::Duration::from_millis(30));
            let quiet = run(&world, &["-m"], "cat old/x; touch new; rm new; ln -s new rel; rm rel").ok();
            assert_eq!(left(&quiet), [""; 0], "{who:?} {act}");
            world.bare("sh", ["-c", "rm -rf out old/up d inside s g a app copy"]).ok();
        }
        assert_eq!(left(&run(&world, &[], acts[0].0).ok()), [""; 0]);
        // Bounded.
        let many = run(
            &world,
            &["-m"],
            "rm -f out; i=0; while [ $i -lt 500 ]; do ln -s /etc/passwd l$i; i=$((i+1)); done",
        )
        .ok();
        let lines = left(&many);
        assert!(lines.len() == 1 && lines[0].len() < 1000 && lines[0].contains("more"), "{lines:?}");
    }
}

#[test]
fn a_late_match_is_not_covered_and_that_is_said() {
    need!(program "git");
    for who in everybody() {
        let world = World::new(who);
        let ran = run(&world, &["-m"], "mkdir -p a/b; echo KEY > a/b/late.key; cat a/b/late.key").ok();
        assert!(ran.out.contains("KEY") && left(&ran).len() == 1, "{ran:?}");
        // The next run expands the pattern anew.
        assert!(run(&world, &[], "cat a/b/late.key").status != 0);
        world.bare("cat", ["a/b/late.key"]).ok();
    }
}
