//! The eBPF monitor: every call in the sandbox that the kernel refused, with its path, whichever layer refused it.
//!
//! ```text
//! load ─ maps, three programs, attached ┐ (parent, before the fork; rights are given up after it)
//! the command's process announces itself ┤ (last step before exec)
//! watch ─ thread: queue → Event → Log   ─┴ until init is reaped and the queue is empty
//! ```

mod asm;
mod decode;
mod privileges;
mod programs;
mod queue;

use super::advice::Advisor;
use super::call::{COMPAT, names};
use crate::log::Log;
use crate::sys::bpf::{self, MapKind, Shared};
use crate::sys::thread::{self, Thread};
use crate::sys::{self, Result};
use crate::tables::arguments;
use decode::{Decoder, bits};
use programs::{ANNOUNCED, Copy, LOST, Maps, NOT_FOLLOWED, Variant, process_end, sys_exit, wakeup_new};
use queue::{Queue, RING};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Tasks that are followed at the same time.
const TASKS: u32 = 16 * 1024;

/// Copies of the program at `sys_exit` where a task can be preempted in one.
const COPIES: i32 = 4;

/// What a kernel may have, the best first.
const VARIANTS: [Variant; 3] = [
    Variant { ring: true, split: true },
    Variant { ring: false, split: true },
    Variant { ring: false, split: false },
];

/// Programs in the kernel that follow nobody yet. When it is dropped they are gone.
pub struct Monitor {
    nonce: [u64; 2],
    maps: Maps,
    queue: Queue,
    /// The counters as memory, where there is such a thing (5.5).
    counters: Option<Shared>,
    /// The copies at `sys_exit`.
    copies: Vec<OwnedFd>,
    /// Each keeps a program at its place.
    _attached: Vec<OwnedFd>,
}

/// What the process that is to be followed announces itself with, and where it sees that it was heard.
pub struct Announcement {
    nonce: [u64; 2],
    counters: Option<Shared>,
}

impl From<[u64; 2]> for Announcement {
    /// In another program, which sees no counters.
    fn from(nonce: [u64; 2]) -> Announcement {
        Announcement { nonce, counters: None }
    }
}

impl Announcement {
    /// The two numbers.
    pub fn nonce(&self) -> [u64; 2] {
        self.nonce
    }

    /// Announces the calling task until a program has seen it; false when none does.
    #[must_use]
    pub fn announce(&self) -> bool {
        for _ in 0..1 << 20 {
            bpf::announce(self.nonce);
            if self.counters.as_ref().is_none_or(|counters| counters.load(8 * ANNOUNCED as usize) > 0) {
                return true;
            }
            // Somebody was preempted in the program on this processor.
            rustix::thread::sched_yield();
        }
        false
    }
}

/// A monitor whose events go to the log.
pub struct Watching {
    stop: OwnedFd,
    thread: Thread,
}

impl Monitor {
    /// Loads and attaches the programs.
    ///
    /// # Errors
    /// Why that can't be done here, as a part of a sentence.
    pub fn load() -> std::result::Result<Monitor, String> {
        let limit = privileges::raise();
        let mut result = Err(Errno::NOSYS);
        for variant in VARIANTS {
            result = Monitor::with(variant);
            if !matches!(result, Err(errno) if errno != Errno::PERM) {
                break;
            }
        }
        let result = result.map_err(privileges::explain);
        privileges::restore(limit);
        result
    }

    fn with(variant: Variant) -> Result<Monitor> {
        let (kind, key, entries) = if variant.ring {
            (MapKind::RingBuffer, 0, RING as u32)
        } else {
            (MapKind::PerfEventArray, 4, 1024)
        };
        let count = if preemptible() { COPIES } else { 1 };
        // Both came with Linux 5.5.
        let mapped = if variant.split { bpf::MMAPABLE } else { 0 };
        let maps = Maps {
            tasks: bpf::map(MapKind::Hash, 8, 8, TASKS)?,
            scratch: bpf::map(MapKind::PerCpuArray, 4, programs::SCRATCH, count as u32)?,
            shown: bpf::map(MapKind::Array, 4, 4, 2 * COMPAT)?,
            counters: bpf::map_with(MapKind::Array, 4, 8, 3, mapped)?,
            output: bpf::map(kind, key, key, entries)?,
        };
        for (number, name) in (0..).zip(names()) {
            let bits = bits(arguments::of(name));
            if bits != 0 {
                bpf::set(&maps.shown, number, u64::from(bits))?;
            }
        }
        let mut random = [0; 16];
        sys::random(&mut random)?;
        let random = u128::from_ne_bytes(random);
        // The kernel looks at 32 bits of a prctl option: this one does not exist.
        let nonce = [random as u64 & !0xffff_ffff | 0x4645_4e43, (random >> 64) as u64];
        let queue = if variant.ring { Queue::ring(&maps.output)? } else { Queue::per_cpu(&maps.output)? };
        let counters = (mapped != 0).then(|| look_at(&maps.counters)).transpose()?;
        let mut attached = vec![
            bpf::attach(c"sched_wakeup_new", &bpf::load(&wakeup_new(&maps), 0)?)?,
            bpf::attach(c"sched_process_exit", &bpf::load(&process_end(&maps), 0)?)?,
            bpf::attach(c"sched_process_free", &bpf::load(&process_end(&maps), 0)?)?,
        ];
        let mut copies = Vec::new();
        for number in 1..=count {
            let copy = bpf::load(&sys_exit(&maps, variant, nonce, Copy { number, count }), 0)?;
            attached.push(bpf::attach(c"sys_exit", &copy)?);
            copies.push(copy);
        }
        Ok(Monitor { nonce, maps, queue, counters, copies, _attached: attached })
    }

