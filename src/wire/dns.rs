//! DNS messages (RFC 1035, EDNS by RFC 6891): questions for addresses and their answers, for a client and for a small server.

use crate::rules::net::host::{Host, canonical};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A kind of record, by its number.
pub mod kind {
    /// An IPv4 address.
    pub const A: u16 = 1;
    /// An IPv6 address.
    pub const AAAA: u16 = 28;
    pub(super) const CNAME: u16 = 5;
    pub(super) const OPT: u16 = 41;
}

/// How a question was answered, by its number.
pub mod code {
    /// There is such a name, perhaps without records of this kind.
    pub const NO_ERROR: u8 = 0;
    /// The question is malformed.
    pub const FORMAT: u8 = 1;
    /// The server could not find out.
    pub const SERVER: u8 = 2;
    /// There is no such name.
    pub const NO_NAME: u8 = 3;
    /// Not that kind of question.
    pub const NOT_IMPLEMENTED: u8 = 4;
    /// The server does not want to say.
    pub const REFUSED: u8 = 5;
}

/// The longest message over UDP that a client here takes, and says so.
pub const MAX_UDP: usize = 1232;

const INTERNET: u16 = 1;
const HEADER: usize = 12;
/// Of one answer no more are looked at; nobody dials so many.
const MAX_ADDRESSES: usize = 32;
const MAX_RECORDS: usize = 512;
const MAX_ALIASES: usize = 16;

const IS_ANSWER: u16 = 1 << 15;
const OPCODE: u16 = 0xf << 11;
const TRUNCATED: u16 = 1 << 9;
const RECURSION_DESIRED: u16 = 1 << 8;
const RECURSION_AVAILABLE: u16 = 1 << 7;

/// Labels, each after its length, without the end.
type Name = Vec<u8>;

/// The bytes of a question: the addresses of `name`, a canonical one, of this kind. None when the name is no DNS name.
pub fn query(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(64);
    let counts = [1, 0, 0, 1];
    header(&mut out, id, RECURSION_DESIRED, counts);
    out.extend_from_slice(&wire_name(name)?);
    out.push(0);
    [kind, INTERNET].iter().for_each(|n| put(&mut out, *n));
    option_record(&mut out);
    Some(out)
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The addresses; none when the name has none of this kind.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoName,
    /// Not all of it fitted: to be asked again over TCP.
    Truncated,
    /// The server could not or would not, with its code.
    Failed(u8),
}

/// Reads the answer to the question of [`query`]. None for a message that is no answer to it: it may be forged, and the right
/// one may still come.
pub fn answer(message: &[u8], id: u16, name: &str, kind: u16) -> Option<Answer> {
    let mut at = Cursor { message, at: 0 };
    let (got, flags, counts) = at.header()?;
    let asked = wire_name(name)?;
    if got != id || flags & (IS_ANSWER | OPCODE) != IS_ANSWER || counts[0] != 1 {
        return None;
    }
    if at.name()? != asked || at.u16()? != kind || at.u16()? != INTERNET {
        return None;
    }
    if flags & TRUNCATED != 0 {
        return Some(Answer::Truncated);
    }
    match (flags & 0xf) as u8 {
        code::NO_ERROR => {}
        code::NO_NAME => return Some(Answer::NoName),
        code => return Some(Answer::Failed(code)),
    }
    let mut records = Vec::new();
    for _ in 0..usize::from(counts[1]).min(MAX_RECORDS) {
        let Some(record) = at.record() else { return Some(Answer::Failed(code::FORMAT)) };
        records.push(record);
    }
    Some(Answer::Addresses(addresses(message, &records, asked, kind)))
}

/// The addresses at the end of the chain of aliases that begins with `name`.
fn addresses(message: &[u8], records: &[Record], mut name: Name, kind: u16) -> Vec<IpAddr> {
    for _ in 0..MAX_ALIASES {
        let alias = records.iter().find(|r| r.kind == kind::CNAME && r.class == INTERNET && r.name == name);
        let Some(record) = alias else { break };
        let Some(next) = (Cursor { message, at: record.data }).name() else { return Vec::new() };
        name = next;
    }
    let own = records.iter().filter(|r| r.kind == kind && r.class == INTERNET && r.name == name);
    own.filter_map(|r| address(message.get(r.data..r.data + r.length)?, kind)).take(MAX_ADDRESSES).collect()
}

