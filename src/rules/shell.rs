//! Shell lines: the simple commands in them, those in the lines of inner shells, and those that other programs are told
//! to run. Pure, and bounded in time and depth; what can't be read is said, never passed over.

mod cursor;
mod grammar;
mod nested;
mod redirect;
mod word;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::rc::Rc;

use cursor::{MAX_DEPTH, Parser, TOO_DEEP};
use nested::Inner;

/// A word of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// Quotes and escapes are taken off; `$x` and patterns stand as typed, `$(…)` without what it runs.
    pub text: String,
    /// It is the word that the program gets: nothing in it is expanded.
    pub known: bool,
}

impl Word {
    /// Adds a part that only the run knows.
    fn unknown(&mut self, typed: &str) {
        self.text.push_str(typed);
        self.known = false;
    }
}

/// One simple command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// As typed, for messages.
    pub text: Rc<str>,
    /// `NAME=value` words in front.
    pub assignments: Vec<String>,
    /// The words after these. None, when the command only assigns or redirects.
    pub words: Vec<Word>,
    /// The text of a here-document or here-string.
    pub stdin: Option<Rc<str>>,
}

/// What was found in a line or an argument vector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// In the order of the text; the commands that one runs come after it.
    pub pieces: Vec<Piece>,
    /// Lines that are not shell grammar, each with the reason: nothing of them is in `pieces`.
    pub unreadable: Vec<(String, &'static str)>,
    /// There is something else than lists of simple commands: loops, functions, sub-shells.
    pub compound: bool,
}

/// Reads a shell line.
pub fn read(line: &str) -> Reading {
    let mut reader = Reader::new(line.len());
    reader.line(line, 0);
    reader.found
}

/// Reads an argument vector: itself, and what it runs by way of `sh -c`, `env` and the like.
pub fn read_words(words: &[OsString]) -> Reading {
    let texts: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let assigned = words.iter().take_while(|word| assignment(word).is_some()).count();
    let text = texts.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
    let mut words = texts.into_iter();
    let assignments = words.by_ref().take(assigned).collect();
    let words = words.map(|text| Word { text, known: true }).collect();
    let mut reader = Reader::new(text.len());
    reader.piece(Piece { text: text.into(), assignments, words, stdin: None }, 0);
    reader.found
}

/// Follows a command into the commands that it runs.
struct Reader {
    found: Reading,
    steps: usize,
}

impl Reader {
    /// Real lines need two or three steps a byte. More are for lines in lines.
    fn new(length: usize) -> Self {
        Reader { found: Reading::default(), steps: length.saturating_mul(16).saturating_add(1000) }
    }

    fn line(&mut self, line: &str, depth: u32) {
        let mut parser = Parser::new(line, depth, self.steps);
        let read = parser.line();
        self.steps = parser.steps;
        match read {
            Err(why) => self.found.unreadable.push((line.to_owned(), why)),
            Ok(()) => {
                self.found.compound |= parser.compound;
                for piece in parser.out {
                    self.piece(piece, depth);
                }
            }
        }
    }

    fn piece(&mut self, mut piece: Piece, depth: u32) {
        // An empty word changes no rule's meaning, and the original drops it.
        piece.words.retain(|word| !(word.known && word.text.is_empty()));
        let inner = nested::inner(&piece.words, piece.stdin.as_deref());
        self.steps = self.steps.saturating_sub(if inner.is_empty() { 0 } else { 8 * piece.words.len() });
        if !inner.is_empty() && (depth >= MAX_DEPTH || self.steps == 0) {
            self.found.unreadable.push((piece.text.to_string(), TOO_DEEP));
            return;
        }
        let text = piece.text.clone();
        // The commands of `find` come after each other: the first has read it.
        let mut stdin = piece.stdin.clone();
        self.found.pieces.push(piece);
        for command in inner {
            match command {
                Inner::Line(line) => self.line(&line, depth + 2),
                Inner::Words(words) => {
                    let (text, stdin) = (text.clone(), stdin.take());
                    self.piece(Piece { text, assignments: Vec::new(), words, stdin }, depth + 2);
                }
            }
        }
    }
}

