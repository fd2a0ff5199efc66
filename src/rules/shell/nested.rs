//! Commands that a command runs: `env`, `sudo`, `xargs`, `find -exec`, `sh -c` and the like.

use super::{Word, tokens};
use crate::rules::{prefix::basename, ssh};

/// What a command is told to run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inner {
    /// A command, as words.
    Words(Vec<Word>),
    /// A shell line.
    Line(String),
}

/// A program that runs the command in its own arguments.
struct Wrapper {
    names: &'static [&'static str],
    /// Letters of the options that take the next word as their value.
    values: &'static str,
    /// Long options that do so.
    long: &'static [&'static str],
    /// Letters of the options with which nothing is run.
    idle: &'static str,
    /// Words in front of the command that are no options.
    operands: usize,
    /// `NAME=value` may stand in front of the command.
    assigns: bool,
}

const PLAIN: Wrapper = Wrapper { names: &[], values: "", long: &[], idle: "", operands: 0, assigns: false };

const WRAPPERS: &[Wrapper] = &[
    Wrapper {
        names: &[
            "nohup",
            "setsid",
            "builtin",
            "busybox",
            "toybox",
            "unbuffer",
            "noglob",
            "nocorrect",
            "tini",
            "dumb-init",
            "coproc",
        ],
        ..PLAIN
    },
    Wrapper {
        names: &["env"],
        values: "uCa",
        long: &["--unset", "--chdir", "--argv0"],
        assigns: true,
        ..PLAIN
    },
    Wrapper { names: &["cross-env"], assigns: true, ..PLAIN },
    Wrapper {
        names: &["sudo"],
        values: "ughpCrtTURDca",
        long: &[
            "--user",
            "--group",
            "--host",
            "--prompt",
            "--close-from",
            "--role",
            "--type",
            "--chroot",
            "--other-user",
            "--command-timeout",
            "--chdir",
            "--login-class",
        ],
        idle: "levKV",
        assigns: true,
        ..PLAIN
    },
    Wrapper { names: &["doas"], values: "uC", idle: "L", ..PLAIN },
    Wrapper { names: &["nice"], values: "n", long: &["--adjustment"], ..PLAIN },
    Wrapper { names: &["ionice"], values: "cnpPu", long: &["--class", "--classdata"], ..PLAIN },
    Wrapper { names: &["chrt"], values: "TPD", operands: 1, ..PLAIN },
    Wrapper { names: &["taskset", "gosu", "su-exec"], operands: 1, ..PLAIN },
    Wrapper { names: &["timeout"], values: "ks", long: &["--kill-after", "--signal"], operands: 1, ..PLAIN },
    Wrapper { names: &["stdbuf"], values: "ioe", long: &["--input", "--output", "--error"], ..PLAIN },
    Wrapper { names: &["time"], values: "fo", long: &["--format", "--output"], assigns: true, ..PLAIN },
    Wrapper { names: &["command"], idle: "vV", ..PLAIN },
    Wrapper { names: &["exec"], values: "a", ..PLAIN },
    Wrapper {
        names: &["xargs"],
        values: "adEILnPs",
        long: &[
            "--arg-file",
            "--delimiter",
            "--max-args",
            "--max-procs",
            "--max-chars",
            "--process-slot-var",
        ],
        ..PLAIN
    },
    Wrapper { names: &["chroot"], long: &["--userspec", "--groups"], operands: 1, ..PLAIN },
    Wrapper {
        names: &["unshare"],
        values: "RwSGl",
        long: &["--root", "--wd", "--setuid", "--setgid"],
        ..PLAIN
    },
    Wrapper { names: &["nsenter"], values: "tSG", long: &["--target", "--setuid", "--setgid"], ..PLAIN },
    Wrapper {
        names: &["setpriv"],
        long: &["--reuid", "--regid", "--groups", "--inh-caps", "--ambient-caps", "--bounding-set"],
        ..PLAIN
    },
    Wrapper { names: &["runuser"], values: "ugGsw", long: &["--user", "--group", "--shell"], ..PLAIN },
    Wrapper { names: &["flock"], values: "wE", long: &["--timeout"], operands: 1, ..PLAIN },
    Wrapper { names: &["strace", "ltrace"], values: "aeoOpsSuEPIbX", ..PLAIN },
    Wrapper { names: &["xvfb-run"], values: "enfpsw", long: &["--server-args", "--server-num"], ..PLAIN },
];

/// The dynamic loader, started by hand: `/lib64/ld-linux-x86-64.so.2 PROGRAM`.
const LOADER: Wrapper =
    Wrapper { long: &["--library-path", "--preload", "--argv0", "--audit", "--inhibit-rpath"], ..PLAIN };

/// Programs that give a line to a shell: the text after this option.
const LINE_AFTER: &[(&str, &str)] = &[("su", "command"), ("runuser", "command"), ("script", "command")];