fn address(data: &[u8], kind: u16) -> Option<IpAddr> {
    match kind {
        kind::A => <[u8; 4]>::try_from(data).ok().map(|octets| Ipv4Addr::from(octets).into()),
        kind::AAAA => <[u8; 16]>::try_from(data).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

/// A question that a client asked a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    id: u16,
    recursion_desired: bool,
    /// The name in canonical form; none when no host can have it.
    pub host: Option<Host>,
    /// The kind of record, see [`kind`].
    pub kind: u16,
    name: Name,
    edns: bool,
}

/// Reads a question.
///
/// # Errors
/// The bytes to answer with when it is malformed or of another kind; none when it must not be answered at all.
pub fn question(message: &[u8]) -> Result<Question, Option<Vec<u8>>> {
    let mut at = Cursor { message, at: 0 };
    let (id, flags, counts) = at.header().ok_or(None)?;
    if flags & IS_ANSWER != 0 {
        return Err(None);
    }
    let refuse = |code: u8| {
        let mut out = Vec::new();
        header(&mut out, id, flags & (OPCODE | RECURSION_DESIRED) | IS_ANSWER | u16::from(code), [0; 4]);
        Some(out)
    };
    if flags & OPCODE != 0 {
        return Err(refuse(code::NOT_IMPLEMENTED));
    }
    if counts[0] != 1 {
        return Err(refuse(code::FORMAT));
    }
    // The name in its own spelling: some clients check that it comes back so.
    let (name, end) = walk(message, at.at).ok_or_else(|| refuse(code::FORMAT))?;
    at.at = end;
    let numbers = at.u16().zip(at.u16());
    let (kind, class) = numbers.ok_or_else(|| refuse(code::FORMAT))?;
    if class != INTERNET {
        return Err(refuse(code::NOT_IMPLEMENTED));
    }
    let others = counts[1..].iter().map(|count| usize::from(*count)).sum::<usize>().min(MAX_RECORDS);
    let mut edns = false;
    for _ in 0..others {
        let record = at.record().ok_or_else(|| refuse(code::FORMAT))?;
        edns |= record.kind == kind::OPT;
    }
    let recursion_desired = flags & RECURSION_DESIRED != 0;
    Ok(Question { id, recursion_desired, host: host(&name), kind, name, edns })
}

impl Question {
    /// The answer with those of the addresses that are of the kind asked for; they may be kept for `seconds`.
    pub fn answer(&self, addresses: &[IpAddr], seconds: u32) -> Vec<u8> {
        let fitting = addresses
            .iter()
            .filter(|a| if a.is_ipv4() { self.kind == kind::A } else { self.kind == kind::AAAA });
        let fitting: Vec<&IpAddr> = fitting.take(MAX_ADDRESSES).collect();
        let mut out = self.begin(code::NO_ERROR, fitting.len() as u16);
        for address in fitting {
            // The name: a pointer to the question's.
            [0xc000 | HEADER as u16, self.kind, INTERNET].iter().for_each(|n| put(&mut out, *n));
            out.extend_from_slice(&seconds.to_be_bytes());
            match address {
                IpAddr::V4(v4) => {
                    put(&mut out, 4);
                    out.extend_from_slice(&v4.octets());
                }
                IpAddr::V6(v6) => {
                    put(&mut out, 16);
                    out.extend_from_slice(&v6.octets());
                }
            }
        }
        self.end(out)
    }

    /// An answer without records: see [`code`].
    pub fn code(&self, code: u8) -> Vec<u8> {
        self.end(self.begin(code, 0))
    }

    fn begin(&self, code: u8, answers: u16) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let desired = if self.recursion_desired { RECURSION_DESIRED } else { 0 };
        let flags = IS_ANSWER | RECURSION_AVAILABLE | desired | u16::from(code);
        header(&mut out, self.id, flags, [1, answers, 0, u16::from(self.edns)]);
        out.extend_from_slice(&self.name);
        out.push(0);
        [self.kind, INTERNET].iter().for_each(|n| put(&mut out, *n));
        out
    }

    fn end(&self, mut out: Vec<u8>) -> Vec<u8> {
        if self.edns {
            option_record(&mut out);
        }
        out
    }
}

