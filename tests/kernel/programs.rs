//! Real programs inside: what people run every day must go on as outside, under a policy that makes sense for it.

use crate::harness::{Ran, World, everybody, has};
use crate::need;

const WRITE: &str = r#"{"filesystem": {"allowWrite": ["."]}}"#;

/// A line of bash, or of sh where there is no bash, with the work directory writable.
#[track_caller]
fn works(line: &str, says: &str) {
    for who in everybody() {
        let world = World::new(who);
        prepared(&world, line).ok().says(says);
    }
}

fn prepared(world: &World, line: &str) -> Ran {
    world.fenced(WRITE, [if crate::harness::program("bash") { "bash" } else { "sh" }, "-c", line])
}

#[test]
fn shells_do_what_shells_do() {
    need!(program "bash");
    works("cat <(echo x)", "x");
    works("cat <<END\nhere\nEND", "here");
    works("cat <<< string", "string");
    works("echo out > /dev/stdout; echo err > /dev/stderr; echo tee | tee /dev/stderr | cat", "tee");
    works("echo text > f && exec 3< f && read -u 3 line && echo $line", "text");
    works("mkfifo p && (echo fifo > p &) && cat p", "fifo");
    works("diff <(echo a) <(echo a) && echo same", "same");
    works("coproc cat; echo co >&${COPROC[1]}; read line <&${COPROC[0]}; echo $line", "co");
    works("trap 'echo caught' USR1; kill -USR1 $$; sleep 0", "caught");
    works("f=$(mktemp) && echo $f && test -w $f && d=$(mktemp -d) && touch $d/x && echo made", "made");
    works("sleep 0 & wait $! && jobs && ulimit -n", "");
    works("umask 077; touch private; stat -c %a private", "600");
}

#[test]
fn standard_streams_are_the_caller_s() {
    for who in everybody() {
        let world = World::new(who);
        let mut command = world.fenced_command(WRITE, ["sh", "-c", "cat; echo err >&2"]);
        command.stdin(std::fs::File::open(world.write("input", "from a file")).unwrap());
        let out = std::fs::File::create(world.write("output", "")).unwrap();
        let ran = Ran::new(command.stdout(out).output().unwrap()).ok();
        assert_eq!(std::fs::read_to_string(world.work().join("output")).unwrap(), "from a file");
        assert_eq!(ran.err, "err\n");
    }
}

#[test]
fn files_are_packed_found_and_copied() {
    works("mkdir -p a/b && echo x > a/b/c && tar czf a.tgz a && rm -r a && tar xzf a.tgz && cat a/b/c", "x");
    works("mkdir -p a && touch a/1 a/2 && find . -name 2 -exec echo found {} \\;", "found");
    works(
        "touch a && cp -p a b && ln -s b c && mv c d && ls -l | wc -l && rm d && chmod 600 b && echo done",
        "done",
    );
    works("head -c 100000 /dev/urandom > r && split -n 4 r && cat x?? | cmp r && echo same", "same");
    works("echo b > l; echo a >> l; sort -o l l && sed -i s/a/c/ l && cat l", "c");
}

#[test]
fn processes_see_themselves() {
    need!(program "ps");
    works("ps ax && ps -o args= -p $$; true", "bash");
}

#[test]
fn make_builds_in_parallel() {
    need!(program "make");
    for who in everybody() {
        let world = World::new(who);
        world.write(
            "Makefile",
            "all: a b c d\n\t@echo built\na b c d:\n\t@echo $@ > $@\nsub:\n\t$(MAKE) -j4 all\n",
        );
        world.fenced(WRITE, ["make", "-j4"]).ok().says("built");
        // The job server's pipe comes from outside, the sub-make runs inside.
        let policy = world.write("../p.json", WRITE);
        let line = format!("+{} -s {} -- make all", world.fence().display(), policy.display());
        world.write("Outer", format!("outer:\n\t{line}\n"));
        world.bare("make", ["-j4", "-f", "Outer"]).ok().says("built");
    }
}

