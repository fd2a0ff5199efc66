//! Somebody changes the tree while fence sets the sandbox up: directories become links to elsewhere and back, ancestors move,
//! files are replaced, what is mounted goes away. Nothing may land elsewhere, on the host or inside.
//!
//! FENCE_TEST_RACES=10000 is the long form; it prints what became of the rounds.

use crate::harness::{Ran, World, everybody};

const POLICY: &str = r#"{"filesystem": {"allowWrite": ["."], "denyWrite": ["a/b", "a/c/file", "f", "m/x", "not/there"],
    "denyRead": ["t/u/secret", "t/dir", "m/y"]}}"#;

const SET_UP: &str = "mkdir -p a/b a/c t/u t/dir m .git/hooks .git/objects .git/refs ../outside/b ../outside/c ../outside/u ../outside/dir fd
    ln -s ../outside link; echo good > a/c/file; echo KEY > t/u/secret; echo KEY > t/dir/key; echo good > f; echo ref: x > .git/HEAD
    touch .git/config; for f in c/file u/secret dir/key b/file; do echo PUBLIC > ../outside/$f; done; ln -s ../../outside t.link";

/// What the command does: what is elsewhere reads as always, and can't be written.
const COMMAND: &str = "cat ../outside/u/secret ../outside/dir/key ../outside/c/file ../outside/b/file
    for f in b/evil c/file u/secret evil; do echo evil > ../outside/$f; done 2>/dev/null
    touch written; exit 0";

/// How many rounds for each user.
fn rounds() -> usize {
    std::env::var("FENCE_TEST_RACES").map_or(40, |rounds| rounds.parse().unwrap())
}

/// Rounds of one driver: no program of a test may take minutes.
const MOST_AT_ONCE: usize = 500;

#[test]
fn nothing_lands_elsewhere_while_fence_starts() {
    for who in everybody() {
        let world = World::new(who);
        world.bare("sh", ["-ec", SET_UP]).ok();
        let state = "cd ../outside; ls -lR --time-style=+; cat u/secret dir/key c/file b/file";
        let before = world.bare("sh", ["-c", state]).ok().out;
        std::fs::write(world.root.join("p.json"), POLICY).unwrap();
        let driver = r#"
            i=0; while [ $i -lt $3 ]; do
                # The first round has peace: the command itself works. Later ones may all be refused.
                if [ $i = 1 ]; then $1 flip . 600 & $1 flip-mount m 600 & fi
                $2 -s ../p.json -- sh -c "$4" >../out 2>../err; s=$?; i=$((i+1))
                case $s in
                    0) test "$(cat ../out)" = "$(printf 'PUBLIC\nPUBLIC\nPUBLIC\nPUBLIC')" || { echo "inside:"; cat ../out ../err; exit 1; }; echo ran >> ../log;;
                    125) echo refused >> ../log;;
                    *) echo "status $s"; cat ../out ../err; exit 1;;
                esac
            done; touch stop; wait"#;
        let (victim, fence) = (world.victim(), world.fence());
        // Mounts come and go in a namespace that ends with the test. Who may not mount does without.
        let own: &[&str] = if who.uid == 0 { &["unshare", "-m", "sh", "-c"] } else { &["sh", "-c"] };
        let mut left = rounds();
        while left > 0 {
            let now = left.min(MOST_AT_ONCE);
            left -= now;
            let now = now.to_string();
            let words = [driver, "driver", victim.to_str().unwrap(), fence.to_str().unwrap(), &now, COMMAND];
            let words: Vec<&str> = own.iter().copied().chain(words).collect();
            let ran = Ran::of(world.command(words[0], &words[1..]));
            world.write("stop", "");
            ran.ok();
            std::fs::remove_file(world.work().join("stop")).unwrap();
            assert_eq!(world.bare("sh", ["-c", state]).ok().out, before, "{who:?}");
        }
        let log = std::fs::read_to_string(world.root.join("log")).unwrap();
        let started = log.lines().filter(|line| *line == "ran").count();
        eprintln!("{who:?}: {} rounds, {started} started, the others were refused", log.lines().count());
        assert!(started > 0 && world.work().join("written").exists(), "{who:?}: no round got through");
        let made = ["not", "a/b/evil", "fd/evil"];
        assert!(made.iter().all(|path| !world.work().join(path).exists()), "{who:?}");
    }
}

/// The same attacker against a helper that looks first and mounts by path then.
#[test]
fn a_helper_that_mounts_by_path_falls_for_it() {
    crate::need!(userns);
    for who in everybody() {
        let world = World::new(who);
        world.bare("sh", ["-ec", SET_UP]).ok();
        let driver = r#"$1 flip . 600 & $1 mount-by-path "$PWD" a/b ../outside/b 200000; s=$?; touch stop; wait; exit $s"#;
        world.bare("sh", ["-c", driver, "driver", world.victim().to_str().unwrap()]).ok();
    }
}
