//! Command lines, as users type them.

use super::*;
use crate::testdata::{list, table};

fn fence(words: &[&str]) -> Result<Invocation> {
    parse(std::iter::once("/usr/bin/fence").chain(words.iter().copied()).map(OsString::from).collect())
}

fn run(words: &[&str]) -> Run {
    match fence(words) {
        Ok(Invocation::Run(run)) => run,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn error(words: &[&str]) -> String {
    match fence(words) {
        Err(failure) => {
            assert_eq!(failure.status, 125);
            failure.what.clone()
        }
        Ok(other) => panic!("{words:?}: {other:?}"),
    }
}

fn argv(words: &[&str]) -> Command {
    Command::Argv(words.iter().map(OsString::from).collect())
}

fn line(script: &str, params: &[&str]) -> Command {
    Command::Line { script: script.into(), params: params.iter().map(OsString::from).collect() }
}

#[test]
fn every_row_of_the_original() {
    let rows = table(include_str!("../../tests/data/compat/cli_errors.tsv"));
    assert_eq!(rows.len(), 25);
    for row in rows {
        let words = list(&row["files_or_args"]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (ours, got) = (row["ours_by_design"].as_str(), fence(&words));
        let text = got.as_ref().map_err(|failure| failure.what.clone());
        if let Some((_, message)) = ours.split_once("not in this build: exit 125, ") {
            assert_eq!(text, Err(message.to_string()), "{}", row["id"]);
        } else if let Some(message) = ours.strip_prefix("says what to do, exit 125 => ") {
            assert_eq!(text, Err(message.to_string()), "{}", row["id"]);
        } else if ours == "same, exit 125" {
            assert_eq!(text, Err(row["message"].trim_start_matches("Error: ").to_string()), "{}", row["id"]);
        } else if ours.starts_with("message without") {
            assert_eq!(text, Err("no command specified".to_string()), "{}", row["id"]);
        } else {
            // A later stage's business: the words themselves are right.
            assert!(text.is_ok(), "{}: {text:?}", row["id"]);
        }
    }
}

#[test]
fn flags_in_every_form() {
    for words in [
        &["-p3000", "x"][..],
        &["-p=3000", "x"],
        &["--port=3000", "x"],
        &["--port", "3000", "x"],
        &["-mdp", "3000", "x"],
    ] {
        let run = run(words);
        assert_eq!(run.ports.len(), 1);
        assert_eq!((run.ports[0].port, run.command), (3000, argv(&["x"])));
    }
    let both = run(&["-md", "x"]);
    assert!(both.debug && both.monitor);
    for off in ["-d=false", "--debug=0", "--debug=F", "-d=False"] {
        assert!(!run(&["-d", off, "x"]).debug, "{off}");
    }
    for on in ["-d=1", "--debug=t", "--debug=TRUE"] {
        assert!(run(&[on, "x"]).debug, "{on}");
    }
    assert_eq!(run(&["-d", "true"]).command, argv(&["true"]), "a switch takes no word");
    assert_eq!(run(&["--force-new-session=false", "x"]).force_new_session, Some(false));
    assert_eq!(run(&["x"]).force_new_session, None);
}

#[test]
fn shell_lines() {
    for words in [
        &["-c", "a b"][..],
        &["-ca b"],
        &["-c=a b"],
        &["--c", "a b"],
        &["--c=a b"],
        &["-dc", "a b"],
        &["-c", "z", "-c", "a b"],
    ] {
        assert_eq!(run(words).command, line("a b", &[]), "{words:?}");
    }
    assert_eq!(run(&["-c", "echo $1", "--", "sh", "-x"]).command, line("echo $1", &["sh", "-x"]));
    assert_eq!(run(&["-c", "", "ls", "-l"]).command, argv(&["ls", "-l"]));
    assert_eq!(run(&["-c", "--version"]).command, line("--version", &[]));
}

#[test]
fn parsing_stops_at_the_command() {
    assert_eq!(run(&["ls", "-d", "--nope"]).command, argv(&["ls", "-d", "--nope"]));
    assert_eq!(run(&["-m", "--", "-x", "--"]).command, argv(&["-x", "--"]));
    assert_eq!(run(&["--", "config", "show"]).command, argv(&["config", "show"]));
    assert_eq!(run(&["--", "--landlock-apply"]).command, argv(&["--landlock-apply"]));
    assert_eq!(run(&["-"]).command, argv(&["-"]));
}

#[test]
fn bytes_that_are_not_utf8_pass() {
    use std::os::unix::ffi::OsStringExt;
    let raw = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let got = parse(vec!["fence".into(), raw(b"--settings=\xff"), raw(b"a\xfe")]);
    let Ok(Invocation::Run(run)) = got else { panic!("{got:?}") };
    assert_eq!(run.settings, Some(raw(b"\xff")));
    assert_eq!(run.command, Command::Argv(vec![raw(b"a\xfe")]));
    let got = parse(vec!["fence".into(), raw(b"-\xff")]).map_err(|failure| failure.what.contains("\\xff"));
    assert_eq!(got, Err(true));
}

#[test]
fn errors_in_the_words_of_the_original() {
    for (words, message) in [
        (&["-x"][..], "unknown shorthand flag: 'x' in -x"),
        (&["-dxm"], "unknown shorthand flag: 'x' in -xm"),
        (&["--nope=1", "ls"], "unknown flag: --nope"),
        (&["--settings"], "flag needs an argument: --settings"),
        (&["-s"], "flag needs an argument: 's' in -s"),
        (&["-ds"], "flag needs an argument: 's' in -s"),
        (&["--=x"], "bad flag syntax: --=x"),
        (&["---x"], "bad flag syntax: ---x"),
        (&["-d=maybe", "x"], "invalid argument \"maybe\" for \"-d, --debug\" flag: expected true or false"),
        (&["--"], "no command specified. Use -c <command> or provide command arguments"),
        (&["-c", ""], "no command specified. Use -c <command> or provide command arguments"),
        (&["-s", "/nope", "-p", "x", "ls"], "invalid --port \"x\": port must be an integer (got \"x\")"),
        (
            &["-p", "x", "--shell", "y", "--"],
            "no command specified. Use -c <command> or provide command arguments",
        ),
        (&["--shell", "y", "ls"], "invalid --shell \"y\" (expected 'default' or 'user')"),
        (
            &["--engine", "y", "ls"],
            "invalid --engine \"y\" (expected one of 'auto', 'native', 'bwrap', 'landlock')",
        ),
        (&["--log-format", "xml", "ls"], "invalid --log-format \"xml\" (expected 'text' or 'json')"),
        (&["--keep-fd", "-1", "ls"], "invalid --keep-fd \"-1\": expected the number of a file descriptor"),
        (&["--expose-host-path", "", "ls"], "--expose-host-path has an empty path"),
        (&["--json", "ls"], "--json needs plan or --linux-features"),
        (&["features", "x"], "unexpected argument: x"),
        (&["connect", "a.example"], "fence connect takes a host and a port"),
        (&["connect", "a.example", "0"], "invalid port \"0\": expected a number, 1-65535"),
        (&["landlock", "--connect", "http", "ls"], "invalid --connect \"http\": expected a port, 0-65535"),
    ] {
        assert_eq!(error(words), message, "{words:?}");
    }
    assert!(
        error(&["--require", "netns,x", "ls"])
            .starts_with("invalid --require \"x\" (expected one of 'userns', ")
    );
}

#[test]
fn what_runs_nothing_comes_first() {
    assert_eq!(fence(&["-v", "foo"]), Ok(Invocation::Version));
    assert_eq!(fence(&["-v", "-p", "x"]), Ok(Invocation::Version));
    assert_eq!(fence(&["--list-templates", "-p", "x"]), Ok(Invocation::ListTemplates));
    assert_eq!(
        fence(&["connect", "a.example", "22"]),
        Ok(Invocation::Connect { host: "a.example".into(), port: 22 })
    );
    assert_eq!(fence(&["--linux-features"]), Ok(Invocation::Features { json: false, apparmor: false }));
    assert_eq!(
        fence(&["--linux-features", "--json"]),
        Ok(Invocation::Features { json: true, apparmor: false })
    );
    assert_eq!(fence(&["-h", "foo"]), Ok(Invocation::Help(help::run())));
    assert_eq!(fence(&["help", "plan"]), Ok(Invocation::Help(help::plan())));
    assert_eq!(fence(&["landlock", "-h"]), Ok(Invocation::Help(help::landlock())));
    for words in [&["config"][..], &["config", "nope"], &["config", "-h"], &["help", "config"]] {
        assert_eq!(fence(words), Ok(Invocation::Help(help::config())), "{words:?}");
    }
}

#[test]
fn values_of_our_own_flags() {
    let run = run(&[
        "--engine=landlock",
        "--require",
        "monitor,netns",
        "--require=netns, argv",
        "--keep-fd",
        "5",
        "--keep-fd=7",
        "--log-format=json",
        "--allow-syscall",
        "ptrace",
        "--allow-degraded",
        "--service-execution-model",
        " On-Host ",
        "-t",
        "code",
        "--shell=user",
        "--shell-login",
        "x",
    ]);
    assert_eq!(run.engine, EngineChoice::Landlock);
    assert_eq!(run.require, [Layer::Netns, Layer::Argv, Layer::Monitor]);
    assert_eq!(run.keep_fds, [5, 7]);
    assert!(run.log_json && run.allow_degraded && run.services_on_host && run.shell_login);
    assert_eq!(run.allow_syscalls, ["ptrace"]);
    assert_eq!((run.template.as_deref(), run.shell), (Some("code"), Shell::User));
    let Ok(Invocation::Run(all)) = fence(&["--require=all", "x"]) else { panic!() };
    assert_eq!(all.require.len(), 8);
}

#[test]
fn sub_commands() {
    let Ok(Invocation::Plan { run, json: true }) = fence(&["plan", "--json", "-p1", "--", "ls", "-l"]) else {
        panic!()
    };
    assert_eq!((run.ports.len(), run.command), (1, argv(&["ls", "-l"])));
    assert!(matches!(
        fence(&["-d", "plan", "ls"]),
        Ok(Invocation::Plan { run: Run { debug: true, .. }, .. })
    ));
    assert_eq!(error(&["plan"]), "no command specified. Use -c <command> or provide command arguments");
    let show = ConfigCommand::Show { settings: Some("f".into()), template: None };
    assert_eq!(fence(&["config", "show", "-sf"]), Ok(Invocation::Config(show.clone())));
    assert_eq!(fence(&["-s", "f", "config", "show"]), Ok(Invocation::Config(show)));
    let misplaced = fence(&["-d", "config", "show"]).map_err(|failure| failure.to_string());
    assert_eq!(
        misplaced,
        Err("unknown shorthand flag: 'd' in -d; flags of a run do not go with `config`; to run a program of that \
             name write `-- config`"
            .into())
    );
    let Ok(Invocation::Config(ConfigCommand::Init { force: true, print: true, output, .. })) =
        fence(&["config", "init", "-y", "-o", "x", "--print"])
    else {
        panic!()
    };
    assert_eq!(output, Some("x".into()));
}

#[test]
fn applets_by_sub_command_and_by_name() {
    let words = ["--ro", "/usr", "--rw=.", "--connect", "443", "--bind=0", "--", "ls", "-l"];
    let expected = Ok(Invocation::Landlock(LandlockCommand {
        read: vec!["/usr".into()],
        write: vec![".".into()],
        connect: vec![443],
        bind: vec![0],
        command: vec!["ls".into(), "-l".into()],
        ..Default::default()
    }));
    assert_eq!(fence(&[&["landlock"], &words[..]].concat()), expected);
    assert_eq!(
        parse(std::iter::once("/x/fence-landlock").chain(words).map(OsString::from).collect()),
        expected
    );
    let named = |name: &str, word: &str| parse(vec![name.into(), word.into()]);
    assert_eq!(named("fence-features", "--json"), Ok(Invocation::Features { json: true, apparmor: false }));
    let expected =
        SuperviseCommand { notify_fd: 3, settings: None, template: None, command: vec!["make".into()] };
    assert_eq!(parse(vec!["fence-supervise".into(), "make".into()]), Ok(Invocation::Supervise(expected)));
    let dump = SeccompCommand { dump: true, ..Default::default() };
    assert_eq!(named("fence-seccomp", "--dump"), Ok(Invocation::Seccomp(dump)));
    let Ok(Invocation::Landlock(apply)) = fence(&["--landlock-apply", "--debug", "--", "ls"]) else {
        panic!()
    };
    assert!(apply.from_policy && apply.command == ["ls"]);
}

#[test]
fn help_names_every_flag_and_fits_the_screen() {
    let page = help::run();
    for flag in run::FLAGS {
        assert!(page.contains(&flags::names(flag)), "{}", flag.long);
    }
    for page in [page, help::plan(), help::config(), help::landlock(), help::seccomp(), help::features()] {
        assert!(page.ends_with('\n') && !page.ends_with("\n\n"));
        assert!(page.lines().all(|line| line.chars().count() <= 112), "{page}");
    }
}
