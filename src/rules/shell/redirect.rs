//! Redirections and here-documents.

use std::rc::Rc;

use super::cursor::{Parser, Result, is_meta};

/// A here-document whose text begins after the next end of line.
pub(super) struct HereDoc {
    delimiter: String,
    /// Some of the delimiter is quoted: the text is taken as it is.
    literal: bool,
    /// `<<-`
    strip_tabs: bool,
    /// The command that reads it; none for a compound command.
    pub(super) reader: Option<usize>,
}

impl Parser<'_> {
    /// A redirection, if one stands here; a here-string goes to `stdin`.
    pub(super) fn redirection(&mut self, stdin: &mut Option<Rc<str>>) -> Result<bool> {
        let rest = &self.text.as_bytes()[self.at..];
        let number = match rest.first() {
            Some(b'{') => {
                let name = rest[1..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
                if rest.get(name + 1) == Some(&b'}') { name + 2 } else { 0 }
            }
            _ => rest.iter().take_while(|b| b.is_ascii_digit()).count(),
        };
        const SIGNS: [&str; 12] = ["<<<", "<<-", "<<", "<&", "<>", "<", "&>>", "&>", ">>", ">&", ">|", ">"];
        let Some(sign) = SIGNS.into_iter().find(|sign| rest[number..].starts_with(sign.as_bytes())) else {
            return Ok(false);
        };
        if number == 0 && self.at_process_substitution() || number > 0 && sign.starts_with('&') {
            return Ok(false);
        }
        self.at += number + sign.len();
        self.blanks()?;
        match sign {
            "<<" | "<<-" => self.delimiter(sign == "<<-")?,
            "<<<" => *stdin = Some(self.some_word()?.text.into()),
            _ => drop(self.some_word()?),
        }
        Ok(true)
    }

    /// The delimiter of a here-document: quotes are taken off, nothing is expanded.
    fn delimiter(&mut self, strip_tabs: bool) -> Result<()> {
        let mut document = HereDoc { delimiter: String::new(), literal: false, strip_tabs, reader: None };
        let start = self.at;
        while let Some(byte) = self.peek().filter(|b| !is_meta(*b)) {
            match byte {
                b'\'' | b'"' => {
                    document.literal = true;
                    let length = self.quote_length(char::from(byte))?;
                    document.delimiter.push_str(&self.text[self.at + 1..][..length]);
                    self.at += length + 2;
                }
                b'\\' if self.ahead(1) == Some(b'\n') => self.at += 2,
                b'\\' => {
                    document.literal = true;
                    self.at += 1;
                    self.character(&mut document.delimiter);
                }
                _ => self.character(&mut document.delimiter),
            }
            self.step()?;
        }
        if self.at == start {
            return Err("a word is missing");
        }
        self.pending.push(document);
        Ok(())
    }

    pub(super) fn here_document(&mut self, document: &HereDoc) -> Result<()> {
        let (text, start) = (self.text, self.at);
        let mut end = start;
        while self.at < text.len() {
            end = self.at;
            let mut line = String::new();
            loop {
                let rest = &text[self.at..];
                let length = rest.find('\n').unwrap_or(rest.len());
                self.spend(length + 1)?;
                line.push_str(&rest[..length]);
                self.at = (self.at + length + 1).min(text.len());
                // A line that a backslash continues is one line, also where it makes up the delimiter.
                let backslashes = line.bytes().rev().take_while(|b| *b == b'\\').count();
                if document.literal || backslashes % 2 == 0 || self.at == text.len() {
                    break;
                }
                line.pop();
            }
            let line = if document.strip_tabs { line.trim_start_matches('\t') } else { &line };
            if line == document.delimiter {
                break;
            }
            end = self.at;
        }
        let body = &text[start..end];
        let body = match document.literal {
            true => body.to_owned(),
            false => self.inside(body, |inner| inner.here_text())?,
        };
        if let Some(piece) = document.reader.and_then(|reader| self.out.get_mut(reader)) {
            piece.stdin = Some(body.into());
        }
        Ok(())
    }
}
