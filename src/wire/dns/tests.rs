//! Questions and answers, honest and forged.
#![allow(clippy::unwrap_used, reason = "a test stops on what it does not expect")]

use super::*;

const ID: u16 = 0x1234;

/// An answer to a question for `name`, with these records in its answer section.
struct Message(Vec<u8>);

impl Message {
    fn new(name: &str, kind: u16) -> Message {
        let mut out = query(ID, name, kind).unwrap();
        out.truncate(out.len() - 11);
        out[2] |= 0x80;
        out[3] |= 0x80;
        out[11] = 0;
        Message(out)
    }

    fn record(mut self, name: &[u8], kind: u16, data: &[u8]) -> Message {
        let out = &mut self.0;
        out[7] += 1;
        out.extend_from_slice(name);
        [kind, 1, 0, 60, data.len() as u16].iter().for_each(|n| put(out, *n));
        out.extend_from_slice(data);
        self
    }

    fn read(&self, name: &str, kind: u16) -> Option<Answer> {
        answer(&self.0, ID, name, kind)
    }
}

fn name(text: &str) -> Vec<u8> {
    [wire_name(text).unwrap(), vec![0]].concat()
}

const ASKED: &[u8] = &[0xc0, 12];

fn found(texts: &[&str]) -> Option<Answer> {
    Some(Answer::Addresses(texts.iter().map(|text| text.parse().unwrap()).collect()))
}

#[test]
fn a_question_is_what_the_standard_says() {
    let expected =
        b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\x01\x01a\x07example\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0";
    assert_eq!(query(ID, "A.example", kind::A).unwrap(), expected);
    assert_eq!(query(ID, "a..example", kind::A), None);
    assert_eq!(query(ID, "", kind::A), None);
    assert_eq!(query(ID, &"a".repeat(64), kind::A), None);
    let longest = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    assert!(query(ID, &longest, kind::A).is_some());
    assert_eq!(query(ID, &format!("{longest}d"), kind::A), None);
}

#[test]
fn addresses_are_found() {
    let one = Message::new("a.example", kind::A).record(ASKED, kind::A, &[192, 0, 2, 1]).record(
        ASKED,
        kind::A,
        &[192, 0, 2, 2],
    );
    assert_eq!(one.read("a.example", kind::A), found(&["192.0.2.1", "192.0.2.2"]));
    assert_eq!(one.read("A.EXAMPLE", kind::A), found(&["192.0.2.1", "192.0.2.2"]));
    let six = Message::new("a.example", kind::AAAA).record(&name("A.Example"), kind::AAAA, &[0xfe; 16]);
    assert_eq!(six.read("a.example", kind::AAAA), found(&["fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe"]));
    assert_eq!(Message::new("a.example", kind::A).read("a.example", kind::A), found(&[]));
    // Of another name, of another kind, of the wrong length.
    let other = Message::new("a.example", kind::A)
        .record(&name("b.example"), kind::A, &[192, 0, 2, 1])
        .record(ASKED, kind::AAAA, &[1; 16])
        .record(ASKED, kind::A, &[1; 5])
        .record(ASKED, kind::A, &[]);
    assert_eq!(other.read("a.example", kind::A), found(&[]));
    let mut many = Message::new("a.example", kind::A);
    for last in 0..100 {
        many = many.record(ASKED, kind::A, &[192, 0, 2, last]);
    }
    assert!(
        matches!(many.read("a.example", kind::A), Some(Answer::Addresses(list)) if list.len() == MAX_ADDRESSES)
    );
}

