//! bpf(2), and the memory that its buffers share with this process.

use super::{Result, check};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// `struct bpf_insn`
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four.
    pub registers: u8,
    /// Distance of a jump, or offset in memory.
    pub offset: i16,
    /// The operand.
    pub immediate: i32,
}

/// `BPF_MAP_TYPE_*`: what a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// Values by key.
    Hash = 1,
    /// Values by number.
    Array = 2,
    /// Perf events by CPU.
    PerfEventArray = 4,
    /// Values by number, one for each CPU.
    PerCpuArray = 6,
    /// A queue that this process reads.
    RingBuffer = 27,
}

/// Longest attribute used here, in 32-bit words; the kernel takes what is left out as zero.
const WORDS: usize = 14;

/// One command; `attr` is `union bpf_attr` as 32-bit words.
///
/// # Safety
/// Each pointer in `attr` must be valid for what the command does with it.
unsafe fn bpf(command: u32, attr: &[u32; WORDS]) -> Result<RawFd> {
    // SAFETY: the attribute outlives the call and its size is passed; its pointers are the caller's promise.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of_val(attr)) })
        .map(|answer| answer as RawFd)
}

fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us (close-on-exec, as all of bpf(2)'s are).
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn halves(pointer: *const u8) -> [u32; 2] {
    let address = pointer.addr() as u64;
    [address as u32, (address >> 32) as u32]
}

/// Makes a map.
pub fn map(kind: MapKind, key: u32, value: u32, entries: u32) -> Result<OwnedFd> {
    map_with(kind, key, value, entries, 0)
}

/// `BPF_F_MMAPABLE`, for arrays (5.5): this process may look at the values as memory.
pub const MMAPABLE: u32 = 1 << 10;

/// Makes a map with flags.
pub fn map_with(kind: MapKind, key: u32, value: u32, entries: u32, flags: u32) -> Result<OwnedFd> {
    const MAP_CREATE: u32 = 0;
    let mut attr = [0; WORDS];
    attr[..5].copy_from_slice(&[kind as u32, key, value, entries, flags]);
    // SAFETY: there is no pointer in this attribute.
    unsafe { bpf(MAP_CREATE, &attr) }.map(owned)
}

/// Sets the value at a number; the map's keys are of 4 bytes and its values of at most 8.
pub fn set(map: &OwnedFd, key: u32, value: u64) -> Result<()> {
    const MAP_UPDATE_ELEM: u32 = 2;
    let attr = element(map, &key, &raw const value);
    // SAFETY: key and value live on this stack and are as long as the maps made here say.
    unsafe { bpf(MAP_UPDATE_ELEM, &attr) }.map(drop)
}

/// The value at a number; the map's keys are of 4 bytes and its values of 8.
pub fn get(map: &OwnedFd, key: u32) -> Result<u64> {
    const MAP_LOOKUP_ELEM: u32 = 1;
    let mut value = 0u64;
    let attr = element(map, &key, &raw mut value);
    // SAFETY: key and value live on this stack and are as long as the maps made here say.
    unsafe { bpf(MAP_LOOKUP_ELEM, &attr) }.map(|_| value)
}

fn element(map: &OwnedFd, key: &u32, value: *const u64) -> [u32; WORDS] {
    let (key, value) = (halves(std::ptr::from_ref(key).cast()), halves(value.cast()));
    let mut attr = [0; WORDS];
    attr[..6].copy_from_slice(&[map.as_raw_fd() as u32, 0, key[0], key[1], value[0], value[1]]);
    attr
}

/// `BPF_F_SLEEPABLE`: the program may wait for memory.
pub const SLEEPABLE: u32 = 1 << 4;

/// Gives a program for raw tracepoints to the kernel, which checks it.
pub fn load(program: &[Instruction], flags: u32) -> Result<OwnedFd> {
    const PROG_LOAD: u32 = 5;
    const RAW_TRACEPOINT: u32 = 17;
    // Some helpers are for GPL programs only; this says what is handed to the kernel, not what fence is under.
    let (code, license) = (halves(program.as_ptr().cast()), halves(c"Dual MIT/GPL".as_ptr().cast()));
    let mut attr = [0; WORDS];
    attr[..6].copy_from_slice(&[
        RAW_TRACEPOINT,
        program.len() as u32,
        code[0],
        code[1],
        license[0],
        license[1],
    ]);
    attr[11] = flags;
    // SAFETY: the instructions and the licence outlive the call; their number is passed.
    unsafe { bpf(PROG_LOAD, &attr) }.map(owned)
}

/// Runs a program at a raw tracepoint for as long as the answer is open.
pub fn attach(tracepoint: &CStr, program: &OwnedFd) -> Result<OwnedFd> {
    const RAW_TRACEPOINT_OPEN: u32 = 17;
    let name = halves(tracepoint.as_ptr().cast());
    let mut attr = [0; WORDS];
    attr[..3].copy_from_slice(&[name[0], name[1], program.as_raw_fd() as u32]);
    // SAFETY: the name outlives the call.
    unsafe { bpf(RAW_TRACEPOINT_OPEN, &attr) }.map(owned)
}

/// How often the kernel has not run a program because it was running on that processor already; 0 where it does not count.
pub fn misses(program: &OwnedFd) -> u64 {
    const OBJ_GET_INFO_BY_FD: u32 = 15;
    /// `recursion_misses` in `struct bpf_prog_info`, as a 64-bit word.
    const MISSES: usize = 26;
    let mut info = [0u64; MISSES + 1];
    let address = halves(info.as_mut_ptr().cast());
    let mut attr = [0; WORDS];
    attr[..4].copy_from_slice(&[
        program.as_raw_fd() as u32,
        size_of_val(&info) as u32,
        address[0],
        address[1],
    ]);
    // SAFETY: the answer's memory outlives the call and its size is passed.
    let known = unsafe { bpf(OBJ_GET_INFO_BY_FD, &attr) };
    known.map_or(0, |_| info[MISSES])
}

/// A buffer for what programs write with `bpf_perf_event_output` on one CPU.
pub fn perf_output(cpu: u32) -> Result<OwnedFd> {
    const PERF_FLAG_FD_CLOEXEC: u32 = 8;
    // `struct perf_event_attr`, first version: a software event, PERF_COUNT_SW_BPF_OUTPUT, each sample raw and announced.
    let mut attr = [0u64; 8];
    attr[0] = 1 | 64 << 32;
    attr[1] = 10;
    attr[2] = 1;
    attr[3] = 1 << 10;
    attr[6] = 1;
    // SAFETY: the attribute outlives the call and names its own size.
    check(unsafe {
        libc::syscall(libc::SYS_perf_event_open, attr.as_ptr(), -1, cpu, -1, PERF_FLAG_FD_CLOEXEC)
    })
    .map(|fd| owned(fd as RawFd))
}

/// Memory that the kernel writes and this process reads. Other threads of this process don't touch it.
pub struct Shared {
    base: *mut u8,
    length: usize,
}

// SAFETY: the mapping belongs to the value; whoever holds it may read it, from any thread.
unsafe impl Send for Shared {}

impl Shared {
    /// Maps `length` bytes of a buffer from `offset` on.
    pub fn new(fd: &OwnedFd, offset: usize, length: usize, writable: bool) -> Result<Shared> {
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOMEM));
        }
        Ok(Shared { base: base.cast(), length })
    }

    /// The counter at `offset`: all that was written before it is there.
    pub fn load(&self, offset: usize) -> u64 {
        self.counter(offset).load(Ordering::Acquire)
    }

    /// Sets the counter at `offset`; the mapping must be writable. All that was read before stays read.
    pub fn store(&self, offset: usize, value: u64) {
        self.counter(offset).store(value, Ordering::SeqCst);
    }

    fn counter(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.length);
        // SAFETY: inside the mapping, which is page aligned; the kernel changes it as one 64-bit word.
        unsafe { &*self.base.add(offset).cast::<AtomicU64>() }
    }

    /// A copy of `length` bytes from `offset` on, which the kernel does not change until they are given back.
    pub fn copy(&self, offset: usize, length: usize) -> Vec<u8> {
        assert!(offset.checked_add(length).is_some_and(|end| end <= self.length));
        let mut bytes = vec![0; length];
        // SAFETY: inside the mapping, as checked; the two do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(self.base.add(offset), bytes.as_mut_ptr(), length) };
        bytes
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing points into it any more.
        unsafe {
            libc::munmap(self.base.cast(), self.length);
        }
    }
}

