//! The grammar of shell lines: POSIX and what bash adds. Recursive descent that keeps the simple commands and nothing else.
//!
//! Nothing is evaluated. Bodies of functions, all branches of `if` and `case`, and both sides of `&&` count as run.

use super::cursor::{Parser, Result, is_meta};
use super::{Piece, Word};

impl Parser<'_> {
    /// The whole text as a line.
    pub(super) fn line(&mut self) -> Result<()> {
        self.list()?;
        match self.peek() {
            None => Ok(()),
            Some(_) => Err("a word or sign stands where none can be"),
        }
    }

    /// Reads another text in the place of this one: the line in backquotes, the text of a here-document.
    pub(super) fn inside<T>(&mut self, text: &str, read: fn(&mut Parser<'_>) -> Result<T>) -> Result<T> {
        self.deeper()?;
        let mut inner = Parser::new(text, self.depth, self.steps);
        inner.out = std::mem::take(&mut self.out);
        let result = read(&mut inner);
        self.out = inner.out;
        self.steps = inner.steps;
        self.compound |= inner.compound;
        self.depth -= 1;
        result
    }

    // Lists and commands.

    /// Commands up to what can't begin one: the caller knows what must stand there.
    pub(super) fn list(&mut self) -> Result<()> {
        self.deeper()?;
        loop {
            self.newlines()?;
            if self.at_list_end() {
                break;
            }
            self.and_or()?;
            match self.peek() {
                Some(b';') if !matches!(self.ahead(1), Some(b';' | b'&')) => self.at += 1,
                Some(b'&') => self.at += 1,
                Some(b'\n') => {}
                _ => break,
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn at_list_end(&self) -> bool {
        matches!(self.peek(), None | Some(b')' | b';'))
            || matches!(self.keyword(), "then" | "do" | "done" | "fi" | "elif" | "else" | "esac" | "}")
    }

    /// Pipelines between `&&` and `||`; `|` and `|&` need no level of their own.
    fn and_or(&mut self) -> Result<()> {
        loop {
            self.command()?;
            self.blanks()?;
            let sign = ["&&", "||", "|&", "|"].into_iter().find(|sign| self.starts(sign));
            let Some(sign) = sign else { return Ok(()) };
            self.at += sign.len();
            self.newlines()?;
        }
    }

    fn at_compound(&self) -> bool {
        self.peek() == Some(b'(')
            || matches!(
                self.keyword(),
                "{" | "if" | "while" | "until" | "for" | "case" | "select" | "[[" | "function" | "coproc"
            )
    }

    fn command(&mut self) -> Result<()> {
        self.deeper()?;
        let mut alone = false;
        loop {
            self.blanks()?;
            if self.continued() {
                return Err("a reserved word is continued on the next line");
            }
            if self.keyword() == "!" {
                self.at += 1;
                alone = true;
            } else if !self.timed_compound()? {
                break;
            }
        }
        if self.at_compound() {
            self.compound = true;
            self.compound_command()?;
            self.blanks()?;
            while self.redirection(&mut None)? {
                self.blanks()?;
            }
        } else if !(alone && self.at_word_end()) {
            self.simple()?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// `time` in front of a compound command; in front of others it is a word like `nice`.
    fn timed_compound(&mut self) -> Result<bool> {
        if self.keyword() != "time" {
            return Ok(false);
        }
        let at = self.at;
        self.at += "time".len();
        self.blanks()?;
        if self.keyword() == "-p" {
            self.at += "-p".len();
            self.blanks()?;
        }
        let compound = self.at_compound() || self.keyword() == "!";
        if !compound {
            self.at = at;
        }
        Ok(compound)
    }

    fn compound_command(&mut self) -> Result<()> {
        let word = self.keyword();
        if self.peek() == Some(b'(') {
            if self.starts("((") && self.attempt(Self::arithmetic) {
                return Ok(());
            }
            self.at += 1;
            self.list()?;
            return self.expect(")");
        }
        self.at += word.len();
        match word {
            "{" => self.list().and_then(|()| self.expect_keyword("}")),
            "if" => self.conditional(),
            "while" | "until" => {
                self.list()?;
                self.body()
            }
            "for" | "select" => self.for_each(),
            "case" => self.case(),
            "[[" => self.test(),
            "function" => {
                self.blanks()?;
                self.some_word()?;
                self.blanks()?;
                if self.peek() == Some(b'(') {
                    self.function_parentheses()?;
                }
                self.newlines()?;
                self.command()
            }
            _ => self.coprocess(),
        }
    }

    /// `((…))` from its start.
    pub(super) fn arithmetic(&mut self) -> Result<()> {
        self.at += 2;
        self.until(b')', false, false)?;
        self.expect(")")
    }

    /// `do …; done`, or braces.
    fn body(&mut self) -> Result<()> {
        let (open, close) = if self.keyword() == "{" { ("{", "}") } else { ("do", "done") };
        self.expect_keyword(open)?;
        self.list()?;
        self.expect_keyword(close)
    }

    fn conditional(&mut self) -> Result<()> {
        loop {
            self.list()?;
            self.expect_keyword("then")?;
            self.list()?;
            match self.keyword() {
                "elif" => self.at += "elif".len(),
                "else" => {
                    self.at += "else".len();
                    self.list()?;
                    return self.expect_keyword("fi");
                }
                _ => return self.expect_keyword("fi"),
            }
        }
    }

    fn for_each(&mut self) -> Result<()> {
        self.blanks()?;
        if self.starts("((") {
            self.arithmetic()?;
        } else {
            self.some_word()?;
        }
        self.newlines()?;
        if self.keyword() == "in" {
            self.at += "in".len();
            self.blanks()?;
            while !self.at_word_end() {
                self.word()?;
                self.blanks()?;
            }
        }
        if self.peek() == Some(b';') {
            self.at += 1;
        }
        self.newlines()?;
        self.body()
    }

    fn case(&mut self) -> Result<()> {
        self.blanks()?;
        self.some_word()?;
        self.newlines()?;
        self.expect_keyword("in")?;
        loop {
            self.newlines()?;
            if self.keyword() == "esac" {
                return self.expect_keyword("esac");
            }
            if self.peek() == Some(b'(') {
                self.at += 1;
                self.blanks()?;
            }
            self.some_word()?;
            self.blanks()?;
            while self.peek() == Some(b'|') {
                self.at += 1;
                self.blanks()?;
                self.some_word()?;
                self.blanks()?;
            }
            self.expect(")")?;
            self.list()?;
            if let Some(sign) = [";;&", ";;", ";&"].into_iter().find(|sign| self.starts(sign)) {
                self.at += sign.len();
            } else if self.keyword() != "esac" {
                return Err("a compound command is not complete");
            }
        }
    }

    /// `[[ … ]]`: words between signs.
    fn test(&mut self) -> Result<()> {
        loop {
            self.newlines()?;
            if self.keyword() == "]]" {
                return self.expect_keyword("]]");
            }
            match self.peek() {
                None | Some(b';') => return Err("a compound command is not complete"),
                _ if self.continued() => return Err("a reserved word is continued on the next line"),
                Some(sign) if is_meta(sign) && !self.at_process_substitution() => self.at += 1,
                Some(_) => drop(self.word()?),
            }
        }
    }

    /// `coproc NAME { …; }`, `coproc COMMAND`
    fn coprocess(&mut self) -> Result<()> {
        self.blanks()?;
        if !self.at_compound() {
            self.attempt(|parser| {
                parser.some_word()?;
                parser.blanks()?;
                if parser.at_compound() { Ok(()) } else { Err("it is no name") }
            });
        }
        self.command()
    }

    fn function_parentheses(&mut self) -> Result<()> {
        self.at += 1;
        self.blanks()?;
        self.expect(")")?;
        self.newlines()
    }

    /// A simple command, or a function's definition.
    fn simple(&mut self) -> Result<()> {
        let (start, documents) = (self.at, self.pending.len());
        let mut piece = Piece::default();
        let mut end = start;
        loop {
            if self.redirection(&mut piece.stdin)? {
                end = self.at;
            } else if self.at_word_end() {
                if self.peek() == Some(b'(') && piece.words.len() == 1 && piece.assignments.is_empty() {
                    self.function_parentheses()?;
                    self.compound = true;
                    return self.command();
                }
                break;
            } else {
                let value = self.assignment();
                if let Some(array) = value.filter(|value| self.ahead(*value) == Some(b'(')) {
                    self.array(array, &mut piece)?;
                } else if value.is_some() && piece.words.is_empty() {
                    let word = self.word()?;
                    piece.assignments.push(word.text);
                } else {
                    let start = self.at;
                    let word = self.word()?;
                    let continued = self.text[start..self.at].contains("\\\n");
                    let number = word.text.starts_with('{') || word.text.bytes().all(|b| b.is_ascii_digit());
                    if continued && number && matches!(self.peek(), Some(b'<' | b'>')) {
                        // It belongs to the redirection.
                    } else if continued
                        && piece.words.is_empty()
                        && super::assignment(word.text.as_ref()).is_some()
                    {
                        piece.assignments.push(word.text);
                    } else {
                        piece.words.push(word);
                    }
                }
                end = self.at;
            }
            self.blanks()?;
        }
        if end == start {
            return Err("a command is missing");
        }
        piece.text = self.text[start..end].into();
        let index = self.out.len();
        // An array on several lines may have used them up.
        for document in self.pending.iter_mut().skip(documents) {
            document.reader = Some(index);
        }
        self.out.push(piece);
        Ok(())
    }

    /// The distance to the value when an assignment stands here: `name=`, `name+=`, `name[…]=`.
    fn assignment(&self) -> Option<usize> {
        let rest = &self.text.as_bytes()[self.at..];
        let mut at = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
        if at == 0 || rest[0].is_ascii_digit() {
            return None;
        }
        if rest.get(at) == Some(&b'[') {
            at += rest[at..].iter().take_while(|b| !is_meta(**b)).position(|b| *b == b']')? + 1;
        }
        if rest.get(at) == Some(&b'+') {
            at += 1;
        }
        (rest.get(at) == Some(&b'=')).then_some(at + 1)
    }

    /// `name=( … )`: words over any number of lines.
    fn array(&mut self, value: usize, piece: &mut Piece) -> Result<()> {
        let start = self.at;
        self.at += value + 1;
        loop {
            self.newlines()?;
            if self.peek() == Some(b')') {
                self.at += 1;
                break;
            }
            self.some_word()?;
        }
        let text = self.text[start..start + value].to_owned();
        match piece.words.is_empty() {
            true => piece.assignments.push(text),
            false => piece.words.push(Word { text, known: false }),
        }
        Ok(())
    }

    /// A word that must be there.
    pub(super) fn some_word(&mut self) -> Result<Word> {
        if self.at_word_end() { Err("a word is missing") } else { self.word() }
    }

    /// The list of a substitution and what closes it. Its here-documents are its own.
    pub(super) fn substitution(&mut self, close: &str) -> Result<()> {
        let outer = std::mem::take(&mut self.pending);
        let read = self.list().and_then(|()| self.expect(close));
        let own = std::mem::replace(&mut self.pending, outer);
        // Shells differ in where such a text would be.
        if own.is_empty() { read } else { Err("a here-document in a substitution has no text") }
    }
}