    /// What the process that is to be followed announces itself with. It stays good when the monitor is dropped.
    pub fn announcement(&self) -> Result<Announcement> {
        let counters = self.counters.as_ref().map(|_| look_at(&self.maps.counters)).transpose()?;
        Ok(Announcement { nonce: self.nonce, counters })
    }

    fn counter(&self, counter: u32) -> u64 {
        match &self.counters {
            Some(counters) => counters.load(8 * counter as usize),
            None => bpf::get(&self.maps.counters, counter).unwrap_or(0),
        }
    }

    /// Starts the thread that reads.
    ///
    /// # Errors
    /// No descriptor or no thread is to be had.
    pub fn watch(self, advisor: Advisor, log: Arc<Log>) -> std::io::Result<Watching> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let end = stop.try_clone()?;
        let read = move || {
            let decoder = Decoder::new(advisor);
            let mut show = |record: &[u8]| _ = decoder.event(record).map(|event| log.event(&event));
            let mut stopped = false;
            while !stopped {
                let mut fds: Vec<PollFd<'_>> = self.queue.descriptors().into_iter().map(readable).collect();
                fds.push(readable(end.as_fd()));
                _ = poll(&mut fds, None);
                // Everything that was written before the end was asked for is read after it.
                stopped = fds.last().is_some_and(|fd| !fd.revents().is_empty());
                self.queue.drain(&mut show);
            }
            self.tell_losses(&log);
        };
        Ok(Watching { stop, thread: thread::start(c"monitor", Box::new(read))? })
    }

    fn tell_losses(&self, log: &Log) {
        // What was lost was skipped by each copy.
        let skipped = self.copies.iter().map(bpf::misses).min().unwrap_or(0);
        for (n, what, why) in [
            (self.counter(LOST), "lost", "denials: they came faster than they could be shown"),
            (
                skipped,
                "may have missed",
                "denials: so often the kernel skipped its programs, for any process",
            ),
            (self.counter(NOT_FOLLOWED), "did not follow", "processes: it follows 16384 at the same time"),
        ] {
            if n != 0 {
                log.warn(&format!("the monitor {what} {n} {why}"));
            }
        }
    }
}

/// Whether a task can be preempted in a program at `sys_exit`: from where programs may sleep there.
fn preemptible() -> bool {
    let mut program = asm::Program::default();
    program.end();
    bpf::load(&program.finish(), bpf::SLEEPABLE)
        .is_ok_and(|program| bpf::attach(c"sys_exit", &program).is_ok())
}

fn look_at(counters: &OwnedFd) -> Result<Shared> {
    Shared::new(counters, 0, sys::page_size(), false)
}

impl Watching {
    /// Everything that has happened is in the log when this returns.
    pub fn end(self) {
        _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        self.thread.join();
    }
}

fn readable(fd: std::os::fd::BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd, PollFlags::IN)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The kernel at hand takes all three, whichever of them it would be given; needs the right to load programs.
    #[test]
    fn every_variant_shows_the_same() {
        if bpf::map(MapKind::Array, 4, 4, 1).is_err() {
            eprintln!("SKIP: needs the right to load programs into the kernel");
            return;
        }
        for variant in VARIANTS {
            let limit = privileges::raise();
            let monitor = Monitor::with(variant).unwrap_or_else(|errno| panic!("{variant:?}: {errno}"));
            privileges::restore(limit);
            assert!(monitor.announcement().unwrap().announce());
            // A file that nobody may execute, in a child of this thread.
            std::process::Command::new("/proc/self/status").spawn().unwrap_err();
            let mut records = Vec::new();
            monitor.queue.drain(&mut |record| records.push(record.to_vec()));
            let decoder = Decoder::new(Advisor::default());
            let lines: Vec<String> =
                records.iter().filter_map(|r| decoder.event(r)).map(|e| e.line()).collect();
            assert_eq!(lines.len(), 1, "{variant:?} {lines:?}");
            assert!(lines[0].starts_with("✗ execve: Permission denied ("), "{lines:?}");
            assert!(lines[0].ends_with(") /proc/self/status"), "{lines:?}");
        }
    }
}