#[test]
fn python_runs_and_makes_environments() {
    need!(program "python3");
    for who in everybody() {
        let world = World::new(who);
        let python = world.bare("python3", ["-c", "import sys, venv, ensurepip; print(sys.executable)"]);
        let why = format!("uid {} can't run it with the modules venv and ensurepip", who.uid);
        if !has("program:python3", python.status == 0, &why) {
            continue;
        }
        let python = python.out.trim();
        let line = "import multiprocessing, subprocess, tempfile, socket, sqlite3, os
with multiprocessing.Pool(2) as p: print(p.map(abs, [-1]))
print(subprocess.check_output(['echo', 'sub']), tempfile.TemporaryFile(), socket.socketpair())
sqlite3.connect('db').execute('create table t (x)')
try: socket.create_connection(('192.0.2.1', 80), 2)
except OSError as e: print('no network', e.errno)";
        world.fenced(WRITE, [python, "-c", line]).ok().says("no network");
        world.fenced(WRITE, [python, "-m", "venv", "--without-pip", "v"]).ok();
        world.fenced(WRITE, ["v/bin/python", "-c", "import sys; print(sys.prefix)"]).ok().says("work/v");
    }
}

#[test]
fn node_and_npm_run() {
    need!(program "node");
    let script = "const { execFileSync } = require('child_process'); const fs = require('fs');
        fs.mkdirSync('a/b', { recursive: true }); fs.watch('a').close();
        console.log(execFileSync('echo', ['sub']) + '', new Worker)"
        .replace("new Worker", "require('os').cpus().length > 0");
    works(&format!("node -e \"{}\"", script.replace('"', "'")), "true");
    need!(program "npm");
    works("npm --version && npm init -y > /dev/null && cat package.json", "version");
}

#[test]
fn perl_runs() {
    need!(program "perl");
    works(
        "perl -MFile::Temp=tempfile -e 'my ($h, $n) = tempfile(); print $h 1; print qq(ok $n\\n)'",
        "ok /tmp",
    );
}

#[test]
fn network_programs_fail_cleanly() {
    need!(program "curl");
    for who in everybody() {
        let world = World::new(who);
        let ran = world.fenced(WRITE, ["curl", "-sS", "--max-time", "5", "https://example.com"]);
        assert!([5, 6, 7, 28, 56].contains(&ran.status) && ran.err.contains("curl: ("), "{ran:?}");
        let direct =
            world.fenced(WRITE, ["curl", "-sS", "--noproxy", "*", "--max-time", "5", "http://192.0.2.1"]);
        assert!([7, 28].contains(&direct.status), "{direct:?}");
    }
    need!(program "ssh");
    works(
        "ssh -V && ssh -o BatchMode=yes -o ConnectTimeout=2 nobody@192.0.2.1 true; test $? = 255 && echo refused",
        "refused",
    );
}

#[test]
fn package_managers_answer() {
    need!(program "apt-get");
    works("apt-get --version && apt-cache policy bash && dpkg -s dpkg | head -3", "apt");
}

#[test]
fn a_terminal_can_be_made() {
    need!(program "script");
    works(
        "script -qec 'tty && stty -a > /dev/null && echo on a terminal' /dev/null < /dev/null",
        "on a terminal",
    );
}

#[test]
fn rust_builds_offline() {
    need!(program "cargo");
    for who in everybody() {
        let world = World::new(who);
        // rustup keeps what it runs in the home directory of whoever installed it.
        let sysroot =
            std::process::Command::new("rustc").args(["--print", "sysroot"]).output().unwrap().stdout;
        let bin = std::path::Path::new(String::from_utf8(sysroot).unwrap().trim()).join("bin");
        let can =
            world.command(bin.join("cargo"), ["--version"]).output().is_ok_and(|out| out.status.success());
        // A toolchain in root's home is nothing that others can reach.
        let own = who.uid == rustix::process::geteuid().as_raw();
        let name = if own { "program:cargo" } else { "program:cargo as another user" };
        if !has(name, can, &format!("uid {} can't run it", who.uid)) {
            continue;
        }
        world.write("Cargo.toml", "[package]\nname = \"tiny\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
        world.write("src/main.rs", "fn main() { println!(\"built by cargo\") }\n");
        world.mkdir("../home/.cargo");
        let policy = r#"{"filesystem": {"allowWrite": ["."], "denyWrite": ["~/.cargo"]}}"#;
        let mut run =
            world.fenced_command(policy, [bin.join("cargo").to_str().unwrap(), "run", "--offline", "-q"]);
        run.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()))
            .env_remove("RUSTFLAGS");
        Ran::new(run.output().unwrap()).ok().says("built by cargo");
    }
}