const SHELLS: &[&str] =
    &["sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "rbash", "mksh", "lksh", "oksh", "yash", "hush"];

/// The commands that this one runs. `stdin` is the text that it reads, where that stands in the line.
pub(super) fn inner(words: &[Word], stdin: Option<&str>) -> Vec<Inner> {
    let Some((program, arguments)) = words.split_first() else { return Vec::new() };
    let name = basename(&program.text);
    if SHELLS.contains(&name) {
        return shell(arguments, stdin).into_iter().collect();
    }
    match name {
        "eval" => vec![Inner::Line(joined(after_dashes(arguments)))],
        // The first word is the line, unless signals are all there is.
        "trap" => match after_dashes(arguments) {
            [line, _, ..] if !line.text.starts_with('-') => vec![Inner::Line(line.text.clone())],
            _ => Vec::new(),
        },
        "." | "source" if arguments.first().is_some_and(|file| file.text == "/dev/stdin") => {
            stdin.map(|text| Inner::Line(text.to_owned())).into_iter().collect()
        }
        "watch" => {
            let watch = Wrapper { values: "n", long: &["--interval"], ..PLAIN };
            vec![Inner::Line(joined(operands(&watch, arguments).unwrap_or_default()))]
        }
        "find" => find(arguments),
        "ssh" => {
            let words: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
            let local = ssh::read(&words).map(|ssh| ssh.local).unwrap_or_default();
            local.into_iter().map(Inner::Line).collect()
        }
        _ => wrapped(name, arguments, stdin),
    }
}

fn wrapped(name: &str, arguments: &[Word], stdin: Option<&str>) -> Vec<Inner> {
    let mut found = Vec::new();
    if let Some((_, long)) = LINE_AFTER.iter().find(|(program, _)| *program == name) {
        found.extend(option_value(arguments, 'c', long).map(Inner::Line));
    }
    let loader = name.starts_with("ld-") && name.contains(".so");
    let wrapper = match WRAPPERS.iter().find(|wrapper| wrapper.names.contains(&name)) {
        Some(wrapper) => wrapper,
        None if loader => &LOADER,
        None => return found,
    };
    if name == "env"
        && let Some(split) = split_string(wrapper, arguments)
    {
        return vec![Inner::Words(split)];
    }
    if let Some(rest) = operands(wrapper, arguments).filter(|rest| !rest.is_empty()) {
        let options = &arguments[..arguments.len() - rest.len()];
        let command = if name == "xargs" { with_input(options, rest, stdin) } else { rest.to_vec() };
        found.push(match rest {
            [option, line, ..] if name == "flock" && matches!(option.text.as_str(), "-c" | "--command") => {
                Inner::Line(line.text.clone())
            }
            _ => Inner::Words(command),
        });
    }
    found
}

/// The command of `xargs` with the words that it reads: at the end, or where `-I` says.
fn with_input(options: &[Word], command: &[Word], stdin: Option<&str>) -> Vec<Word> {
    let mut command = command.to_vec();
    let marker = options.iter().enumerate().find_map(|(at, word)| match word.text.as_str() {
        "-I" => options.get(at + 1).map(|word| word.text.as_str()),
        "-i" | "--replace" => Some("{}"),
        text => text.strip_prefix("-I").or(text.strip_prefix("-i")).or(text.strip_prefix("--replace=")),
    });
    // A long text in many places would be no line any more; no program name is that long.
    let short = stdin.filter(|text| text.len() <= 256);
    match (marker.filter(|marker| !marker.is_empty()), stdin) {
        (Some(marker), _) => {
            for word in command.iter_mut().filter(|word| word.text.contains(marker)) {
                word.text = word.text.replace(marker, short.map_or("$()", str::trim));
                word.known &= short.is_some();
            }
        }
        (None, Some(text)) => {
            command.extend(tokens(text).into_iter().map(|text| Word { text, known: true }));
        }
        (None, None) => command.push(Word { text: "…".into(), known: false }),
    }
    command
}

fn joined(words: &[Word]) -> String {
    words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
}

fn after_dashes(words: &[Word]) -> &[Word] {
    match words {
        [first, rest @ ..] if first.text == "--" => rest,
        words => words,
    }
}

/// What an option asks for.
enum Asks {
    /// Nothing.
    Flag,
    /// The next word is its value.
    Next,
    /// That no command is run.
    Idle,
}

fn asks(wrapper: &Wrapper, option: &str) -> Asks {
    if option.starts_with("--") {
        // A long option may be cut short.
        let next = !option.contains('=') && wrapper.long.iter().any(|long| long.starts_with(option));
        return if next { Asks::Next } else { Asks::Flag };
    }
    let mut letters = option.chars().skip(1);
    while let Some(letter) = letters.next() {
        if wrapper.idle.contains(letter) {
            return Asks::Idle;
        }
        if wrapper.values.contains(letter) {
            return if letters.next().is_none() { Asks::Next } else { Asks::Flag };
        }
    }
    Asks::Flag
}

/// The words from the command on; nothing when the options say that none is run.
fn operands<'w>(wrapper: &Wrapper, mut words: &'w [Word]) -> Option<&'w [Word]> {
    while let Some((word, rest)) = words.split_first().filter(|(word, _)| word.text.starts_with('-')) {
        words = rest;
        let option = word.text.as_str();
        if option == "--" {
            break;
        }
        match asks(wrapper, option) {
            Asks::Flag => {}
            Asks::Next => words = words.get(1..).unwrap_or_default(),
            Asks::Idle => return None,
        }
    }
    words = words.get(wrapper.operands..).unwrap_or_default();
    if wrapper.assigns {
        let assigned =
            words.iter().take_while(|word| super::assignment(word.text.as_ref()).is_some()).count();
        words = &words[assigned..];
    }
    Some(words)
}

