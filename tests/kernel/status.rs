//! How a run ends, what signals do, and the terminal: fence must be as good as not there.

use crate::harness::{Ran, World, everybody};
use crate::need;
use crate::poll::{all_dead_soon, children, eventually, length, send, state};
use crate::pty::Terminal;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

const WRITABLE: &str = r#"{"filesystem": {"allowWrite": ["."]}}"#;

#[test]
fn every_exit_status_comes_through() {
    for who in everybody() {
        let world = World::new(who);
        for status in (0..256).step_by(if who.uid == 0 { 1 } else { 17 }) {
            world.run(["--", world.victim().to_str().unwrap(), "exit", &status.to_string()]).status(status);
        }
    }
}

#[test]
fn a_signal_that_ends_the_command_is_128_and_its_number() {
    // Stopping and ignored ones end nothing.
    let harmless = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGCHLD, libc::SIGCONT];
    let quiet = [libc::SIGURG, libc::SIGWINCH];
    for who in everybody() {
        let world = World::new(who);
        for signal in
            (1..=64).filter(|s| !harmless.contains(s) && !quiet.contains(s) && !(32..=34).contains(s))
        {
            let victim = world.victim();
            let ran = world.run(["--", victim.to_str().unwrap(), "raise", &signal.to_string()]);
            let outside = world.bare(&victim, ["raise", &signal.to_string()]);
            assert_eq!((ran.status, outside.status), (128 + signal, 128 + signal), "signal {signal}");
        }
        // Through a shell, which says the same of what it ran.
        world.run(["-c", "kill -9 $$"]).status(137);
        world.run(["-c", "sh -c 'kill -TERM $$'; exit $?"]).status(143);
    }
}

#[test]
fn fences_own_failures_have_statuses_of_their_own() {
    for who in everybody() {
        let world = World::new(who);
        world.write("text", "no program");
        world.run(["--", "no-such-command"]).status(127).says("fence: ");
        world.run(["--", "./no-such-file"]).status(127).says("fence: ");
        world.run(["--", "./text"]).status(126).says("fence: ");
        world.run(["--", "/"]).status(126).says("fence: ");
        world.run(["--no-such-flag"]).status(125).says("fence: ");
        world.run(["-s", "missing.json", "--", "true"]).status(125).says("missing.json");
        world.run(["-c", "no-such-command"]).status(127);
        world.run(["-c", "./text"]).status(126);
        let deny = r#"{"command": {"deny": ["git push"]}}"#;
        world.fenced(deny, ["git", "push"]).status(126).says("git push");
    }
}

