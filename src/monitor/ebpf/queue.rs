//! The queue between programs and this process: a ring buffer, or before Linux 5.8 a buffer for each CPU.

use crate::sys::bpf::{self, Shared};
use crate::sys::{self, Result};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes of the ring buffer. A quarter of it lost a third of 6,000 denials while processes were forked as fast as two CPUs
/// can; this lost none.
pub(super) const RING: usize = 1 << 20;
/// Pages of the buffer of each CPU.
const PAGES: usize = 64;

/// One of the two.
pub(super) enum Queue {
    /// `BPF_MAP_TYPE_RINGBUF`: the position up to which was read, and the position up to which was written with the data
    /// (twice, so that no record is cut).
    Ring { fd: OwnedFd, read: Shared, data: Shared, page: usize },
    /// Perf buffers.
    PerCpu { buffers: Vec<(OwnedFd, Shared)>, page: usize },
}

impl Queue {
    /// The reader's side of a ring buffer.
    pub(super) fn ring(map: &OwnedFd) -> Result<Queue> {
        let page = sys::page_size();
        let fd = map.try_clone().map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::MFILE))?;
        let read = Shared::new(&fd, 0, page, true)?;
        let data = Shared::new(&fd, page, page + 2 * RING, false)?;
        Ok(Queue::Ring { fd, read, data, page })
    }

    /// A buffer for each CPU that is online, put into the map.
    pub(super) fn per_cpu(map: &OwnedFd) -> Result<Queue> {
        let page = sys::page_size();
        let mut buffers = Vec::new();
        for cpu in online_cpus() {
            let fd = bpf::perf_output(cpu)?;
            let memory = Shared::new(&fd, 0, (1 + PAGES) * page, true)?;
            bpf::set(map, cpu, std::os::fd::AsRawFd::as_raw_fd(&fd) as u64)?;
            buffers.push((fd, memory));
        }
        Ok(Queue::PerCpu { buffers, page })
    }

    /// What becomes readable when something is written.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Queue::Ring { fd, .. } => vec![fd.as_fd()],
            Queue::PerCpu { buffers, .. } => buffers.iter().map(|(fd, _)| fd.as_fd()).collect(),
        }
    }

    /// Takes every record that is there.
    pub(super) fn drain(&self, take: &mut dyn FnMut(&[u8])) {
        match self {
            Queue::Ring { read, data, page, .. } => drain_ring(read, data, *page, take),
            Queue::PerCpu { buffers, page } => {
                buffers.iter().for_each(|(_, memory)| drain_buffer(memory, *page, take));
            }
        }
    }
}

fn drain_ring(read: &Shared, data: &Shared, page: usize, take: &mut dyn FnMut(&[u8])) {
    const BUSY: u64 = 1 << 31;
    const DISCARDED: u64 = 1 << 30;
    let mut position = read.load(0);
    while position < data.load(0) {
        let at = page + (position as usize & (RING - 1));
        let header = data.load(at);
        if header & BUSY != 0 {
            break;
        }
        let length = (header & (DISCARDED - 1)) as usize;
        if header & DISCARDED == 0 {
            take(&data.copy(at + 8, length));
        }
        position += (length as u64 + 8).next_multiple_of(8);
        read.store(0, position);
    }
}

fn drain_buffer(memory: &Shared, page: usize, take: &mut dyn FnMut(&[u8])) {
    /// Fields of `struct perf_event_mmap_page`.
    const HEAD: usize = 1024;
    const TAIL: usize = 1032;
    const SAMPLE: u32 = 9;
    let size = PAGES * page;
    // A record may go on at the beginning of the buffer.
    let copy = |position: u64, length: usize| {
        let at = position as usize % size;
        let first = length.min(size - at);
        let mut bytes = memory.copy(page + at, first);
        bytes.extend(memory.copy(page, length - first));
        bytes
    };
    let mut position = memory.load(TAIL);
    let end = memory.load(HEAD);
    while position < end {
        let header = copy(position, 8);
        let kind = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
        let length = usize::from(u16::from_ne_bytes([header[6], header[7]]));
        // What was lost the program has counted itself.
        if kind == SAMPLE
            && let Some(record) = copy(position, length).get(12..)
        {
            take(record);
        }
        position += length.max(8) as u64;
        memory.store(TAIL, position);
    }
}

/// `/sys/devices/system/cpu/online`: `0-3,8`.
fn online_cpus() -> Vec<u32> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}