/// `env -S 'git push' x`: the words of the text, with those after it, as words of `env`.
fn split_string(wrapper: &Wrapper, mut words: &[Word]) -> Option<Vec<Word>> {
    while let Some((word, rest)) = words.split_first().filter(|(word, _)| word.text.starts_with('-')) {
        let option = word.text.as_str();
        let letters = option.trim_start_matches(|c| !wrapper.values.contains(c) && c != 'S');
        let glued = match option.strip_prefix("--split-string=") {
            Some(text) => Some(text),
            None if option.starts_with("--") => {
                (option.len() > 3 && "--split-string".starts_with(option)).then_some("")
            }
            None => letters.strip_prefix('S'),
        };
        let Some(glued) = glued else {
            words = if matches!(asks(wrapper, option), Asks::Next) { rest.get(1..)? } else { rest };
            continue;
        };
        let (text, rest) = match glued {
            "" => rest.split_first().map(|(word, rest)| (word.text.as_str(), rest))?,
            text => (text, rest),
        };
        let text = tokens(text).into_iter().map(|text| Word { known: !text.contains('$'), text });
        let env = Word { text: "env".into(), known: true };
        return Some(std::iter::once(env).chain(text).chain(rest.iter().cloned()).collect());
    }
    None
}

/// The value of `-c` or `--command`, wherever it stands.
fn option_value(words: &[Word], letter: char, long: &str) -> Option<String> {
    for (at, word) in words.iter().enumerate() {
        let option = word.text.as_str();
        match option.strip_prefix("--") {
            Some(name) if name == long => return words.get(at + 1).map(|word| word.text.clone()),
            Some(name) => match name.split_once('=') {
                Some((name, value)) if name == long => return Some(value.to_owned()),
                _ => {}
            },
            None => match option.strip_prefix('-').and_then(|letters| letters.split_once(letter)) {
                Some((_, "")) => return words.get(at + 1).map(|word| word.text.clone()),
                Some((_, value)) => return Some(value.to_owned()),
                None => {}
            },
        }
    }
    None
}

/// The line of a shell: after `-c`, or what it reads.
fn shell(arguments: &[Word], stdin: Option<&str>) -> Option<Inner> {
    let (mut command, mut reads) = (false, false);
    let mut words = arguments;
    while let Some((word, rest)) = words.split_first() {
        let option = word.text.as_str();
        if !option.starts_with(['-', '+']) {
            break;
        }
        words = rest;
        match option {
            "-" | "--" => break,
            "--command" => command = true,
            "--rcfile" | "--init-file" | "--init-command" => words = words.get(1..).unwrap_or_default(),
            _ => {
                if let Some(line) = option.strip_prefix("--command=") {
                    return Some(Inner::Line(line.to_owned()));
                }
                if !option.starts_with("--") {
                    command |= option.starts_with('-') && option.contains('c');
                    reads |= option.contains('s');
                    if option.contains(['o', 'O']) {
                        words = words.get(1..).unwrap_or_default();
                    }
                }
            }
        }
    }
    let operand = words.first().map(|word| word.text.as_str());
    if command {
        return operand.map(|line| Inner::Line(line.to_owned()));
    }
    let reads = reads || matches!(operand, None | Some("-" | "/dev/stdin"));
    stdin.filter(|_| reads).map(|line| Inner::Line(line.to_owned()))
}

/// `find … -exec COMMAND ;`
fn find(mut words: &[Word]) -> Vec<Inner> {
    let mut found = Vec::new();
    while let Some((word, rest)) = words.split_first() {
        words = rest;
        if matches!(word.text.as_str(), "-exec" | "-execdir" | "-ok" | "-okdir") {
            let end = words
                .iter()
                .enumerate()
                .position(|(at, word)| {
                    word.text == ";" || word.text == "+" && at > 0 && words[at - 1].text == "{}"
                })
                .unwrap_or(words.len());
            found.push(Inner::Words(words[..end].to_vec()));
            words = &words[end..];
        }
    }
    found
}