/// A command that runs inside once this returns: it touches `ready` first.
fn started(world: &World, line: &str) -> Child {
    let mut command = world.fenced_command(WRITABLE, ["sh", "-c", line]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().unwrap();
    eventually("the command is ready", || world.work().join("ready").exists());
    child
}

fn ended(child: Child) -> Ran {
    Ran::new(child.wait_with_output().unwrap())
}

#[test]
fn signals_to_fence_reach_the_command() {
    let signals = [
        ("TERM", libc::SIGTERM),
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("USR1", libc::SIGUSR1),
        ("USR2", libc::SIGUSR2),
        ("QUIT", libc::SIGQUIT),
        ("WINCH", libc::SIGWINCH),
        ("ALRM", libc::SIGALRM),
    ];
    for who in everybody() {
        for (name, number) in signals {
            let world = World::new(who);
            let line =
                format!("trap 'echo got {name}; exit 7' {name}; : > ready; while :; do sleep 0.02; done");
            let child = started(&world, &line);
            send(child.id(), number);
            ended(child).status(7).says(&format!("got {name}"));
            // Without a trap it ends the command, and nothing stays.
            std::fs::remove_file(world.work().join("ready")).unwrap();
            if number != libc::SIGWINCH {
                let child = started(&world, ": > ready; exec sleep 60");
                send(child.id(), number);
                ended(child).status(128 + number);
                all_dead_soon(&world);
            }
        }
    }
}

#[test]
fn a_signal_to_the_whole_group_ends_the_command() {
    for who in everybody() {
        let world = World::new(who);
        let child = started(&world, ": > ready; exec sleep 60");
        // As timeout(1) and a terminal that goes away do it.
        // SAFETY: two integers.
        assert_eq!(unsafe { libc::kill(-(child.id() as i32), libc::SIGTERM) }, 0);
        ended(child).status(143);
    }
}

#[test]
fn fence_stops_with_the_command_and_goes_on() {
    for who in everybody() {
        let world = World::new(who);
        let child = started(&world, ": > ready; while :; do echo >> beat; sleep 0.02; done");
        send(child.id(), libc::SIGTSTP);
        eventually("fence is stopped", || state(child.id()).as_deref() == Some("T"));
        let beats = length(&world.work().join("beat"));
        send(child.id(), libc::SIGCONT);
        eventually("the command goes on", || length(&world.work().join("beat")) > beats);
        send(child.id(), libc::SIGTERM);
        ended(child).status(143);
    }
}

#[test]
fn it_works_whatever_signals_the_caller_ignores_or_blocks() {
    for who in everybody() {
        let world = World::new(who);
        let fence = world.fence();
        for ignored in ["CHLD", "CHLD HUP INT TERM PIPE TTOU TSTP", "PIPE"] {
            let line = format!("trap '' {ignored}; exec {} -- sh -c 'true; exit 9'", fence.display());
            world.bare("timeout", ["-s", "KILL", "20", "sh", "-c", &line]).status(9);
        }
        let mut command = world.command(&fence, ["--", "grep", "SigBlk", "/proc/self/status"]);
        // SAFETY: a signal set on this stack, filled and applied between fork and exec.
        unsafe {
            command.pre_exec(|| {
                let mut all = std::mem::zeroed::<libc::sigset_t>();
                libc::sigfillset(&raw mut all);
                libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
                Ok(())
            });
        }
        // What the caller blocked stays blocked, as exec(3) has it.
        let blocked = Ran::of(command).ok().out;
        assert!(!blocked.contains("0000000000000000"), "{blocked}");
        world.run(["--", "grep", "SigBlk", "/proc/self/status"]).ok().says("0000000000000000");
        world.run(["--", "sh", "-c", "yes | head -1; echo ok"]).ok().says("ok");
    }
}

#[test]
fn standard_descriptors_may_be_closed() {
    for who in everybody() {
        let world = World::new(who);
        let fence = world.fence();
        for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
            world.bare("sh", ["-c", &format!("{} -- sh -c 'exit 3' {closed}", fence.display())]).status(3);
        }
    }
}

#[test]
fn the_terminal_is_the_callers() {
    for who in everybody() {
        let world = World::new(who);
        let command = world
            .command(world.fence(), ["--", "sh", "-c", "tty; test -t 0 && echo yes > /dev/tty; stty size"]);
        let mut terminal = Terminal::start(&world, command);
        terminal.wait_for("/dev/").wait_for("yes");
        assert!(terminal.end().success(), "{}", terminal.screen);
        assert!(!terminal.screen.contains("not a tty"), "{}", terminal.screen);
        // Typing into it from inside is refused on a real terminal too.
        let command =
            world.command(world.fence(), ["--", world.victim().to_str().unwrap(), "ioctl", "0", "0x5412"]);
        let mut terminal = Terminal::start(&world, command);
        terminal.wait_for("EPERM");
        let mut control = Terminal::start(&world, world.command(world.victim(), ["ioctl", "0", "0x5412"]));
        control.end();
        assert!(!control.screen.contains("EPERM"), "{}", control.screen);
    }
}

#[test]
fn the_terminal_stays_the_callers_alone() {
    for who in everybody() {
        let world = World::new(who);
        for fd in ["0", "1", "2"] {
            let command =
                world.command(world.fence(), ["--", world.victim().to_str().unwrap(), "fchmod", fd]);
            let mut terminal = Terminal::start(&world, command);
            terminal.wait_for("EROFS");
        }
        let mut control = Terminal::start(&world, world.command(world.victim(), ["fchmod", "0"]));
        assert!(control.end().success());
    }
}

#[test]
fn a_session_of_its_own_has_no_terminal() {
    for who in everybody() {
        let world = World::new(who);
        let line = "ps -o sid= -p $$ 2>/dev/null; : > /dev/tty && echo reached";
        let command = world.command(world.fence(), ["--force-new-session", "--", "sh", "-c", line]);
        let mut terminal = Terminal::start(&world, command);
        assert!(!terminal.end().success());
        assert!(!terminal.screen.contains("reached"), "{}", terminal.screen);
        // Ctrl-C still ends it: fence is in the foreground and passes it on.
        let command =
            world.command(world.fence(), ["--force-new-session", "--", "sh", "-c", "echo on; exec sleep 60"]);
        let mut terminal = Terminal::start(&world, command);
        terminal.wait_for("on").types("^C");
        assert_eq!(terminal.end().code(), Some(130));
    }
}

