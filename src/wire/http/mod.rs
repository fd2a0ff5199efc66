//! HTTP/1 as a forward proxy sees it: heads are read, judged and written anew; bodies are only measured.
//!
//! Framing is strict. What two programs could read in two ways (both lengths, a folded line, a bare line feed in a chunk) is
//! refused: the next request on the connection would be one that nobody judged.

pub mod answer;
pub mod body;
pub mod request;
pub mod response;

use std::fmt;

use crate::rules::net::host::HostError;

pub use answer::Answer;
pub use body::{Body, BodyReader};
pub use request::{Request, Target};
pub use response::Response;

/// The longest head, and the longest trailer section.
pub const MAX_HEAD: usize = 64 * 1024;
/// The most header lines of one head.
pub const MAX_HEADERS: usize = 128;

/// Why bytes are no message that may be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// What is wrong, for the answer's text.
    Syntax(&'static str),
    /// The host of the target.
    Host(HostError),
    /// The head is longer than [`MAX_HEAD`].
    Large,
    /// The head has more lines than [`MAX_HEADERS`].
    ManyHeaders,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Syntax(what) => f.write_str(what),
            Malformed::Host(e) => e.fmt(f),
            Malformed::Large => f.write_str("the head has more than 64 KiB"),
            Malformed::ManyHeaders => f.write_str("the head has more than 128 header lines"),
        }
    }
}

impl From<httparse::Error> for Malformed {
    fn from(e: httparse::Error) -> Malformed {
        Malformed::Syntax(match e {
            httparse::Error::TooManyHeaders => return Malformed::ManyHeaders,
            httparse::Error::HeaderName => "a header name has a byte that is not allowed there",
            httparse::Error::HeaderValue => "a header value has a byte that is not allowed there",
            httparse::Error::NewLine => "a carriage return stands alone",
            httparse::Error::Version => "the version is not HTTP/1.0 or HTTP/1.1",
            httparse::Error::Status => "the status is not a number of three digits",
            httparse::Error::Token => "the first line is not one of HTTP",
        })
    }
}

type Result<T> = std::result::Result<T, Malformed>;

/// A header line as it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// In the sender's spelling.
    pub name: String,
    /// Without blanks around it.
    pub value: Vec<u8>,
}

impl Header {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// The lines of a head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<Header>);

impl Headers {
    fn new(parsed: &[httparse::Header<'_>]) -> Headers {
        Headers(parsed.iter().map(|h| Header { name: h.name.into(), value: h.value.into() }).collect())
    }

    /// The values of all lines of that name.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |header| header.is(name)).map(|header| header.value.as_slice())
    }

    /// The items of all lines of that name, which are lists with commas between.
    fn items<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.values(name).flat_map(|value| value.split(|b| *b == b',')).map(<[u8]>::trim_ascii)
    }

    fn has_item(&self, name: &str, item: &str) -> bool {
        self.items(name).any(|found| found.eq_ignore_ascii_case(item.as_bytes()))
    }

    /// Whether the sender goes on with the connection after this message.
    fn keep_alive(&self, minor: u8) -> bool {
        let said = |item| self.has_item("connection", item) || self.has_item("proxy-connection", item);
        !said("close") && (minor == 1 || said("keep-alive"))
    }

    /// `Content-Length`, once or several times the same.
    fn content_length(&self) -> Result<Option<u64>> {
        let mut length = None;
        for item in self.items("content-length") {
            let digits = !item.is_empty() && item.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(item).ok().filter(|_| digits).and_then(|text| text.parse().ok());
            let number: u64 = number.ok_or(Malformed::Syntax("Content-Length is not a number"))?;
            if length.replace(number).is_some_and(|before| before != number) {
                return Err(Malformed::Syntax("two Content-Length say different things"));
            }
        }
        Ok(length)
    }

    /// What `Transfer-Encoding` ends with: none without such a line, else whether it is `chunked`, once and last.
    fn chunked(&self, minor: u8) -> Result<Option<bool>> {
        if self.values("transfer-encoding").next().is_none() {
            return Ok(None);
        }
        if minor == 0 {
            return Err(Malformed::Syntax("Transfer-Encoding in HTTP/1.0"));
        }
        if self.values("content-length").next().is_some() {
            return Err(Malformed::Syntax("both Transfer-Encoding and Content-Length"));
        }
        let codings: Vec<&[u8]> = self.items("transfer-encoding").collect();
        let chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
        match codings.iter().position(chunked) {
            Some(at) if at + 1 < codings.len() => {
                Err(Malformed::Syntax("Transfer-Encoding goes on after chunked"))
            }
            found => Ok(Some(found.is_some())),
        }
    }

    /// Writes the lines that are for the next hop too: none that speak of this connection, one length.
    fn write(&self, out: &mut Vec<u8>, drop: &[&str]) {
        let mut length_written = false;
        for Header { name, value } in &self.0 {
            let named = |list: &[&str]| list.iter().any(|other| name.eq_ignore_ascii_case(other));
            let length = named(&["content-length"]);
            let framing = length || named(&["transfer-encoding"]);
            // A message can't have its own framing taken away by naming it in Connection.
            let of_connection = !framing && self.has_item("connection", name);
            if named(&HOP_BY_HOP) || named(drop) || of_connection || length && length_written {
                continue;
            }
            length_written |= length;
            // The same length twice in one line is written once.
            let value = if length { value.split(|b| *b == b',').next().unwrap_or_default() } else { value };
            line(out, name, value.trim_ascii());
        }
    }
}

/// Headers of one connection, whatever `Connection` names. Of `Upgrade` see the callers.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "proxy-authentication-info",
    "te",
    "upgrade",
];

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Whether a buffer is worth parsing: it is new, or `new` bytes at its end brought the end of a line. So a head that comes
/// byte by byte is not parsed for each byte.
fn worthwhile(buffer: &[u8], new: usize) -> Result<bool> {
    let fresh = &buffer[buffer.len().saturating_sub(new)..];
    if buffer.iter().take(8).all(|b| matches!(b, b'\r' | b'\n')) && buffer.len() >= 8 {
        return Err(Malformed::Syntax("empty lines before the first line"));
    }
    Ok(buffer.len() == fresh.len() || fresh.contains(&b'\n') || buffer.len() > MAX_HEAD)
}

/// What a parser's answer means: the head's length, none for a part of one.
fn complete(status: httparse::Status<usize>, buffer: &[u8]) -> Result<Option<usize>> {
    match status {
        httparse::Status::Complete(used) if used <= MAX_HEAD => Ok(Some(used)),
        httparse::Status::Partial if buffer.len() <= MAX_HEAD => Ok(None),
        _ => Err(Malformed::Large),
    }
}

#[cfg(test)]
mod tests;
