//! The first things a user tries.

use crate::harness::{World, everybody};
use std::fs;
use std::path::Path;

#[test]
fn the_command_runs_and_cannot_write_to_the_system() {
    for who in everybody() {
        let world = World::new(who);
        // A place where nothing but the sandbox stands in the way; /etc is one for root only.
        let place = world.mkdir(world.root.join("elsewhere")).join("file");
        let line = format!("echo ok; touch {}", place.display());
        world.bare("sh", ["-c", &line]).ok();
        fs::remove_file(&place).unwrap();
        let ran = world.run(["--", "sh", "-c", &line]).status(1).says("Read-only file system");
        assert_eq!(ran.out, "ok\n");
        assert!(!place.exists());
        world.run(["--", "touch", "/etc/fence-was-here"]).status(1);
        assert!(!Path::new("/etc/fence-was-here").exists());
    }
}

#[test]
fn a_writable_directory_is_writable_and_nothing_else_is() {
    for who in everybody() {
        let world = World::new(who);
        let policy = r#"{"filesystem": {"allowWrite": ["."]}}"#;
        world.fenced(policy, ["sh", "-c", "echo text > inside && mkdir -p a/b && mv inside a/b/moved"]).ok();
        assert_eq!(fs::read_to_string(world.work().join("a/b/moved")).unwrap(), "text\n");
        world.fenced(policy, ["sh", "-c", "echo x > ../outside"]).says("Read-only file system");
        assert!(!world.root.join("outside").exists());
    }
}

#[test]
fn the_prober_says_what_works_in_the_words_that_scripts_read() {
    for who in everybody() {
        let world = World::new(who);
        let ran = world.bare(world.fence(), ["--linux-features"]).ok();
        for line in [
            "Linux Sandbox Features:\n  Kernel: ",
            "\n  Bubblewrap (bwrap): ",
            "\n  Socat: ",
            "\n  Network namespace (--unshare-net): true\n  Seccomp: true (log level: 2)\n",
            "\nFeature Status:\n  ✓ Minimum requirements met (native)\n",
            "  Capability  ",
            "\nkernel ",
        ] {
            assert!(ran.out.contains(line), "{line:?} in {}", ran.out);
        }
        let abi = fence::sys::landlock_abi();
        assert!(ran.out.contains(&format!("\n  Landlock: {} (ABI v{abi})\n", abi > 0)), "{}", ran.out);
        let json = world.bare(world.fence(), ["features", "--json"]).ok().out;
        assert!(
            json.contains("\"engine\": \"native\"") && json.contains("\"name\": \"User namespace\""),
            "{json}"
        );
        for field in ["tried", "result", "details"] {
            assert!(json.contains(&format!("\"{field}\": \"")), "{field} in {json}");
        }
        let profile = world.bare(world.fence(), ["features", "--apparmor-profile"]).ok().out;
        assert!(
            profile.contains("userns,") && profile.contains(world.fence().to_str().unwrap()),
            "{profile}"
        );
    }
}