#[test]
fn a_shell_inside_has_job_control() {
    need!(program "bash");
    for who in everybody() {
        let world = World::new(who);
        let mut command = world.command(world.fence(), ["--", "bash", "--norc", "--noprofile", "-i"]);
        command.env("PS1", "inner$ ");
        let mut t = Terminal::start(&world, command);
        t.wait_for("inner$ ").enters("echo a; sleep 60").wait_for("a\n");
        in_foreground(&t, "sleep");
        t.types("^C").wait_for("inner$ ").enters("echo status $?").wait_for("status 130");
        t.enters("sleep 61");
        in_foreground(&t, "sleep");
        t.types("^Z").wait_for("Stopped").enters("jobs").wait_for("sleep 61");
        t.enters("fg").wait_for("sleep 61");
        in_foreground(&t, "sleep");
        t.types("^C").wait_for("inner$ ").enters("sleep 62 & kill %1; wait; echo done").wait_for("done\n");
        assert!(!t.screen.contains("no job control"), "{}", t.screen);
        t.enters("exit 5");
        assert_eq!(t.end().code(), Some(5), "{}", t.screen);
    }
}

/// Until a program of this name leads the terminal's foreground.
fn in_foreground(terminal: &Terminal, name: &str) {
    eventually("it runs in the foreground", || {
        tree(terminal.pid()).iter().any(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let Some((head, rest)) = stat.split_once(") ") else { return false };
            let fields: Vec<&str> = rest.split(' ').collect();
            // state, parent, group, session, terminal, foreground group
            head.ends_with(name) && fields[0] == "S" && fields[2] == fields[5]
        })
    });
}

/// A process and all below it.
fn tree(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(pid) = all.get(next) {
        all.extend(children(*pid));
        next += 1;
    }
    all
}

#[test]
fn fence_is_a_job_like_any_other() {
    need!(program "bash");
    for who in everybody() {
        let world = World::new(who);
        let mut t = Terminal::bash(&world);
        t.enters("$FENCE -- sleep 60");
        in_foreground(&t, "sleep");
        t.types("^Z").wait_for("Stopped").wait_for("outer$ ");
        eventually("sleep is stopped", || tree(t.pid()).iter().any(|p| state(*p).as_deref() == Some("T")));
        t.enters("fg").wait_for("sleep 60");
        in_foreground(&t, "sleep");
        t.types("^C").wait_for("outer$ ").enters("echo status $?").wait_for("status 130");
        // In the background, and brought back.
        t.enters("$FENCE -- sleep 60 &").wait_for("outer$ ").enters("fg").wait_for("sleep 60");
        in_foreground(&t, "sleep");
        t.types("^Z").wait_for("Stopped").enters("kill %1; fg").wait_for("outer$ ");
        t.enters("$FENCE -- sh -c 'sleep 60 | cat'");
        in_foreground(&t, "sleep");
        t.types("^\\").wait_for("outer$ ").enters("echo status $?").wait_for("status 131");
        t.enters("exit");
        t.end();
        all_dead_soon(&world);
    }
}

#[test]
fn the_terminal_is_given_back() {
    need!(program "bash");
    for who in everybody() {
        let world = World::new(who);
        let mut t = Terminal::bash(&world);
        let inner = "PS1='inner$ ' $FENCE -- bash --norc --noprofile -i";
        t.enters(inner).wait_for("\ninner$ ");
        t.enters("exit 4").wait_for("outer$ ").enters("echo status $?").wait_for("status 4");
        // Also when the shell inside was killed while its job had the terminal.
        t.enters(inner).wait_for("\ninner$ ").enters("sleep 60");
        in_foreground(&t, "sleep");
        let shell = tree(t.pid()).into_iter().filter(|p| name(*p) == "bash").max().unwrap();
        send(shell, libc::SIGKILL);
        t.wait_for("outer$ ").enters("echo status $?").wait_for("status 137");
        t.enters("cat");
        in_foreground(&t, "cat");
        t.enters("echoed").wait_for("echoed\nechoed").types("^C").wait_for("outer$ ");
    }
}

fn name(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_string()
}

#[test]
fn a_terminal_that_goes_away_ends_the_command() {
    for who in everybody() {
        let world = World::new(who);
        let command: Command = world.fenced_command(WRITABLE, ["sh", "-c", ": > ready; exec sleep 60"]);
        let terminal = Terminal::start(&world, command);
        eventually("the command is ready", || world.work().join("ready").exists());
        drop(terminal);
        all_dead_soon(&world);
    }
}
