//! DNS messages: any bytes as a question and as an answer; what we answer is an answer to what was asked.
#![no_main]

use fence::rules::net::host::Host;
use fence::wire::dns::{Answer, answer, code, kind, query, question};
use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;

fuzz_target!(|bytes: &[u8]| {
    match question(bytes) {
        Ok(question) => {
            let addresses: [IpAddr; 2] = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([7u16; 8])];
            let id = u16::from_be_bytes([bytes[0], bytes[1]]);
            let replies = [question.answer(&addresses, 5), question.code(code::NO_NAME), question.code(code::REFUSED)];
            for (i, reply) in replies.iter().enumerate() {
                assert!(reply.len() <= 512);
                if let Some(Host::Name(name)) = &question.host {
                    let got = answer(reply, id, name, question.kind).unwrap();
                    match (i, question.kind) {
                        (0, kind::A) => assert_eq!(got, Answer::Addresses(vec![addresses[0]])),
                        (0, kind::AAAA) => assert_eq!(got, Answer::Addresses(vec![addresses[1]])),
                        (0, _) => assert_eq!(got, Answer::Addresses(vec![])),
                        (1, _) => assert_eq!(got, Answer::NoName),
                        _ => assert_eq!(got, Answer::Failed(code::REFUSED)),
                    }
                }
            }
        }
        Err(Some(reply)) => assert_eq!((&reply[..2], reply[2] & 0x80), (&bytes[..2], 0x80)),
        Err(None) => {}
    }
    // As an answer to a question of ours: with its own first bytes, and behind a right header and question.
    let asked = query(0, "a.example", kind::A).unwrap();
    if bytes.len() >= 2 {
        _ = answer(bytes, u16::from_be_bytes([bytes[0], bytes[1]]), "a.example", kind::A);
    }
    let mut message = asked[..27].to_vec();
    message[2] = 0x81;
    message[11] = 0;
    if let Some((count, rest)) = bytes.split_first() {
        message[7] = *count;
        message.extend_from_slice(rest);
        match answer(&message, 0, "a.example", kind::A) {
            Some(Answer::Addresses(list)) => assert!(list.len() <= 32 && list.iter().all(IpAddr::is_ipv4)),
            Some(Answer::Failed(code::FORMAT)) => {}
            other => panic!("{other:?}"),
        }
    }
});
