//! Words: quotes, escapes, expansions and the commands inside them.

use super::Word;
use super::cursor::{Parser, Result, is_meta};

const NOT_CLOSED: &str = "a quote is not closed";

impl Parser<'_> {
    /// A word, up to what ends words.
    pub(super) fn word(&mut self) -> Result<Word> {
        let mut word = Word { text: String::new(), known: true };
        while let Some(byte) = self.peek() {
            if self.at_process_substitution() {
                self.at += 2;
                self.substitution(")")?;
                word.unknown("<()");
            } else if is_meta(byte) {
                break;
            } else if matches!(byte, b'?' | b'*' | b'+' | b'@' | b'!') && self.ahead(1) == Some(b'(') {
                let start = self.at;
                self.at += 2;
                self.until(b')', false, false)?;
                word.unknown(&self.text[start..self.at]);
            } else {
                self.part(&mut word, byte)?;
            }
        }
        Ok(word)
    }

    /// How long the quoted text is whose opening quote stands here.
    pub(super) fn quote_length(&mut self, quote: char) -> Result<usize> {
        let rest = &self.text[self.at + 1..];
        let length = rest.find(quote);
        self.spend(length.unwrap_or(rest.len()))?;
        length.ok_or(NOT_CLOSED)
    }

    /// The next character, whatever it is.
    pub(super) fn character(&mut self, text: &mut String) {
        if let Some(c) = self.text[self.at..].chars().next() {
            text.push(c);
            self.at += c.len_utf8();
        }
    }

    /// One piece of a word outside of double quotes.
    fn part(&mut self, word: &mut Word, byte: u8) -> Result<()> {
        self.step()?;
        match byte {
            b'\\' => {
                self.at += 1;
                match self.peek() {
                    Some(b'\n') => self.at += 1,
                    Some(_) => self.character(&mut word.text),
                    None => word.text.push('\\'),
                }
            }
            b'\'' => {
                let length = self.quote_length('\'')?;
                word.text.push_str(&self.text[self.at + 1..][..length]);
                self.at += length + 2;
            }
            b'"' => {
                self.at += 1;
                self.quoted(word, Some(b'"'))?;
            }
            b'`' => self.backquotes(word, false)?,
            b'$' => self.dollar(word, false)?,
            _ => {
                // A pattern may become a name that is there, `{a,b}` two words.
                word.known &= !matches!(byte, b'*' | b'?' | b'[' | b'{');
                self.character(&mut word.text);
            }
        }
        Ok(())
    }

    /// The text of a here-document.
    pub(super) fn here_text(&mut self) -> Result<String> {
        let mut word = Word::default();
        self.quoted(&mut word, None)?;
        Ok(word.text)
    }

    /// What double quotes hold, up to `close`; without it, up to the end.
    fn quoted(&mut self, word: &mut Word, close: Option<u8>) -> Result<()> {
        loop {
            self.step()?;
            match self.peek() {
                byte if byte == close => {
                    self.at += usize::from(byte.is_some());
                    return Ok(());
                }
                None => return Err(NOT_CLOSED),
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'\n') => self.at += 1,
                        Some(b'$' | b'`' | b'\\') => self.character(&mut word.text),
                        Some(b'"') if close.is_some() => self.character(&mut word.text),
                        _ => word.text.push('\\'),
                    }
                }
                Some(b'`') => self.backquotes(word, close.is_some())?,
                Some(b'$') => self.dollar(word, true)?,
                Some(_) => self.character(&mut word.text),
            }
        }
    }

    /// A line in backquotes, which has one level of backslashes of its own.
    fn backquotes(&mut self, word: &mut Word, in_quotes: bool) -> Result<()> {
        self.at += 1;
        let mut line = String::new();
        loop {
            self.step()?;
            match (self.peek().ok_or(NOT_CLOSED)?, self.ahead(1)) {
                (b'`', _) => break,
                (b'\\', Some(b'$' | b'`' | b'\\')) => self.at += 1,
                (b'\\', Some(b'"')) if in_quotes => self.at += 1,
                _ => {}
            }
            self.character(&mut line);
        }
        self.at += 1;
        self.inside(&line, |inner| inner.line())?;
        word.unknown("$()");
        Ok(())
    }

    /// What begins with a dollar sign.
    fn dollar(&mut self, word: &mut Word, in_quotes: bool) -> Result<()> {
        let start = self.at;
        match self.ahead(1) {
            Some(b'(') => {
                let arithmetic = self.ahead(2) == Some(b'(')
                    && self.attempt(|parser| {
                        parser.at += 1;
                        parser.arithmetic()
                    });
                if !arithmetic {
                    self.at += 2;
                    self.substitution(")")?;
                }
                word.unknown("$()");
                return Ok(());
            }
            Some(b'{') => return self.parameter(word, in_quotes),
            Some(b'[') => {
                self.at += 2;
                self.until(b']', false, false)?;
                word.unknown("$()");
                return Ok(());
            }
            Some(b'\'') if !in_quotes => return self.ansi_c(word),
            Some(b'"') if !in_quotes => {
                self.at += 2;
                return self.quoted(word, Some(b'"'));
            }
            Some(b'@' | b'*' | b'#' | b'?' | b'$' | b'!' | b'-' | b'0'..=b'9') => self.at += 2,
            Some(b'_' | b'a'..=b'z' | b'A'..=b'Z') => {
                let rest = &self.text.as_bytes()[self.at + 1..];
                self.at += 1 + rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
            }
            next => {
                self.at += 1;
                word.text.push('$');
                if next == Some(b'\\') {
                    let rest = self.text[self.at..].trim_start_matches("\\\n");
                    let continued = self.text.len() - self.at > rest.len();
                    if continued && rest.starts_with(['(', '{', '[', '\'', '"']) {
                        return Err("a dollar sign is continued on the next line");
                    }
                    word.known &= !continued;
                }
                return Ok(());
            }
        }
        word.unknown(&self.text[start..self.at]);
        Ok(())
    }

    /// `${…}`
    fn parameter(&mut self, word: &mut Word, in_quotes: bool) -> Result<()> {
        let (start, pieces) = (self.at, self.out.len());
        self.at += 2;
        if matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'|')) {
            // bash 5.3: a list in this very shell.
            self.at += 1;
            self.substitution("}")?;
        } else {
            let rest = &self.text.as_bytes()[self.at..];
            let prefix = usize::from(matches!(rest, [b'!' | b'#', next, ..] if *next != b'}'));
            let name = rest[prefix..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
            self.at += prefix + name.max(usize::from(!matches!(rest.get(prefix), None | Some(b'}'))));
            if self.peek() == Some(b'[') {
                self.at += 1;
                self.until(b']', in_quotes, false)?;
            }
            // Between double quotes, `'` is a quote in a pattern; in a default value it is one for bash, but not for dash.
            let operator = if self.peek() == Some(b':') { self.ahead(1) } else { self.peek() };
            let unclear = in_quotes && matches!(operator, Some(b'-' | b'=' | b'?' | b'+' | b'\\'));
            self.until(b'}', in_quotes, unclear)?;
        }
        // A text that is read again as a line must not bring its commands a second time.
        let typed = if self.out.len() == pieces { &self.text[start..self.at] } else { "${}" };
        word.unknown(typed);
        Ok(())
    }

    /// Anything up to `close`, which is passed over. Parentheses and brackets count.
    pub(super) fn until(&mut self, close: u8, in_quotes: bool, unclear_apostrophe: bool) -> Result<()> {
        self.deeper()?;
        let open = match close {
            b')' => Some(b'('),
            b']' => Some(b'['),
            _ => None,
        };
        let (mut level, mut sink) = (0_u32, Word::default());
        loop {
            let byte = self.peek().ok_or("a parenthesis or brace is not closed")?;
            if byte == close && level == 0 {
                break;
            } else if byte == close {
                level -= 1;
            } else if Some(byte) == open {
                level += 1;
            }
            if byte == b'\'' && unclear_apostrophe {
                let length = self.quote_length('\'')?;
                if self.text[self.at + 1..][..length].contains(['}', '"', '$', '`', '\\']) {
                    return Err("shells read the apostrophe between double quotes in two ways");
                }
                self.at += length + 2;
            } else if !in_quotes && self.at_process_substitution() && close == b'}' {
                self.at += 2;
                self.substitution(")")?;
            } else if matches!(byte, b'\\' | b'"' | b'`' | b'$' | b'\'') {
                self.part(&mut sink, byte)?;
                sink.text.clear();
            } else {
                self.step()?;
                self.at += 1;
            }
        }
        self.at += 1;
        self.depth -= 1;
        Ok(())
    }

    /// `$'…'`
    fn ansi_c(&mut self, word: &mut Word) -> Result<()> {
        self.at += 2;
        loop {
            self.step()?;
            match self.peek().ok_or(NOT_CLOSED)? {
                b'\'' => break,
                b'\\' => {
                    self.at += 1;
                    self.escape(&mut word.text);
                }
                _ => self.character(&mut word.text),
            }
        }
        self.at += 1;
        Ok(())
    }

    /// What a backslash means in `$'…'`; bytes above 127 become the character of that number.
    fn escape(&mut self, text: &mut String) {
        let (radix, most, skip) = match self.peek() {
            Some(b'x') => (16, 2, 1),
            Some(b'u') => (16, 4, 1),
            Some(b'U') => (16, 8, 1),
            Some(b'0'..=b'7') => (8, 3, 0),
            Some(b'c') => {
                self.at += 1;
                return self.character(&mut String::new());
            }
            Some(letter) => {
                let plain = match letter {
                    b'n' => '\n',
                    b't' => '\t',
                    b'r' => '\r',
                    b'a' | b'b' | b'e' | b'E' | b'f' | b'v' => '\u{1}',
                    b'\\' | b'\'' | b'"' | b'?' => char::from(letter),
                    _ => return text.push('\\'),
                };
                self.at += 1;
                return text.push(plain);
            }
            None => return,
        };
        let digits = &self.text.as_bytes()[self.at + skip..];
        let count = digits.iter().take(most).take_while(|b| char::from(**b).is_digit(radix)).count();
        let value = digits[..count]
            .iter()
            .fold(0_u32, |value, b| value * radix + char::from(*b).to_digit(radix).unwrap_or_default());
        self.at += skip + count;
        text.extend(char::from_u32(value));
    }
}