/// Tells the programs that this task is to be followed: a call that does nothing and fails, with two numbers that they know.
pub(crate) fn announce(nonce: [u64; 2]) {
    // SAFETY: no such option exists: the kernel looks at no argument and answers EINVAL.
    unsafe {
        libc::syscall(libc::SYS_prctl, nonce[0], nonce[1], 0, 0, 0);
    }
}

/// Up to `longest` bytes of another process's memory: fewer where a page is missing.
pub fn memory_of(pid: u32, address: u64, longest: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < longest {
        // To the end of the page: the next one may not be there.
        let at = (address as usize).wrapping_add(bytes.len());
        let mut piece = vec![0u8; (4096 - at % 4096).min(longest - bytes.len())];
        let here = libc::iovec { iov_base: piece.as_mut_ptr().cast(), iov_len: piece.len() };
        let there = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: piece.len() };
        // SAFETY: `here` is memory of this stack's vector, valid for its length; `there` is checked by the kernel.
        let read = unsafe { libc::process_vm_readv(pid as i32, &raw const here, 1, &raw const there, 1, 0) };
        if read <= 0 {
            break;
        }
        bytes.extend_from_slice(&piece[..read as usize]);
    }
    bytes
}

/// A C string in another process's memory, up to `longest` bytes; empty when its end can't be read.
pub fn string_of(pid: u32, address: u64, longest: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < longest {
        let at = address.wrapping_add(bytes.len() as u64);
        let piece = memory_of(pid, at, (4096 - at as usize % 4096).min(longest - bytes.len()));
        if piece.is_empty() {
            return Vec::new();
        }
        let end = piece.iter().position(|byte| *byte == 0);
        bytes.extend_from_slice(&piece[..end.unwrap_or(piece.len())]);
        if end.is_some() {
            break;
        }
    }
    bytes
}
