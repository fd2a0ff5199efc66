//! The head of an answer: what the next hop sent, what the client gets.

use super::{Body, Headers, MAX_HEADERS, Malformed, Request, Result, complete, line, worthwhile};

/// A response head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status: 100 to 999.
    pub status: u16,
    /// The rest of the first line.
    pub reason: String,
    /// The minor version: 0 or 1.
    pub minor: u8,
    /// The header lines.
    pub headers: Headers,
    /// What follows the head.
    pub body: Body,
    /// The server goes on with the connection afterwards.
    pub keep_alive: bool,
}

/// Reads a head from the start of `buffer`, whose last `new` bytes were not there when it was asked before, as the answer to
/// `request`: the head and its length, or none while it is not all there. For the answer of a proxy to a tunnel that fence
/// itself asked for, `request` is none.
///
/// # Errors
/// When nothing that follows can make it an answer that may be passed on.
pub fn response(buffer: &[u8], new: usize, request: Option<&Request>) -> Result<Option<(Response, usize)>> {
    if !worthwhile(buffer, new)? {
        return Ok(None);
    }
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut lines);
    let Some(used) = complete(parsed.parse(buffer)?, buffer)? else { return Ok(None) };
    let (Some(status), Some(minor)) = (parsed.code, parsed.version) else { return Ok(None) };
    if status < 100 {
        return Err(Malformed::Syntax("the status is below 100"));
    }
    if status == 101 && !request.is_some_and(|r| r.upgrade) {
        return Err(Malformed::Syntax("the server changes to a protocol that nobody asked for"));
    }
    let headers = Headers::new(parsed.headers);
    // Read in any case: the lines go on to the client where there is no body too.
    let framing = match (headers.chunked(minor)?, headers.content_length()?) {
        (Some(true), _) => Body::Chunked,
        (Some(false), _) | (None, None) => Body::Close,
        (None, Some(length)) => Body::Length(length),
    };
    let body = match (status, request) {
        (100..200 | 204 | 304, _) | (200..300, None) => Body::None,
        (_, Some(request)) if request.is_head() => Body::None,
        _ => framing,
    };
    let keep_alive = body != Body::Close && status != 101 && headers.keep_alive(minor);
    let reason = parsed.reason.unwrap_or_default().to_string();
    Ok(Some((Response { status, reason, minor, headers, body, keep_alive }, used)))
}

impl Response {
    /// An answer before the answer (100, 103): another head follows. Not 101, after which HTTP is over.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// The head for the client. With `close` it is told that the connection ends after this answer, as it does anyway when
    /// that is what ends the body.
    pub fn head(&self, close: bool) -> Vec<u8> {
        let mut out = format!("HTTP/1.1 {} {}\r\n", self.status, self.reason).into_bytes();
        self.headers.write(&mut out, &[]);
        if self.status == 101 {
            line(&mut out, "Connection", b"Upgrade");
            self.headers.values("upgrade").for_each(|protocol| line(&mut out, "Upgrade", protocol));
        } else if !self.is_interim() {
            // A client of HTTP/1.0 must be told that the connection stays.
            line(
                &mut out,
                "Connection",
                if close || self.body == Body::Close { b"close" } else { b"keep-alive" },
            );
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}