/// The name as a host. A label may hold any byte, also a dot, or letters that a host has in Punycode only: such a name is none
/// of ours.
fn host(name: &[u8]) -> Option<Host> {
    let mut text = Vec::with_capacity(name.len());
    for label in labels(name) {
        if !text.is_empty() {
            text.push(b'.');
        }
        if label.contains(&b'.') || !label.is_ascii() {
            return None;
        }
        text.extend_from_slice(label);
    }
    canonical(&text).ok()
}

fn labels(mut name: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (&length, rest) = name.split_first()?;
        let (label, rest) = rest.split_at_checked(usize::from(length))?;
        name = rest;
        Some(label)
    })
}

/// A name in the form of a message, in lower case.
fn wire_name(name: &str) -> Option<Name> {
    let mut out = Vec::with_capacity(name.len() + 1);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|n| (1..64).contains(n))?;
        out.push(length);
        out.extend(label.bytes().map(|b| b.to_ascii_lowercase()));
    }
    (out.len() < 255).then_some(out)
}

fn put(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn header(out: &mut Vec<u8>, id: u16, flags: u16, counts: [u16; 4]) {
    [id, flags].iter().chain(&counts).for_each(|n| put(out, *n));
}

/// EDNS: the root's name, OPT, the size we take, nothing else.
fn option_record(out: &mut Vec<u8>) {
    out.push(0);
    [kind::OPT, MAX_UDP as u16, 0, 0, 0].iter().for_each(|n| put(out, *n));
}

/// One record of a message.
struct Record {
    name: Name,
    kind: u16,
    class: u16,
    /// Where its data begins, and its length; inside the message.
    data: usize,
    length: usize,
}

struct Cursor<'a> {
    message: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn u16(&mut self) -> Option<u16> {
        let bytes = self.message.get(self.at..)?.first_chunk::<2>()?;
        self.at += 2;
        Some(u16::from_be_bytes(*bytes))
    }

    /// Id, flags, and how many records each section has.
    fn header(&mut self) -> Option<(u16, u16, [u16; 4])> {
        Some((self.u16()?, self.u16()?, [self.u16()?, self.u16()?, self.u16()?, self.u16()?]))
    }

    /// A name in lower case.
    fn name(&mut self) -> Option<Name> {
        let (mut name, end) = walk(self.message, self.at)?;
        self.at = end;
        name.make_ascii_lowercase();
        Some(name)
    }

    fn record(&mut self) -> Option<Record> {
        let name = self.name()?;
        let (kind, class) = (self.u16()?, self.u16()?);
        self.at += 4;
        let length = usize::from(self.u16()?);
        let data = self.at;
        self.message.get(data..data + length)?;
        self.at += length;
        Some(Record { name, kind, class, data, length })
    }
}

/// The name that begins at `start`, in its own spelling, and where the message goes on after it. Pointers lead backwards only, each before all that
/// was read of the name, so there is an end.
fn walk(message: &[u8], start: usize) -> Option<(Name, usize)> {
    let mut name = Vec::new();
    let (mut at, mut lowest, mut end) = (start, start, None);
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some((name, end.unwrap_or(at + 1))),
            1..64 => {
                name.extend_from_slice(message.get(at..at + 1 + length)?);
                // 255 bytes with the end.
                if name.len() > 254 {
                    return None;
                }
                at += 1 + length;
            }
            0xc0.. => {
                let target = (length & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
                if target >= lowest {
                    return None;
                }
                end = end.or(Some(at + 2));
                (at, lowest) = (target, target);
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests;
