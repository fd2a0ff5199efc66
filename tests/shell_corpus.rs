//! The corpus of shell lines against real shells: bash and dash run each line with programs that only write down how they
//! were called. Whatever a shell runs, the grammar has seen; in rows marked `=`, also nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops on what it does not expect")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fence::config::policy::Policy;
use fence::rules::command::check;
use fence::rules::shell::{Piece, quote, read};

/// Real programs: what they run is written down, they are not.
const REAL: [&str; 10] =
    ["sh", "bash", "env", "nice", "nohup", "timeout", "setsid", "stdbuf", "xargs", "find"];

/// What bash and dash run without a program, and `time`, which is a word of bash's grammar.
const BUILT_IN: &str = ". : [ break builtin cd command continue declare echo eval exec exit export false kill local \
                        mapfile printf read return set shift shopt test time trap true umask unset wait";

/// Each process writes a file of its own: some run at the same time.
const STUB: &str = "#!/bin/sh\nprintf '%s\\037' \"${0##*/}\" \"$@\" > \"$LOG/$$\"\n";

fn unescape(cell: &str) -> String {
    let mut out = String::new();
    let mut chars = cell.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next().expect("a character") {
                'n' => '\n',
                't' => '\t',
                other => other,
            },
            c => c,
        });
    }
    out
}

/// A directory with the programs of one run, removed at the end.
struct Stubs {
    dir: PathBuf,
}

impl Stubs {
    fn new() -> Stubs {
        let dir = std::env::temp_dir().join(format!("fence-corpus-{}", std::process::id()));
        fs::create_dir_all(dir.join("bin")).unwrap();
        fs::write(dir.join("stub"), STUB).unwrap();
        fs::set_permissions(dir.join("stub"), fs::Permissions::from_mode(0o755)).unwrap();
        for name in REAL {
            let real = ["/bin", "/usr/bin"].map(|dir| Path::new(dir).join(name));
            let real = real.into_iter().find(|file| file.exists()).expect(name);
            symlink(real, dir.join("bin").join(name)).unwrap();
        }
        Stubs { dir }
    }

    fn add(&self, name: &str) {
        let file = self.dir.join("bin").join(name);
        let plain = !name.is_empty() && !name.contains(['$', '/', '*']);
        if plain && !BUILT_IN.split_whitespace().any(|word| word == name) && !file.exists() {
            symlink("../stub", file).unwrap();
        }
    }

    /// The commands that the shell ran, each as its words.
    fn run(&self, shell: &str, line: &str) -> Result<Vec<Vec<String>>, String> {
        let (work, log) = (self.dir.join("work"), self.dir.join("log"));
        _ = fs::remove_dir_all(&work);
        fs::create_dir_all(work.join("pkg/x")).unwrap();
        fs::create_dir(work.join("sub")).unwrap();
        fs::write(work.join("x.c"), "").unwrap();
        _ = fs::remove_dir_all(&log);
        fs::create_dir(&log).unwrap();
        for name in ["main", "configure"] {
            symlink(self.dir.join("stub"), work.join(name)).unwrap();
        }
        let out = Command::new(shell)
            .args(["-c", line])
            .current_dir(&work)
            .env_clear()
            .env("PATH", self.dir.join("bin"))
            .env("LOG", &log)
            .env("OUT", "out")
            .env("HOME", &work)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&out.stderr);
        if message.contains("yntax error") {
            return Err(format!("{shell} can't read {line:?}: {message}"));
        }
        // Empty words are left out of what is seen.
        let words = |record: &str| {
            record.split_terminator('\x1f').filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        let files = fs::read_dir(&log).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
        Ok(files.map(|record| words(&record)).collect())
    }
}

impl Drop for Stubs {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.dir);
    }
}

/// Whether the words that ran can be those of the command: a word that is not known stands for any number of words.
fn is(ran: &[String], piece: &[(String, bool)]) -> bool {
    match piece.split_first() {
        None => ran.is_empty(),
        Some(((word, true), piece)) => {
            ran.split_first().is_some_and(|(first, ran)| first == word && is(ran, piece))
        }
        Some(((_, false), piece)) => (0..=ran.len()).any(|count| is(&ran[count..], piece)),
    }
}

fn words(piece: &Piece) -> Vec<(String, bool)> {
    let mut words: Vec<_> = piece.words.iter().map(|word| (word.text.clone(), word.known)).collect();
    if let Some((name, _)) = words.first_mut() {
        *name = name.rsplit('/').next().unwrap_or_default().to_owned();
    }
    words
}