#[test]
fn aliases_are_followed_inside_the_message() {
    let chain = Message::new("a.example", kind::A)
        .record(&name("c.example"), kind::A, &[192, 0, 2, 3])
        .record(&name("B.example"), kind::CNAME, &name("c.EXAMPLE"))
        .record(ASKED, kind::CNAME, &name("b.example"))
        .record(ASKED, kind::A, &[192, 0, 2, 66]);
    assert_eq!(chain.read("a.example", kind::A), found(&["192.0.2.3"]));
    // The end of the chain lies elsewhere; a circle.
    let open = Message::new("a.example", kind::A).record(ASKED, kind::CNAME, &name("b.example"));
    assert_eq!(open.read("a.example", kind::A), found(&[]));
    let circle = Message::new("a.example", kind::A).record(ASKED, kind::CNAME, &name("b.example")).record(
        &name("b.example"),
        kind::CNAME,
        ASKED,
    );
    assert_eq!(circle.read("a.example", kind::A), found(&[]));
    // Compressed in its data.
    let short = Message::new("a.example", kind::A).record(ASKED, kind::CNAME, &[1, b'b', 0xc0, 14]).record(
        &name("b.example"),
        kind::A,
        &[192, 0, 2, 9],
    );
    assert_eq!(short.read("a.example", kind::A), found(&["192.0.2.9"]));
    let broken = Message::new("a.example", kind::A).record(ASKED, kind::CNAME, &[0xc0, 0xff]);
    assert_eq!(broken.read("a.example", kind::A), found(&[]));
}

#[test]
fn what_is_no_answer_to_the_question_is_none() {
    let good = || Message::new("a.example", kind::A).record(ASKED, kind::A, &[192, 0, 2, 1]);
    let changed = |at: usize, byte: u8| {
        let mut message = good();
        message.0[at] = byte;
        message.read("a.example", kind::A)
    };
    assert!(good().read("a.example", kind::A).is_some());
    assert_eq!(answer(&good().0, ID + 1, "a.example", kind::A), None, "another id");
    assert_eq!(changed(2, 0x01), None, "a question");
    assert_eq!(changed(2, 0x89), None, "another operation");
    assert_eq!(changed(5, 0), None, "no question");
    assert_eq!(changed(5, 2), None, "two questions");
    assert_eq!(changed(13, b'b'), None, "another name");
    assert_eq!(good().read("a.example", kind::AAAA), None, "another kind");
    assert_eq!(changed(26, 3), None, "another class");
    for length in 0..27 {
        assert_eq!(answer(&good().0[..length], ID, "a.example", kind::A), None, "{length}");
    }
    // With its question, but cut off behind: the server's mistake.
    for length in 27..good().0.len() {
        let got = answer(&good().0[..length], ID, "a.example", kind::A);
        assert_eq!(got, Some(Answer::Failed(code::FORMAT)), "{length}");
    }
}

#[test]
fn codes_and_the_cut_off_bit() {
    let with = |second: u8, third: u8| {
        let mut message = Message::new("a.example", kind::A);
        (message.0[2], message.0[3]) = (second, third);
        message.read("a.example", kind::A).unwrap()
    };
    assert_eq!(with(0x81, 0x83), Answer::NoName);
    assert_eq!(with(0x81, 0x82), Answer::Failed(code::SERVER));
    assert_eq!(with(0x81, 0x85), Answer::Failed(code::REFUSED));
    assert_eq!(with(0x83, 0x80), Answer::Truncated);
}

#[test]
fn pointers_have_an_end() {
    let read =
        |bytes: &[u8], at: usize| walk(bytes, at).map(|(name, end)| (String::from_utf8(name).unwrap(), end));
    assert_eq!(read(b"\x01a\0\x01b\xc0\0", 3), Some(("\x01b\x01a".into(), 7)));
    assert_eq!(read(b"\0", 0), Some((String::new(), 1)));
    for (bytes, at) in [
        (&b"\xc0\0"[..], 0),     // itself
        (b"\xc0\x02\xc0\0", 2),  // there and back
        (b"\x01a\xc0\0", 0),     // into its own beginning
        (b"\xc0\x02\x01a\0", 0), // forwards
        (b"\xc0\xff", 0),        // out of the message
        (b"\xc0", 0),
        (b"\x02a", 0),
        (b"\x01a", 0),
        (b"", 0),
        (b"\x40a\0", 0), // reserved
        (b"\x80a\0", 0),
    ] {
        assert_eq!(read(bytes, at), None, "{bytes:?}");
    }
    // A ladder of pointers: each step leads back, and the name gets too long.
    let mut ladder = vec![0];
    let mut last = 0u16;
    for _ in 0..300 {
        let here = ladder.len() as u16;
        ladder.extend_from_slice(&[1, b'x']);
        ladder.extend_from_slice(&(0xc000 | last).to_be_bytes());
        last = here;
    }
    assert_eq!(walk(&ladder, usize::from(last)), None);
    assert!(walk(&ladder, 401).is_some());
}

