//! Ways round rules on commands, each under `argv` and under `path`. Where `path` can't hold, the test shows that it does not,
//! and docs/configuration.md says so.

use crate::harness::{Ran, World, everybody, has, program};
use crate::need;
use rustix::process::{Pid, Signal};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A policy with the working directory writable.
fn policy(mode: &str, command: &str) -> String {
    format!(
        r#"{{"filesystem": {{"allowWrite": ["."]}}, "command": {{"runtimeExecPolicy": "{mode}", {command}}}}}"#
    )
}

const OPEN: &str = r#"{"filesystem": {"allowWrite": ["."]}}"#;

/// A script, which the check of the literal command does not look into.
fn script(world: &World, policy: &str, text: &str) -> Ran {
    world.write("script.sh", text);
    fenced(world, policy, &["sh", "script.sh"])
}

fn fenced(world: &World, policy: &str, words: &[&str]) -> Ran {
    let mut command = world.fenced_command(policy, words);
    let path = format!("{}:{}", world.root.join("bin").display(), std::env::var("PATH").unwrap());
    command.env("PATH", path).env("FENCE", world.fence());
    Ran::of(command)
}

/// A program of its own on PATH that can't be taken for another: the victim's copy.
fn forbidden(world: &World) -> String {
    let path = world.root.join("bin/forbidden");
    fs::copy(world.victim(), &path).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn other_names_of_a_program() {
    for who in everybody() {
        let world = World::new(who);
        let program = forbidden(&world);
        std::os::unix::fs::symlink(&program, world.work().join("link")).unwrap();
        fs::hard_link(&program, world.work().join("hard")).unwrap();
        fs::copy(&program, world.work().join("copy")).unwrap();
        world.write("first-line", format!("#!{program} exit\n"));
        fs::set_permissions(world.work().join("first-line"), fs::Permissions::from_mode(0o755)).unwrap();
        let victim = world.victim();
        let victim = victim.to_str().unwrap();
        // What is tried, and the modes that stop it.
        let ways: &[(&[&str], &[&str])] = &[
            (&["exec", &program, "--", "ls", "exit", "7"], &["argv", "path"]),
            (&["exec", "./link", "--", "x", "exit", "7"], &["argv", "path"]),
            (&["exec-fd", "./link", "--", "x", "exit", "7"], &["argv", "path"]),
            (&["exec", "./hard", "--", "x", "exit", "7"], &["argv"]),
            (&["exec-memfd", "./copy", "--", "x", "exit", "7"], &["argv"]),
            (&["exec", "./copy", "--", "x", "exit", "7"], &[]),
        ];
        for (way, stopped) in ways {
            assert_eq!(world.bare(victim, *way).status, 7, "{way:?}");
            for mode in ["argv", "path"] {
                let words = [&[victim][..], way].concat();
                let ran = fenced(&world, &policy(mode, r#""deny": ["forbidden"]"#), &words);
                if stopped.contains(&mode) {
                    let errno = if mode == "argv" { "EPERM\n" } else { "EACCES\n" };
                    assert_eq!((ran.status, ran.out.as_str()), (1, errno), "{mode} {way:?}: {ran:?}");
                } else {
                    assert_eq!(ran.status, 7, "{mode} {way:?}: {ran:?}");
                }
            }
        }
        for mode in ["argv", "path"] {
            let lines = "./first-line 2>/dev/null; echo $?\n";
            // It runs, and takes the script for a number.
            assert_eq!(script(&world, OPEN, lines).out, "2\n");
            let ran = script(&world, &policy(mode, r#""deny": ["forbidden"]"#), lines);
            assert_eq!(ran.out, "126\n", "{mode}: {ran:?}");
        }
    }
}

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

#[test]
fn the_dynamic_loader_is_seen_through() {
    need!(program "git");
    if !has("program:ld-linux-x86-64.so.2", fs::exists(LOADER).unwrap(), "there is no such loader") {
        return;
    }
    for who in everybody() {
        let world = World::new(who);
        let git = world.bare("sh", ["-c", "readlink -f $(command -v git)"]).ok().out.trim().to_owned();
        let lines = format!(
            "{LOADER} {git} --version >/dev/null && echo version\n{LOADER} --argv0 ls {git} push -h >/dev/null 2>&1; echo $?\n\
             ln -sf {git} g; {LOADER} ./g push -h >/dev/null 2>&1; echo $?\n\
             {LOADER} --library-path /usr/bin g push -h >/dev/null 2>&1; echo $?\n"
        );
        // 129: git's own help. A name without a directory the loader looks for where libraries are: it is not tried outside.
        let ran = script(&world, OPEN, &lines);
        assert!(ran.out.starts_with("version\n129\n129\n"), "{ran:?}");
        let deny = r#""deny": ["git push"]"#;
        let ran = script(&world, &policy("argv", deny), &lines);
        assert_eq!(ran.out, "version\n126\n126\n126\n", "{ran:?}");
        assert!(ran.err.contains("looks for it where libraries are"), "{ran:?}");
        // A rule of two words is not kept under `path`; one of one word hides the file from the loader too.
        let ran = script(&world, &policy("path", deny), &lines);
        assert!(ran.out.starts_with("version\n129\n129\n"), "{ran:?}");
        let ran = script(&world, &policy("path", r#""deny": ["git"]"#), &lines);
        assert!(ran.out.starts_with("127\n127\n"), "{ran:?}");
    }
}

#[test]
fn a_first_line_counts_as_the_kernel_reads_it() {
    need!(program "git");
    if !has("program:ld-linux-x86-64.so.2", fs::exists(LOADER).unwrap(), "there is no such loader") {
        return;
    }
    for who in everybody() {
        let world = World::new(who);
        let victim = world.victim();
        let program = |name| world.bare("sh", ["-c", &format!("readlink -f $(command -v {name})")]).ok().out;
        let (git, harmless) = (program("git"), program("true"));
        // The loader is given what ends where the kernel says: at a form feed that belongs to the name, after 255 bytes.
        let long = format!("./{}", "z".repeat(255 - "#! ./".len() - LOADER.len()));
        for (real, shown, end) in [("./y\x0c", "./y", "\n"), (&long, &format!("{long}z"), "")] {
            let first = if end.is_empty() { shown } else { real };
            let lines = format!(
                "ln -sf {} '{real}'; ln -sf {} {shown}; printf '#!%s %s{end}' {LOADER} '{first}' > push; chmod 755 push\n\
                 {} exec push -- push -h >/dev/null 2>&1; echo $?; rm push\n",
                git.trim(),
                harmless.trim(),
                victim.display()
            );
            assert_eq!(script(&world, OPEN, &lines).out, "129\n");
            let ran = script(&world, &policy("argv", r#""deny": ["git push"]"#), &lines);
            assert!(["1\n", "137\n"].contains(&ran.out.as_str()), "{ran:?}");
            assert!(ran.err.contains("rule \"git push\""), "{ran:?}");
        }
    }
}

#[test]
fn a_fence_inside_can_only_tighten() {
    for who in everybody() {
        let world = World::new(who);
        let program = forbidden(&world);
        world.write("lax.json", "{}");
        let lines = format!(
            "$FENCE -s lax.json -- {program} exit 7; echo $?\n$FENCE -s lax.json -- $(command -v sh) -c 'exit 3'; echo $?\n"
        );
        assert_eq!(script(&world, OPEN, &lines).out, "7\n3\n");
        for mode in ["argv", "path"] {
            let ran = script(&world, &policy(mode, r#""deny": ["forbidden"]"#), &lines);
            assert_eq!(ran.out, "126\n3\n", "{mode}: {ran:?}");
        }
        // Rules of its own hold there too.
        world.write("strict.json", r#"{"command": {"deny": ["forbidden"]}}"#);
        let ran = script(&world, &policy("argv", r#""deny": ["other"]"#), &lines.replace("lax", "strict"));
        assert_eq!(ran.out, "126\n3\n", "{ran:?}");
    }
}

#[test]
fn real_git_from_everywhere() {
    need!(program "git");
    for who in everybody() {
        let world = World::new(who);
        world.write(
            "setup",
            "set -e\ngit init -q --bare remote\ngit init -q -b main repo\ncd repo\ngit config user.name x\n\
             git config user.email x@x\ngit commit -q --allow-empty -m one\ngit branch docs\ngit remote add origin ../remote\n",
        );
        world.bare("sh", ["setup"]).ok();
        world.write(
            "repo/Makefile",
            "good:\n\t@git status -s && git push -q origin docs\nbad:\n\t@git push -q origin main\n",
        );
        let python = "import subprocess as s\ndef r(*a): return s.run(['git', *a]).returncode\n\
                      assert r('status', '-s') == 0 and r('push', '-q', 'origin', 'docs') == 0\n\
                      try: r('push', '-q', 'origin', 'main')\nexcept PermissionError: print('denied')\n";
        world.write("repo/run.py", python);
        let node = "const r = (...a) => require('child_process').spawnSync('git', a, {stdio: 'inherit'});\n\
                    if (r('status', '-s').status || r('push', '-q', 'origin', 'docs').status) process.exit(9);\n\
                    if (r('push', '-q', 'origin', 'main').error?.code == 'EPERM') console.log('denied');\n";
        world.write("repo/run.js", node);
        let mut ways = vec![
            "git status -s >/dev/null && git push -q origin docs && { git push -q origin main || echo denied; }",
        ];
        if program("make") {
            ways.push("make -s good && { make -s bad 2>/dev/null || echo denied; }");
        }
        // Tools of one user only are not the others'.
        for (name, way) in [("python3", "python3 run.py"), ("node", "node run.js")] {
            if has(&format!("program:{name}"), world.bare(name, ["--version"]).status == 0, "it does not run")
            {
                ways.push(way);
            }
        }
        let pushed = |branch: &str| {
            let name = format!("refs/heads/{branch}");
            world.bare("git", ["-C", "remote", "rev-parse", "-q", "--verify", &name]).status == 0
        };
        let rules = r#""deny": ["git push"], "allow": ["git push origin docs", "git push -q origin docs"]"#;
        for way in ways {
            let line = format!("cd repo\n{way}\n");
            let ran = script(&world, &policy("argv", rules), &line);
            assert!(ran.out.ends_with("denied\n"), "{way}: {ran:?}");
            assert!(ran.err.contains("✗ git push -q origin main (rule \"git push\""), "{way}: {ran:?}");
            assert!(pushed("docs") && !pushed("main"), "{way}: {ran:?}");
            world.bare("git", ["-C", "remote", "update-ref", "-d", "refs/heads/docs"]).ok();
            // Under `path` nobody looks inside the script.
            assert!(!script(&world, &policy("path", rules), &line).out.contains("denied"), "{way}");
            assert!(pushed("docs") && pushed("main"), "{way}");
            for branch in ["docs", "main"] {
                let name = format!("refs/heads/{branch}");
                world.bare("git", ["-C", "remote", "update-ref", "-d", &name]).ok();
            }
        }
    }
}

#[test]
fn hundreds_at_once_and_long_lines_work() {
    for who in everybody() {
        let world = World::new(who);
        let targets: String = (0..300).map(|n| format!(" t{n}")).collect();
        world.write("Makefile", format!("all:{targets}\nt%:\n\t@sh -c true; echo $@\n"));
        for mode in ["argv", "path"] {
            let rules = policy(mode, r#""deny": ["git push"]"#);
            if program("make") {
                assert_eq!(script(&world, &rules, "make -j32 | wc -l").ok().out.trim(), "300", "{mode}");
            }
            let ran = script(&world, &rules, "seq 5000 | xargs echo | wc -w").ok();
            assert_eq!(ran.out.trim(), "5000", "{mode}");
        }
    }
}

#[test]
fn a_program_of_many_threads_that_execs() {
    need!(program "go");
    if std::env::var_os("FENCE_TEST_LONG").is_none() {
        eprintln!("SKIP: long: set FENCE_TEST_LONG=1 (the Go compiler builds its library first)");
        return;
    }
    for who in everybody() {
        let world = World::new(who);
        let source = "package main\nimport (\"fmt\"; \"os/exec\"; \"sync\")\nfunc main() {\n\
                      var all sync.WaitGroup\nfor n := 0; n < 200; n++ { all.Add(1); go func() { defer all.Done()\n\
                      if err := exec.Command(\"true\").Run(); err != nil { fmt.Println(err) } }() }\nall.Wait()\n\
                      fmt.Println(exec.Command(\"forbidden\", \"exit\", \"0\").Run()) }\n";
        world.write("main.go", source);
        let mut build = world.command("go", ["build", "-o", "threads", "main.go"]);
        build.env("GO111MODULE", "off").env("GOCACHE", world.work().join("cache"));
        Ran::of(build).ok();
        forbidden(&world);
        assert_eq!(script(&world, OPEN, "./threads").ok().out, "<nil>\n");
        for mode in ["argv", "path"] {
            let ran = script(&world, &policy(mode, r#""deny": ["forbidden"]"#), "./threads").ok();
            assert!(ran.out.contains("forbidden") && ran.out.lines().count() == 1, "{mode}: {ran:?}");
        }
    }
}

#[test]
fn signals_reach_the_command_where_execs_are_judged() {
    for who in everybody() {
        let world = World::new(who);
        let path = world.write(
            "script.sh",
            "trap 'echo got; exit 7' TERM\necho ready > ready\nfor n in $(seq 400); do sleep 0.05; done\n",
        );
        let words = ["sh".as_ref(), path.as_os_str()];
        let mut command = world.fenced_command(&policy("argv", r#""deny": ["git push"]"#), words);
        let child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let ready = world.work().join("ready");
        crate::poll::eventually("the command runs", || ready.exists());
        rustix::process::kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(7), &b"got\n"[..]));
    }
}