#[test]
fn shells_run_what_the_grammar_sees() {
    let stubs = Stubs::new();
    let (mut lines, mut runs, mut commands) = (0, 0, 0);
    let table =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/shell_corpus.tsv")).unwrap();
    let mut wrong = String::new();
    for row in table.lines().skip(1) {
        let cells: Vec<&str> = row.split('\t').collect();
        let (kind, line) = (cells[0], unescape(cells[1]));
        lines += 1;
        let shells: &[&str] = match kind.trim_end_matches(['=', '<']) {
            "sh" => &["dash", "bash"],
            "bash" => &["bash"],
            kind => {
                assert_eq!(kind, "-", "{row}");
                continue;
            }
        };
        let seen: Vec<_> = read(&line).pieces.iter().map(words).filter(|words| !words.is_empty()).collect();
        seen.iter().for_each(|words| stubs.add(&words[0].0));
        let silent: BTreeSet<&str> = BUILT_IN.split_whitespace().chain(REAL).collect();
        for shell in shells {
            runs += 1;
            let ran = match stubs.run(&format!("/bin/{shell}"), &line) {
                Ok(ran) => ran,
                Err(message) => {
                    wrong += &message;
                    continue;
                }
            };
            commands += ran.len();
            for command in ran.iter().filter(|command| !seen.iter().any(|piece| is(command, piece))) {
                wrong += &format!("{shell} runs {command:?} of {line:?}\n");
            }
            let functions = |name: &str| {
                line.contains(&format!("{name}()"))
                    || line.contains(&format!("{name} ()"))
                    || line.contains(&format!("function {name}"))
            };
            let expected = seen.iter().filter(|words| {
                words[0].1 && !silent.contains(words[0].0.as_str()) && !functions(&words[0].0)
            });
            for piece in expected.filter(|_| kind.ends_with('=')) {
                if !ran.iter().any(|command| is(command, piece)) {
                    wrong += &format!("{shell} does not run {piece:?} of {line:?}\n");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(
        lines >= 300 && runs >= 500 && commands >= 800,
        "{lines} lines, {runs} runs, {commands} commands"
    );
}

/// What lines are made of.
const PARTS: &[&str] = &[
    "a",
    "b ",
    " ",
    "\t",
    "\n",
    "\\\n",
    ";",
    "&",
    "&&",
    "||",
    "|",
    "|&",
    "(",
    ")",
    "((",
    "))",
    "{ ",
    ";}",
    "$(",
    "`",
    "\\`",
    "\"",
    "'",
    "\\",
    "$",
    "$'",
    "$\"",
    "${",
    "${x:-",
    "${x#",
    "}",
    "#",
    " # ",
    "<<E\n",
    "\nE\n",
    "<<-'E'\n",
    "<<<",
    ">f ",
    "2>&1",
    "<(",
    "{x}>",
    "if ",
    "; then ",
    "else ",
    " fi",
    "while ",
    "; do ",
    " done",
    "for i in ",
    "case a in ",
    " a) ",
    ";;",
    " esac",
    "x=",
    "x=(",
    "[[ ",
    " ]]",
    "! ",
    "time ",
    "f() ",
    "function f ",
    "coproc ",
    "eval ",
    "sh -c ",
    "env -S ",
    "xargs ",
    "find . -exec ",
    "sudo -u ",
    "trap ",
    "ssh -o ProxyCommand=",
    "git ",
    "push",
    "=",
    "*",
    "{a,b}",
    "@(",
    "é",
    "\u{1}",
];

/// Random lines; FENCE_LINES says how many. None makes the reader panic, and each is read in a bounded time. A denied
/// command on the line before is always seen. A command that is known is found again when its words are written out.
#[test]
fn random_lines_are_read_or_refused() {
    let count: u64 = std::env::var("FENCE_LINES").map_or(20_000, |count| count.parse().unwrap());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut policy = Policy::default();
    policy.command.deny = vec!["git push".into()];
    let (mut read_whole, mut line) = (0_u64, String::new());
    for _ in 0..count {
        line.clear();
        (0..1 + random(24)).for_each(|_| line.push_str(PARTS[random(PARTS.len())]));
        let reading = read(&line);
        read_whole += u64::from(reading.unreadable.is_empty());
        for piece in reading.pieces.iter().filter(|piece| piece.words.iter().all(|word| word.known)) {
            let typed: Vec<String> = piece.words.iter().map(|word| quote(&word.text)).collect();
            let again = read(&format!("nohup -- {}", typed.join(" ")));
            assert!(
                typed.is_empty() || again.pieces[1].words == piece.words,
                "{line:?}: {piece:?} {again:?}"
            );
        }
        let script = format!("git push\n{line}").into();
        let refused = check(&policy, &fence::cli::Command::Line { script, params: Vec::new() }).unwrap_err();
        assert_eq!(refused.status, 126, "{line:?}");
    }
    assert!(read_whole * 20 > count, "{read_whole} of {count} lines were grammar");
}