#[test]
fn a_server_answers() {
    let asked = query(ID, "Pkg.Example", kind::A).unwrap();
    let question = question(&asked).unwrap();
    assert_eq!((question.host.clone(), question.kind), (Some(Host::Name("pkg.example".into())), kind::A));
    let addresses: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    let reply = question.answer(&addresses, 5);
    assert_eq!(answer(&reply, ID, "pkg.example", kind::A), found(&["192.0.2.1"]));
    assert!(reply.ends_with(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]), "EDNS is answered with EDNS");
    for (code, expected) in [
        (code::NO_ERROR, Answer::Addresses(vec![])),
        (code::NO_NAME, Answer::NoName),
        (code::REFUSED, Answer::Failed(code::REFUSED)),
    ] {
        assert_eq!(answer(&question.code(code), ID, "pkg.example", kind::A), Some(expected));
    }
    let six = super::question(&query(ID, "pkg.example", kind::AAAA).unwrap()).unwrap();
    assert_eq!(answer(&six.answer(&addresses, 5), ID, "pkg.example", kind::AAAA), found(&["2001:db8::1"]));
    // Without EDNS, as small resolvers ask; with the spelling kept, which some of them check.
    let mut plain = query(ID, "pKg.example", kind::A).unwrap();
    plain.truncate(plain.len() - 11);
    plain[11] = 0;
    plain[13..16].copy_from_slice(b"pKg");
    let plain = super::question(&plain).unwrap();
    let reply = plain.answer(&addresses, 5);
    assert_eq!(reply.len(), 12 + 13 + 4 + 16);
    assert_eq!(&reply[13..16], b"pKg");
}

#[test]
fn a_server_refuses_what_it_does_not_know() {
    let good = query(ID, "a.example", kind::A).unwrap();
    let changed = |at: usize, byte: u8| {
        let mut message = good.clone();
        message[at] = byte;
        question(&message).unwrap_err().map(|reply| reply[3] & 0xf)
    };
    assert_eq!(changed(2, 0x81), None, "an answer");
    assert_eq!(changed(2, 0x29), Some(code::NOT_IMPLEMENTED), "UPDATE");
    assert_eq!(changed(5, 0), Some(code::FORMAT));
    assert_eq!(changed(5, 2), Some(code::FORMAT));
    assert_eq!(changed(26, 3), Some(code::NOT_IMPLEMENTED), "CHAOS");
    assert_eq!(changed(12, 0xc0), Some(code::FORMAT), "a pointer forwards");
    for length in 0..12 {
        assert_eq!(question(&good[..length]), Err(None), "{length}");
    }
    for length in 12..good.len() {
        assert_eq!(
            question(&good[..length]).unwrap_err().map(|reply| reply[3] & 0xf),
            Some(code::FORMAT),
            "{length}"
        );
    }
    // Names of which no host can have any: a dot, a NUL in a label; the root.
    for label in [&b"\x03a.b\0"[..], b"\x03a\0b\0", b"\x04a\xc3\xbcb\0", b"\0"] {
        let message = [&good[..12], label, &[0, 1, 0, 1], &good[27..]].concat();
        assert_eq!(question(&message).unwrap().host, None, "{label:?}");
    }
}
