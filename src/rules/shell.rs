//! Shell lines cut into simple commands.
//!
//! This is a splitter, not a grammar: it sees the commands that stand literally in a line, and those in the line of an
//! inner `sh -c`. Everything else in `rules` works on [`Piece`]s, so that a grammar only has to make better ones.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::prefix::basename;

/// One simple command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// As typed, for messages.
    pub text: String,
    /// Its words without quotes; empty ones are left out, as they can't change what a rule means.
    pub words: Vec<String>,
}

/// What ends a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Separators {
    /// `&&`, `||`, `;`, `|`: all that the original knows.
    Original,
    /// Also `&` and the end of a line.
    Every,
}

/// The commands of a shell line, inner lines after the command that holds them.
///
/// First the pieces that the original makes, so that its messages stay; then what is found only by cutting finer.
/// A line is thus never judged more laxly than there.
pub fn pieces(line: &str) -> Vec<Piece> {
    let mut pieces = original_pieces(line);
    let mut finer = Vec::new();
    cut(line, Separators::Every, &mut finer);
    for mut piece in finer {
        let assignments =
            piece.words.iter().take_while(|word| assignment(OsStr::new(word)).is_some()).count();
        piece.words.drain(..assignments);
        if !pieces.contains(&piece) {
            pieces.push(piece);
        }
    }
    pieces
}

/// The commands of a line as the original sees them, for rules on what another machine runs.
pub fn original_pieces(line: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    cut(line, Separators::Original, &mut pieces);
    pieces
}

/// The commands of an argument vector: itself, and those of the line of a `sh -c`.
pub fn pieces_of_words(words: &[OsString]) -> Vec<Piece> {
    let assignments = words.iter().take_while(|word| assignment(word).is_some()).count();
    let texts: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let text = texts.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
    let words: Vec<String> = texts.into_iter().skip(assignments).filter(|word| !word.is_empty()).collect();
    let inner = inner_line(&words).map(pieces).unwrap_or_default();
    std::iter::once(Piece { text, words }).chain(inner).collect()
}

fn cut(line: &str, separators: Separators, out: &mut Vec<Piece>) {
    for text in split(line, separators) {
        let words = tokens(text);
        let inner = inner_line(&words).map(str::to_owned);
        out.push(Piece { text: text.to_owned(), words });
        // The inner line is a part of this one, so this ends.
        if let Some(inner) = inner {
            cut(&inner, separators, out);
        }
    }
}

/// Cuts at separators that stand in no quotes and no parentheses.
fn split(line: &str, separators: Separators) -> Vec<&str> {
    let bytes = line.as_bytes();
    let (mut out, mut quote, mut depth, mut start, mut at) = (Vec::new(), None, 0_u32, 0, 0);
    while at < bytes.len() {
        let length = match (quote, bytes[at]) {
            (Some(open), byte) => {
                if byte == open {
                    quote = None;
                }
                0
            }
            (None, byte @ (b'\'' | b'"')) => {
                quote = Some(byte);
                0
            }
            (None, b'(') => {
                depth += 1;
                0
            }
            (None, b')') => {
                depth = depth.saturating_sub(1);
                0
            }
            (None, _) if depth == 0 => separator(&bytes[at..], separators),
            (None, _) => 0,
        };
        if length > 0 {
            out.push(&line[start..at]);
            start = at + length;
        }
        at += length.max(1);
    }
    out.push(&line[start..]);
    out.into_iter().map(str::trim).filter(|piece| !piece.is_empty()).collect()
}

/// The length of the separator that the text begins with, or 0.
fn separator(text: &[u8], separators: Separators) -> usize {
    match text {
        [b'&', b'&', ..] | [b'|', b'|', ..] => 2,
        [b'|', b'&', ..] if separators == Separators::Every => 2,
        [b';' | b'|', ..] => 1,
        [b'&' | b'\n', ..] if separators == Separators::Every => 1,
        _ => 0,
    }
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

/// The line that a shell is told to run: the word after the first flag that has a `c` in it.
fn inner_line(words: &[String]) -> Option<&str> {
    const SHELLS: [&str; 6] = ["sh", "bash", "zsh", "ksh", "dash", "fish"];
    let (program, rest) = words.split_first()?;
    if !SHELLS.contains(&basename(program)) {
        return None;
    }
    let flag = rest.iter().position(|word| word.starts_with('-') && word.contains('c'))?;
    rest.get(flag + 1).map(String::as_str)
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
    use crate::testdata::{list, table};

    #[test]
    fn every_row_of_the_original() {
        let rows = table(include_str!("../../tests/data/compat/shell.tsv"));
        assert_eq!(rows.len(), 80);
        for row in rows {
            let (id, input) = (&row["id"], row["input"].as_str());
            match row["kind"].as_str() {
                "split" => {
                    let texts: Vec<String> =
                        original_pieces(input).into_iter().map(|piece| piece.text).collect();
                    assert_eq!(texts, list(&row["expected"]), "{id}");
                }
                "tokenize" => assert_eq!(tokens(input), list(&row["expected"]), "{id}"),
                "normalize" => {
                    let mut words = tokens(input);
                    words[0] = basename(&words[0]).to_owned();
                    assert_eq!(words, list(&row["expected"]), "{id}");
                }
                "quote" => {
                    let words: Vec<OsString> = list(input).into_iter().map(OsString::from).collect();
                    assert_eq!(pieces_of_words(&words)[0].text, row["expected"], "{id}");
                }
                kind => assert_eq!(kind, "runtimetoken", "{id}: tested with the rules"),
            }
        }
    }

    #[test]
    fn finer_cuts_come_after_the_originals() {
        let texts = |line| pieces(line).into_iter().map(|piece| piece.text).collect::<Vec<_>>();
        assert_eq!(texts("a & b\nc"), ["a & b\nc", "a", "b", "c"]);
        assert_eq!(texts("a |& 'b & c'"), ["a", "& 'b & c'", "'b & c'"]);
        assert_eq!(pieces("A=1 B='x y' git")[1].words, ["git"]);
    }

    #[test]
    fn an_argument_vector_is_not_cut() {
        let words: Vec<OsString> = ["X=1", "", "echo", "a; b"].map(OsString::from).into();
        let expected = Piece { text: "X=1 '' echo 'a; b'".into(), words: vec!["echo".into(), "a; b".into()] };
        assert_eq!(pieces_of_words(&words), [expected]);
        let words: Vec<OsString> = ["/bin/sh", "-ec", "a; b"].map(OsString::from).into();
        let texts: Vec<_> = pieces_of_words(&words).into_iter().map(|piece| piece.text).collect();
        assert_eq!(texts, ["/bin/sh -ec 'a; b'", "a", "b"]);
    }
}
