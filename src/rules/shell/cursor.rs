//! The reader's place in a shell line: what comes next, what may still be spent, and what stands between words.

use super::Piece;
use super::redirect::HereDoc;

/// Why a line can't be read; the sentence ends an "as": it names what is wrong.
pub(super) type Why = &'static str;
pub(super) type Result<T> = std::result::Result<T, Why>;

/// How deep commands may lie in each other: each level counts twice, as a list and as a command.
pub(super) const MAX_DEPTH: u32 = 128;
pub(super) const TOO_DEEP: Why = "its commands are nested too deep";
const TOO_MUCH: Why = "it is too complicated";

/// Reads one text from left to right.
pub(super) struct Parser<'s> {
    pub(super) text: &'s str,
    pub(super) at: usize,
    pub(super) depth: u32,
    /// Steps that are left: a text that needs a try and a second try at each level must end too.
    pub(super) steps: usize,
    pub(super) out: Vec<Piece>,
    pub(super) pending: Vec<HereDoc>,
    /// Something else than lists of simple commands was seen.
    pub(super) compound: bool,
}

/// The length of the longest reserved word.
const LONGEST: usize = "function".len();

pub(super) fn is_meta(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')')
}

impl<'s> Parser<'s> {
    pub(super) fn new(text: &'s str, depth: u32, steps: usize) -> Self {
        Parser { text, at: 0, depth, steps, out: Vec::new(), pending: Vec::new(), compound: false }
    }

    // Looking ahead.

    pub(super) fn ahead(&self, distance: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + distance).copied()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.ahead(0)
    }

    pub(super) fn starts(&self, sign: &str) -> bool {
        self.text.as_bytes()[self.at..].starts_with(sign.as_bytes())
    }

    /// `<(` or `>(`
    pub(super) fn at_process_substitution(&self) -> bool {
        matches!(self.peek(), Some(b'<' | b'>')) && self.ahead(1) == Some(b'(')
    }

    /// The next byte can't be part of a word.
    pub(super) fn at_word_end(&self) -> bool {
        self.peek().is_none_or(is_meta) && !self.at_process_substitution()
    }

    /// The word here, if it could be a reserved one: short, and ended by what ends words.
    pub(super) fn keyword(&self) -> &'s str {
        let bytes = &self.text.as_bytes()[self.at..];
        let length = bytes.iter().take(LONGEST + 1).take_while(|b| !is_meta(**b)).count();
        self.text.get(self.at..self.at + length).unwrap_or_default()
    }

    /// A reserved word with a continued line in it or right after it. No one writes that but to hide something.
    pub(super) fn continued(&self) -> bool {
        const RESERVED: &str =
            "! { } if then else elif fi while until for do done case esac select function time coproc [[ ]]";
        let (mut word, mut rest, mut continued) = (String::new(), &self.text.as_bytes()[self.at..], false);
        loop {
            match rest {
                [b'\\', b'\n', after @ ..] => (continued, rest) = (true, after),
                [byte, after @ ..] if !is_meta(*byte) && word.len() < LONGEST => {
                    word.push(char::from(*byte));
                    rest = after;
                }
                _ => break,
            }
        }
        continued && RESERVED.split(' ').any(|reserved| reserved == word)
    }

    /// Pays for what is read: everything is bounded by what was granted at the start.
    pub(super) fn spend(&mut self, steps: usize) -> Result<()> {
        self.steps = self.steps.checked_sub(steps).ok_or(TOO_MUCH)?;
        Ok(())
    }

    pub(super) fn step(&mut self) -> Result<()> {
        self.spend(1)
    }

    pub(super) fn deeper(&mut self) -> Result<()> {
        self.step()?;
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(TOO_DEEP) } else { Ok(()) }
    }

    /// Tries to read; where that fails everything is as before.
    pub(super) fn attempt(&mut self, read: fn(&mut Self) -> Result<()>) -> bool {
        let (at, depth, out, pending) = (self.at, self.depth, self.out.len(), self.pending.len());
        let done = read(self).is_ok();
        if !done {
            (self.at, self.depth) = (at, depth);
            self.out.truncate(out);
            self.pending.truncate(pending);
        }
        done
    }

    pub(super) fn expect(&mut self, sign: &str) -> Result<()> {
        if !self.starts(sign) {
            return Err("a parenthesis or brace is not closed");
        }
        self.at += sign.len();
        Ok(())
    }

    pub(super) fn expect_keyword(&mut self, word: &str) -> Result<()> {
        if self.keyword() != word {
            return Err("a compound command is not complete");
        }
        self.at += word.len();
        Ok(())
    }

    // Between words.

    /// Blanks, continued lines and a comment.
    pub(super) fn blanks(&mut self) -> Result<()> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t') => self.at += 1,
                Some(b'\\') if self.ahead(1) == Some(b'\n') => self.at += 2,
                Some(b'#') => {
                    let rest = &self.text.as_bytes()[self.at..];
                    let length = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
                    self.at += length;
                    return self.spend(length);
                }
                _ => return Ok(()),
            }
            self.step()?;
        }
    }

    /// The same and ends of lines, with the here-documents that follow them.
    pub(super) fn newlines(&mut self) -> Result<()> {
        loop {
            self.blanks()?;
            if self.peek() != Some(b'\n') {
                return Ok(());
            }
            self.step()?;
            self.at += 1;
            for document in std::mem::take(&mut self.pending) {
                self.here_document(&document)?;
            }
        }
    }
}
