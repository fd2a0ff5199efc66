//! Records of the programs → events.

use super::programs::{record, shown};
use crate::monitor::advice::Advisor;
use crate::monitor::call::{self, Call, text_of, word};
use crate::monitor::event::{Event, Layer};
use crate::sys::bpf;
use crate::tables::arguments::{self, Shown};
use std::path::Path;

/// Reads records.
pub(super) struct Decoder {
    advisor: Advisor,
    names: Vec<&'static str>,
    /// Process ids in records are those that /proc shows: fence is in no PID namespace.
    same_ids: bool,
}

/// What the programs read of a call: `shown`.
pub(super) fn bits(shown: Shown) -> u32 {
    match shown {
        Shown { address: Some(argument), .. } => u32::from(argument) | shown::ADDRESS,
        Shown { path: Some(first), second: Some(second), .. } => {
            u32::from(first) | u32::from(second) << 4 | shown::PATH | shown::SECOND
        }
        Shown { path: Some(first), .. } => u32::from(first) | shown::PATH,
        _ => 0,
    }
}

impl Decoder {
    pub(super) fn new(advisor: Advisor) -> Decoder {
        /// The kernel's number of the first PID namespace.
        const FIRST: &str = "pid:[4026531836]";
        let same_ids = std::fs::read_link("/proc/self/ns/pid").is_ok_and(|name| name == Path::new(FIRST));
        Decoder { advisor, names: call::names(), same_ids }
    }

    /// The event of a record; None for bytes that are none.
    pub(super) fn event(&self, bytes: &[u8]) -> Option<Event> {
        let mut arguments = [0; 6];
        for (i, argument) in arguments.iter_mut().enumerate() {
            *argument = u64::from_ne_bytes(word(bytes, record::ARGUMENTS + 8 * i)?);
        }
        let pid = (u64::from_ne_bytes(word(bytes, record::PID)?) >> 32) as u32;
        let errno = -(i64::from_ne_bytes(word(bytes, record::ANSWER)?) as i32);
        let name = call::name(&self.names, u32::from_ne_bytes(word(bytes, record::NUMBER)?));
        let pid_here = self.same_ids.then_some(pid);
        let texts = texts(bytes, &arguments, pid_here)?;
        // The process has gone on meanwhile, and may be in another directory by now: nobody is asked where it was.
        let call = Call { shown: arguments::of(&name), name, pid: None, arguments, texts };
        let process = text_of(bytes.get(record::NAME..record::NAME + 16)?);
        Some(call.denied(Layer::Ebpf, errno, &self.advisor).process(pid, process))
    }
}

/// The texts of a record. A path that nobody had touched when seccomp refused the call could not be read then; the process
/// still has it, if it is still there.
fn texts(bytes: &[u8], arguments: &[u64; 6], pid: Option<u32>) -> Option<Vec<Vec<u8>>> {
    let shown = u32::from_ne_bytes(word(bytes, record::SHOWN)?);
    let text = bytes.get(record::TEXT..)?;
    let mut from = 0;
    let mut texts = Vec::new();
    for (flag, length, argument) in [
        (shown::PATH | shown::ADDRESS, record::FIRST, shown & 7),
        (shown::SECOND, record::SECOND, shown >> 4 & 7),
    ] {
        if shown & flag == 0 {
            break;
        }
        let pointer = arguments.get(argument as usize).copied().unwrap_or(0);
        texts.push(match usize::try_from(i32::from_ne_bytes(word(bytes, length)?)) {
            Ok(length) => {
                from += length;
                text.get(from - length..from).unwrap_or(&[]).to_vec()
            }
            Err(_) => pid.map_or(Vec::new(), |pid| bpf::string_of(pid, pointer, 1024)),
        });
    }
    Some(texts)
}
