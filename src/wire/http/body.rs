//! Where a body ends. Its bytes pass unchanged, so only boundaries are followed, and strictly: the next hop reads the same
//! bytes and must find the same end.

use super::{MAX_HEAD, Malformed, Result};

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks, the last one empty.
    Chunked,
    /// All until the connection ends; answers only.
    Close,
}

/// The longest line of a chunk's size with its extensions.
const MAX_SIZE_LINE: usize = 4096;

/// Follows one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyReader {
    state: State,
    /// Bytes of the size line or of the trailers up to now.
    line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Bytes that are not looked at; chunked when a chunk's end follows.
    Raw {
        left: u64,
        chunked: bool,
    },
    /// All until the connection ends.
    Close,
    /// The digits of a chunk's size; none before the first one.
    Size(Option<u64>),
    /// After the digits: blanks and extensions.
    Extension(u64),
    /// The line feed after a size.
    SizeEnd(u64),
    /// The two bytes after a chunk's data.
    DataCr,
    DataLf,
    /// A trailer line begins, goes on, ends.
    Trailer,
    TrailerLine,
    TrailerEnd,
    /// The line feed of the last, empty line.
    LastLf,
    Done,
}

impl BodyReader {
    /// At the start of a body.
    pub fn new(body: Body) -> BodyReader {
        let state = match body {
            Body::None | Body::Length(0) => State::Done,
            Body::Length(left) => State::Raw { left, chunked: false },
            Body::Chunked => State::Size(None),
            Body::Close => State::Close,
        };
        BodyReader { state, line: 0 }
    }

    /// Whether the body is over. One that ends with the connection never is.
    pub fn done(&self) -> bool {
        self.state == State::Done
    }

    /// How many bytes from here on belong to the body whatever they are: they may be moved without being looked at.
    pub fn raw_left(&self) -> u64 {
        match self.state {
            State::Raw { left, .. } => left,
            State::Close => u64::MAX,
            _ => 0,
        }
    }

    /// Says that so many of [`BodyReader::raw_left`] went on.
    pub fn skip(&mut self, count: u64) {
        if let State::Raw { left, chunked } = self.state {
            self.state = match left.saturating_sub(count) {
                0 if chunked => State::DataCr,
                0 => State::Done,
                left => State::Raw { left, chunked },
            };
        }
    }

    /// How many of these bytes, which come next, belong to the body.
    ///
    /// # Errors
    /// When they are no chunks.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut at = 0;
        while at < bytes.len() && !self.done() {
            let raw = usize::try_from(self.raw_left()).unwrap_or(usize::MAX).min(bytes.len() - at);
            if raw > 0 {
                self.skip(raw as u64);
                at += raw;
            } else {
                self.state = self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<State> {
        const SIZE: Malformed = Malformed::Syntax("the size of a chunk is no hexadecimal number");
        const END: Malformed = Malformed::Syntax("a chunk does not end where its size says");
        self.line += 1;
        Ok(match (self.state, byte) {
            (State::Size(_) | State::Extension(_), _) if self.line > MAX_SIZE_LINE => {
                return Err(Malformed::Syntax("the line of a chunk's size has more than 4096 bytes"));
            }
            (State::Trailer | State::TrailerLine, _) if self.line > MAX_HEAD => return Err(Malformed::Large),
            (State::Size(size), _) if byte.is_ascii_hexdigit() => {
                let size = size.unwrap_or(0);
                if size >> 56 != 0 {
                    return Err(SIZE);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                State::Size(Some(size << 4 | u64::from(digit)))
            }
            (State::Size(Some(size)), b';' | b' ' | b'\t') => State::Extension(size),
            (State::Size(Some(size)) | State::Extension(size), b'\r') => State::SizeEnd(size),
            (State::Size(_), _) => return Err(SIZE),
            (State::Extension(size), _) if plain(byte) => State::Extension(size),
            (State::SizeEnd(size), b'\n') => {
                self.line = 0;
                if size == 0 { State::Trailer } else { State::Raw { left: size, chunked: true } }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.line = 0;
                State::Size(None)
            }
            (State::DataCr | State::DataLf, _) => return Err(END),
            (State::Trailer, b'\r') => State::LastLf,
            // A line that begins with a blank would go on with the one before.
            (State::Trailer, b' ' | b'\t') => return Err(Malformed::Syntax("a folded line")),
            (State::TrailerLine, b'\r') => State::TrailerEnd,
            (State::Trailer | State::TrailerLine, _) if plain(byte) => State::TrailerLine,
            (State::TrailerEnd, b'\n') => State::Trailer,
            (State::LastLf, b'\n') => State::Done,
            _ => {
                return Err(Malformed::Syntax(
                    "a line of a chunked body has a byte that is not allowed there",
                ));
            }
        })
    }
}

fn plain(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}
