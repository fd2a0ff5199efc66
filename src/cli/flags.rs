//! Flags in the forms of pflag (`-p3000`, `-p=3000`, `--port=3000`, `-md`, `-dc 'x'`, `-d=false`), driven by a table.
//!
//! One [`Flag`] row is the only place that knows a flag: the scanner sets values through it and the help text is made from
//! it. The usual crates do not fit: argh refuses bytes that are not UTF-8, lexopt has no optional values for switches and
//! other words for errors than those that the users' scripts know.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::error::{Failure, Result};

/// One flag and what it does to `T`, the flags as typed.
pub(super) struct Flag<T: 'static> {
    /// The long name, without dashes.
    pub(super) long: &'static str,
    /// The one-letter name.
    pub(super) short: Option<u8>,
    /// What it takes and where that goes.
    pub(super) set: Set<T>,
    /// One sentence for the help text.
    pub(super) help: &'static str,
    /// The heading under which the help text shows it.
    pub(super) group: &'static str,
}

/// Whether a flag takes a value, and where it goes.
pub(super) enum Set<T> {
    /// On, or what `=true` and `=false` say; never takes the next word.
    Switch(fn(&mut T, bool)),
    /// Takes a value, named in the help text.
    Value(&'static str, fn(&mut T, OsString)),
}

/// Where the flags ended.
pub(super) struct Rest {
    /// The words from the first that is no flag; without the `--`.
    pub(super) words: Vec<OsString>,
    /// A `--` came before them.
    pub(super) dashes: bool,
}

/// Reads flags into `target` up to the first word that is none, or `--`.
pub(super) fn scan<T>(flags: &[Flag<T>], words: Vec<OsString>, target: &mut T) -> Result<Rest> {
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        if bytes == b"--" {
            return Ok(Rest { words: words.collect(), dashes: true });
        }
        if bytes.len() < 2 || bytes[0] != b'-' {
            return Ok(Rest { words: std::iter::once(word).chain(words).collect(), dashes: false });
        }
        if bytes[1] == b'-' {
            long(flags, &bytes[2..], &mut words, target)?;
        } else {
            short(flags, &bytes[1..], &mut words, target)?;
        }
    }
    Ok(Rest { words: Vec::new(), dashes: false })
}

/// `--name`, `--name=value`, `--name value`
fn long<T>(
    flags: &[Flag<T>],
    text: &[u8],
    words: &mut impl Iterator<Item = OsString>,
    target: &mut T,
) -> Result<()> {
    let (name, value) = match text.iter().position(|b| *b == b'=') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    if name.is_empty() || name[0] == b'-' {
        return Err(Failure::new(format!("bad flag syntax: --{}", String::from_utf8_lossy(text))));
    }
    let flag = flags
        .iter()
        .find(|f| f.long.as_bytes() == name)
        .ok_or_else(|| Failure::new(format!("unknown flag: --{}", String::from_utf8_lossy(name))))?;
    match flag.set {
        Set::Switch(set) => set(target, value.map_or(Ok(true), |v| boolean(flag, v))?),
        Set::Value(_, set) => {
            let value = value.map(owned).or_else(|| words.next());
            set(target, value.ok_or_else(|| missing(&format!("--{}", flag.long)))?);
        }
    }
    Ok(())
}

/// The letters of one word: switches, the last one may take a value (glued, after `=`, or the next word).
fn short<T>(
    flags: &[Flag<T>],
    letters: &[u8],
    words: &mut impl Iterator<Item = OsString>,
    target: &mut T,
) -> Result<()> {
    let mut letters = letters;
    while let Some((&letter, after)) = letters.split_first() {
        let quoted = format!("'{}' in -{}", letter.escape_ascii(), String::from_utf8_lossy(letters));
        let flag = flags
            .iter()
            .find(|f| f.short == Some(letter))
            .ok_or_else(|| Failure::new(format!("unknown shorthand flag: {quoted}")))?;
        // A lone `=` with nothing after it is no separator: `-p=` has the value `=`.
        let value = after.strip_prefix(b"=").filter(|v| !v.is_empty());
        match flag.set {
            Set::Switch(set) => match value {
                Some(value) => {
                    set(target, boolean(flag, value)?);
                    return Ok(());
                }
                None => set(target, true),
            },
            Set::Value(_, set) => {
                let glued = value.unwrap_or(after);
                let value = if glued.is_empty() { words.next() } else { Some(owned(glued)) };
                set(target, value.ok_or_else(|| missing(&quoted))?);
                return Ok(());
            }
        }
        letters = after;
    }
    Ok(())
}

fn owned(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

fn missing(flag: &str) -> Failure {
    Failure::new(format!("flag needs an argument: {flag}"))
}

/// The spellings of a truth value that Go's flag packages take.
fn boolean<T>(flag: &Flag<T>, value: &[u8]) -> Result<bool> {
    match value {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Ok(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Ok(false),
        _ => Err(Failure::new(format!(
            "invalid argument {} for \"{}\" flag: expected true or false",
            quoted(OsStr::from_bytes(value)),
            names(flag)
        ))),
    }
}

/// `-d, --debug`
pub(super) fn names<T>(flag: &Flag<T>) -> String {
    match flag.short {
        Some(letter) => format!("-{}, --{}", char::from(letter), flag.long),
        None => format!("--{}", flag.long),
    }
}

/// A value in double quotes, for a message.
pub(super) fn quoted(value: &OsStr) -> String {
    format!("{:?}", value.to_string_lossy())
}

/// Refuses two flags that say different things.
pub(super) fn exclusive(names: [&str; 2], given: [bool; 2]) -> Result<()> {
    if given != [true, true] {
        return Ok(());
    }
    Err(Failure::new(format!("use --{} or --{}, not both", names[0], names[1])))
}