/// Every place in a line that can't be read where a command might begin: its words from there on, without quotes.
///
/// Nothing is left out, whatever shell it is for.
pub fn scattered(line: &str) -> Vec<String> {
    let ends = |c: char| c.is_whitespace() || ";&|<>(){}`$".contains(c);
    let bare = |word: &str| word.replace(['\'', '"', '\\'], "");
    line.split(ends).map(bare).filter(|word| !word.is_empty()).collect()
}

/// Words between blanks and tabs, quotes taken off; a backslash is an ordinary character; empty words vanish.
pub fn tokens(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ' | '\t') => words.push(String::new()),
            (_, c) => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A word as it must be written in a shell line to stay one word.
pub fn quote(word: &str) -> String {
    const SPECIAL: &str = " \t\n\"'\\$`!*?[](){}<>|&;#";
    if !word.is_empty() && !word.contains(|c| SPECIAL.contains(c)) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A word that a shell takes as an assignment: a name, `=`, anything.
pub fn assignment(word: &OsStr) -> Option<(OsString, OsString)> {
    let bytes = word.as_bytes();
    let (name, value) = bytes.split_at(bytes.iter().position(|b| *b == b'=')?);
    let (first, others) = name.split_first()?;
    let named = (first.is_ascii_alphabetic() || *first == b'_')
        && others.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let owned = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    named.then(|| (owned(name), owned(&value[1..])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::prefix::basename;
    use crate::testdata::{list, table};

    fn shown(reading: &Reading) -> Vec<String> {
        let words =
            |piece: &Piece| piece.words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
        reading.pieces.iter().filter(|piece| !piece.words.is_empty()).map(words).collect()
    }

    /// Where the grammar knows better than the original's splitter, the row has our answer and the reason.
    #[test]
    fn every_row_of_the_original() {
        let rows = table(include_str!("../../tests/data/compat/shell.tsv"));
        assert_eq!(rows.len(), 80);
        for row in rows {
            let (id, input) = (&row["id"], row["input"].as_str());
            let expected = if row["ours"].is_empty() { &row["expected"] } else { &row["ours"] };
            assert_eq!(row["ours"].is_empty(), row["reason"].is_empty(), "{id}");
            let reading = read(input);
            match row["kind"].as_str() {
                "split" => {
                    let texts: Vec<&str> = reading.pieces.iter().map(|piece| &*piece.text).collect();
                    assert_eq!(texts, list(expected), "{id}: {reading:?}");
                }
                "tokenize" => {
                    assert_eq!(tokens(input), list(&row["expected"]), "{id}");
                    let words: Vec<_> = reading.pieces.iter().flat_map(|piece| &piece.words).collect();
                    let words: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
                    assert_eq!(words, list(expected), "{id}");
                }
                "normalize" => {
                    let mut words = tokens(input);
                    words[0] = basename(&words[0]).to_owned();
                    assert_eq!(words, list(expected), "{id}");
                }
                "quote" => {
                    let words: Vec<OsString> = list(input).into_iter().map(OsString::from).collect();
                    assert_eq!(&*read_words(&words).pieces[0].text, expected, "{id}");
                }
                kind => assert_eq!(kind, "runtimetoken", "{id}: tested with the rules"),
            }
        }
    }

    #[test]
    fn every_line_of_the_corpus() {
        let rows = table(include_str!("../../tests/data/shell_corpus.tsv"));
        assert!(rows.len() >= 300, "{}", rows.len());
        let mut wrong = String::new();
        for row in rows {
            let reading = read(&row["line"]);
            let expected: Vec<&str> = row["commands"].split(" ¦ ").filter(|text| !text.is_empty()).collect();
            if shown(&reading) != expected || !reading.unreadable.is_empty() {
                wrong += &format!(
                    "{:?}\n  expected {expected:?}\n  got      {:?} {:?}\n",
                    row["line"],
                    shown(&reading),
                    reading.unreadable
                );
            }
        }
        assert!(wrong.is_empty(), "\n{wrong}");
    }

    #[test]
    fn an_argument_vector_is_not_cut() {
        let words: Vec<OsString> = ["X=1", "", "echo", "a; b"].map(OsString::from).into();
        let pieces = read_words(&words).pieces;
        assert_eq!(
            (&*pieces[0].text, pieces[0].assignments.as_slice()),
            ("X=1 '' echo 'a; b'", &["X=1".to_owned()][..])
        );
        assert_eq!(
            pieces[0].words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>(),
            ["echo", "a; b"]
        );
        let words: Vec<OsString> = ["/bin/sh", "-ec", "a; b"].map(OsString::from).into();
        let pieces = read_words(&words).pieces;
        assert_eq!(
            pieces.iter().map(|piece| &*piece.text).collect::<Vec<_>>(),
            ["/bin/sh -ec 'a; b'", "a", "b"]
        );
    }

    /// None of these may be read as if the rest were not there.
    #[test]
    fn what_is_not_grammar() {
        for line in [
            "echo 'a",
            "echo \"a",
            "echo `a",
            "echo $(a",
            "echo ${a",
            "(a",
            "{ a",
            "a)",
            "a; }",
            "if a; then b",
            "if a; b; fi",
            "fi",
            "a; done",
            "for x in a; echo; done",
            "case x in a) b",
            "[[ a; b ]]",
            "a |",
            "&& a",
            "a ;;",
            "echo (a)",
            "a <",
            "a <<",
            "a { b; }; true",
            "a \"${x:-it's}\"",
            "a \"${x:-'}\"; b; \"'}\"",
            "x=(a",
            "f() ",
            "echo $((1",
            "echo @(a",
            "$(cat <<A)\nx\nA",
        ] {
            let reading = read(line);
            assert_eq!(reading.unreadable.len(), 1, "{line:?}: {reading:?}");
        }
    }

    #[test]
    fn words_that_only_the_run_knows() {
        let known = |line: &str| {
            read(line)
                .pieces
                .last()
                .expect("a command")
                .words
                .iter()
                .map(|word| word.known)
                .collect::<Vec<_>>()
        };
        assert_eq!(known(r#"a 'b' "c" \d $'e' ~/f --g=h"#), [true; 7]);
        assert_eq!(
            known(r#"$a "$b" ${c} `d` *e f? [g] {h,i} a<(b) $((1))"#).iter().filter(|known| **known).count(),
            0
        );
    }

    /// What would take too long or too deep a stack is refused as unreadable, in a time that grows with the length.
    #[test]
    fn hostile_lines_end() {
        let many = |text: &str| text.repeat(8_000 / text.len());
        for text in [
            "(",
            "((",
            "$(",
            "$((",
            "${x:-",
            "`",
            "\"$(",
            "{ ",
            "! ",
            "if ",
            "f() ",
            "coproc ",
            "eval ",
            "env ",
            "sudo ",
            "<(",
            "x=(",
            "[[ ",
            "case x in ",
            "for x in a; do ",
            "\\",
            "'",
            "<<A ",
            "<<A\n",
            "${",
            "$[",
            "@(",
            "time ",
            "a|",
            "a;",
            "a&&",
            "$'\\",
            "{{,",
            "(( $(",
            "xargs -I",
            "xargs --replace= ",
            "xargs -I$ ",
            "find . -exec ",
            "sh -c ",
            "while ",
            "$((\"$((",
            "`\\`",
            "a[",
            "1>",
            "{x}>",
            "\n",
            "#",
            "(\n",
            "env -S ",
            "trap ",
            "ssh -o ",
            "function a ",
            "$(( $(cat <<A\n",
        ] {
            let started = std::time::Instant::now();
            let line = many(text);
            drop(read(&line));
            drop(read(&(line.clone() + &many(")") + &many("}"))));
            drop(read(&format!("bash <<< '{}'", line.replace('\'', ""))));
            assert!(started.elapsed().as_secs() < 20, "{text:?}: {:?}", started.elapsed());
        }
    }
}
