//! The three programs that run in the kernel. They follow exactly the tasks of one sandbox, by the addresses of their
//! `task_struct`s: no process ids, no namespaces, no layout of kernel structures.
//!
//! | tracepoint | program |
//! |---|---|
//! | `sys_exit` | a call that failed with EPERM, EACCES or EROFS in a followed task is written to the queue |
//! | `sched_wakeup_new` | a child of a followed task is followed, before it first runs |
//! | `sched_process_exit`, `sched_process_free` | the task is forgotten, before its memory is used for another one |
//!
//! The kernel does not run a program that is running on that processor already. At the second nothing can come between, since it
//! is reached with interrupts off; the end of a task is seen twice. At `sys_exit` a task can be preempted in the program, from Linux 7.1
//! on, and others on that processor would be missed until it goes on. So there are several copies of it there. They run one
//! after the other for each call, and the first that is not skipped takes it: see `Copy`.
//!
//! Never `sys_enter`: a call that seccomp refuses does not reach it. At `sys_exit` the arguments still stand in the saved
//! registers, and the kernel has just read the path, so that it can be read here.

use super::asm::{Program, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, Register, STACK, When, Width};
use crate::monitor::call::COMPAT;
use crate::sys::bpf::Instruction;
use std::os::fd::OwnedFd;

use When::{AtLeast, Below, Equal, NotEqual};
use Width::{W16, W32, W64};

/// `struct pt_regs`: where the kernel saves a task's registers during a call.
#[cfg(target_arch = "x86_64")]
mod registers {
    pub(super) const LENGTH: i32 = 168;
    /// di, si, dx, r10, r8, r9
    pub(super) const ARGUMENTS: [i16; 6] = [112, 104, 96, 56, 72, 64];
    /// bx, cx, dx, si, di, bp: those of 32-bit calls.
    pub(super) const ARGUMENTS_32: [i16; 6] = [40, 88, 96, 104, 112, 32];
    /// orig_ax, right behind the first argument
    pub(super) const NUMBER: i16 = 120;
    /// ip and cs, and what cs is in 32-bit code
    pub(super) const MODE_32: Option<(i16, i16, i32)> = Some((128, 136, 0x23));
}
#[cfg(target_arch = "aarch64")]
mod registers {
    pub(super) const LENGTH: i32 = 288;
    /// orig_x0 (x0 has the answer already), x1 … x5
    pub(super) const ARGUMENTS: [i16; 6] = [272, 8, 16, 24, 32, 40];
    pub(super) const ARGUMENTS_32: [i16; 6] = ARGUMENTS;
    /// syscallno, right behind the first argument
    pub(super) const NUMBER: i16 = 280;
    /// The filter lets no 32-bit program make a call.
    pub(super) const MODE_32: Option<(i16, i16, i32)> = None;
}

/// Helpers of the kernel, by number.
const MAP_LOOKUP_ELEM: i32 = 1;
const MAP_UPDATE_ELEM: i32 = 2;
const MAP_DELETE_ELEM: i32 = 3;
const GET_CURRENT_PID_TGID: i32 = 14;
const GET_CURRENT_COMM: i32 = 16;
const PERF_EVENT_OUTPUT: i32 = 25;
const GET_CURRENT_TASK: i32 = 35;
const RINGBUF_OUTPUT: i32 = 130;

/// How the kernel's memory, the task's memory and strings in it are read: in two ways since Linux 5.5, in one before.
const PROBES: [i32; 3] = [113, 112, 114];
const OLD_PROBES: [i32; 3] = [4, 4, 45];

/// A record: fixed fields, then text.
pub(super) mod record {
    /// u64: thread group in the high half, thread in the low one.
    pub(crate) const PID: usize = 0;
    /// i64: what the call answered.
    pub(crate) const ANSWER: usize = 8;
    /// u32: the call's number; `call::COMPAT` more in 32-bit code.
    pub(crate) const NUMBER: usize = 16;
    /// u32: what is shown, see `shown`.
    pub(crate) const SHOWN: usize = 20;
    /// Six u64, in room for eight: a number of three bits finds no end.
    pub(crate) const ARGUMENTS: usize = 24;
    /// The task's name, 16 bytes.
    pub(crate) const NAME: usize = 88;
    /// i32: length of the first text, or the errno of reading it.
    pub(crate) const FIRST: usize = 104;
    /// i32: the same of the second.
    pub(crate) const SECOND: usize = 108;
    /// First text, then second.
    pub(crate) const TEXT: usize = 112;
}

/// What is shown of a call, as the programs read it: argument of the first path or address, argument of the second path in
/// bits 4–6, and these.
pub(super) mod shown {
    pub(crate) const PATH: u32 = 1 << 8;
    pub(crate) const SECOND: u32 = 1 << 9;
    pub(crate) const ADDRESS: u32 = 1 << 10;
}

/// Scratch memory of each CPU: saved registers, then the record.
const RECORD: i16 = 288;
/// Longest path that is kept.
const PATH: i32 = 1024;
/// Room for text: what its length can become when bits are masked to please the verifier.
const TEXT: u32 = 4096;
/// Size of the scratch memory.
pub(super) const SCRATCH: u32 = RECORD as u32 + record::TEXT as u32 + TEXT;

/// Errnos that mean "not allowed".
const DENIALS: [i32; 3] = [libc::EPERM, libc::EACCES, libc::EROFS];

/// What the programs share.
pub(super) struct Maps {
    /// task_struct → the copy that ran last for it, 0 when all have
    pub(super) tasks: OwnedFd,
    /// One record on each CPU for each copy.
    pub(super) scratch: OwnedFd,
    /// Number → `shown`
    pub(super) shown: OwnedFd,
    /// Events lost, tasks not followed, announcements seen.
    pub(super) counters: OwnedFd,
    /// The queue.
    pub(super) output: OwnedFd,
}

/// Indices of `Maps::counters`.
pub(super) const LOST: u32 = 0;
pub(super) const NOT_FOLLOWED: u32 = 1;
pub(super) const ANNOUNCED: u32 = 2;

/// One of `count` copies of the program at `sys_exit`, numbered from 1 in the order in which they run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy {
    pub(super) number: i32,
    pub(super) count: i32,
}

/// What this kernel offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variant {
    /// A ring buffer (5.8), else a buffer for each CPU.
    pub(super) ring: bool,
    /// Kernel and user memory are read by different helpers (5.5).
    pub(super) split: bool,
}

const fn field(offset: usize) -> i16 {
    RECORD + offset as i16
}

/// Adds one to a counter.
fn count(p: &mut Program, maps: &Maps, counter: u32) {
    let none = p.label();
    p.put(W32, STACK, -20, counter as i32);
    lookup(p, &maps.counters, -20);
    p.jump_if(Equal, R0, 0, none);
    p.number(R1, 1);
    p.count(R0, 0, R1);
    p.place(none);
}

/// `R0 = map[*(stack + key)]`, a pointer or null.
fn lookup(p: &mut Program, map: &OwnedFd, key: i32) {
    p.map(R1, map);
    p.address(R2, STACK, key);
    p.call(MAP_LOOKUP_ELEM);
}

/// Follows the task that the register points to.
fn follow(p: &mut Program, maps: &Maps, task: Register) {
    let followed = p.label();
    p.store(W64, STACK, -8, task);
    p.put(W64, STACK, -16, 0);
    p.map(R1, &maps.tasks);
    p.address(R2, STACK, -8);
    p.address(R3, STACK, -16);
    p.number(R4, 0);
    p.call(MAP_UPDATE_ELEM);
    p.jump_if(Equal, R0, 0, followed);
    count(p, maps, NOT_FOLLOWED);
    p.place(followed);
}

/// Reads `length` bytes from `R3` to `R1`, and goes on at `failed` when that can't be done.
fn read(p: &mut Program, probe: i32, length: i32, failed: super::asm::Label) {
    p.number(R2, length);
    p.call(probe);
    p.jump_if(NotEqual, R0, 0, failed);
}

/// Goes on at `done` when an earlier copy has taken this call. `R0` points to the copy that ran last for this task: a smaller
/// number is that of an earlier one at the same call. It is taken for that too when it is of the call before, all after it
/// were skipped there, and all before this one here: each copy was skipped once, as when all are skipped at one call.
fn take_turn(p: &mut Program, copy: Copy, done: super::asm::Label) {
    if copy.count == 1 {
        return;
    }
    let mine = p.label();
    p.load(W64, R1, R0, 0);
    p.put(W64, R0, 0, if copy.number == copy.count { 0 } else { copy.number });
    p.jump_if(Equal, R1, 0, mine);
    p.jump_if(Below, R1, copy.number, done);
    p.place(mine);
}

/// `sys_exit(regs, answer)`
pub(super) fn sys_exit(maps: &Maps, variant: Variant, nonce: [u64; 2], copy: Copy) -> Vec<Instruction> {
    let [kernel, user, string] = if variant.split { PROBES } else { OLD_PROBES };
    let mut program = Program::default();
    let p = &mut program;
    let (denied, announced, done) = (p.label(), p.label(), p.label());
    // All calls of the machine come by here; those that went well leave at once.
    p.load(W64, R7, R1, 8);
    p.jump_if(AtLeast, R7, 0, done);
    p.copy(R6, R1);
    for errno in DENIALS {
        p.jump_if(Equal, R7, -errno, denied);
    }
    p.jump_if(Equal, R7, -libc::EINVAL, announced);
    p.place(done);
    p.end();
    // prctl(nonce, nonce), which fails: the calling task is to be followed.
    p.place(announced);
    p.load(W64, R9, R6, 0);
    p.address(R1, STACK, -48);
    p.address(R3, R9, i32::from(registers::ARGUMENTS[0]));
    read(p, kernel, 16, done);
    p.load(W32, R1, STACK, -40);
    p.jump_if(NotEqual, R1, libc::SYS_prctl as i32, done);
    p.wide(R2, nonce[0]);
    p.load(W64, R1, STACK, -48);
    p.jump_if_register(NotEqual, R1, R2, done);
    p.address(R1, STACK, -48);
    p.address(R3, R9, i32::from(registers::ARGUMENTS[1]));
    read(p, kernel, 8, done);
    p.wide(R2, nonce[1]);
    p.load(W64, R1, STACK, -48);
    p.jump_if_register(NotEqual, R1, R2, done);
    p.call(GET_CURRENT_TASK);
    follow(p, maps, R0);
    count(p, maps, ANNOUNCED);
    p.jump(done);

    p.place(denied);
    p.call(GET_CURRENT_TASK);
    p.store(W64, STACK, -8, R0);
    lookup(p, &maps.tasks, -8);
    p.jump_if(Equal, R0, 0, done);
    take_turn(p, copy, done);
    p.put(W32, STACK, -16, copy.number - 1);
    lookup(p, &maps.scratch, -16);
    p.jump_if(Equal, R0, 0, done);
    p.copy(R8, R0);
    p.copy(R1, R8);
    p.load(W64, R3, R6, 0);
    read(p, kernel, registers::LENGTH, done);
    fixed_fields(p, user);
    text(p, maps, user, string);
    write(p, maps, variant);
    p.end();
    program.finish()
}

/// Fills the record at R8 up to its text, from the saved registers there and the answer in R7. Leaves the number at -16 on
/// the stack.
fn fixed_fields(p: &mut Program, user: i32) {
    let arguments = |p: &mut Program, width: Width, from: [i16; 6]| {
        for (i, offset) in from.into_iter().enumerate() {
            p.load(width, R1, R8, offset);
            p.store(W64, R8, field(record::ARGUMENTS) + 8 * i as i16, R1);
        }
    };
    let (compat, wide, done) = (p.label(), p.label(), p.label());
    if let Some((ip, cs, code)) = registers::MODE_32 {
        p.load(W16, R1, R8, cs);
        p.jump_if(Equal, R1, code, compat);
        // 64-bit code makes 32-bit calls with `int 0x80`, the two bytes before the place where it goes on.
        p.load(W64, R3, R8, ip);
        p.plus(R3, -2);
        p.address(R1, STACK, -16);
        read(p, user, 2, wide);
        p.load(W16, R1, STACK, -16);
        p.jump_if(NotEqual, R1, 0x80cd, wide);
        p.place(compat);
        arguments(p, W32, registers::ARGUMENTS_32);
        p.load(W32, R2, R8, registers::NUMBER);
        p.plus(R2, COMPAT as i32);
        p.jump(done);
    }
    p.place(wide);
    arguments(p, W64, registers::ARGUMENTS);
    p.load(W32, R2, R8, registers::NUMBER);
    p.place(done);
    p.store(W64, R8, field(record::ANSWER), R7);
    p.store(W32, R8, field(record::NUMBER), R2);
    p.store(W32, STACK, -16, R2);
    p.call(GET_CURRENT_PID_TGID);
    p.store(W64, R8, field(record::PID), R0);
    p.address(R1, R8, i32::from(field(record::NAME)));
    p.number(R2, 16);
    p.call(GET_CURRENT_COMM);
    for empty in [record::SHOWN, record::FIRST, record::SECOND] {
        p.put(W32, R8, field(empty), 0);
    }
}

/// Reads what is shown of the call whose number is at -16 on the stack; R7 becomes the length of all text.
fn text(p: &mut Program, maps: &Maps, user: i32, string: i32) {
    let (done, address, unreadable) = (p.label(), p.label(), [p.label(), p.label()]);
    // R3 = the argument that bits `shift`… of R9 name
    let argument = |p: &mut Program, shift: i32| {
        p.copy(R1, R9);
        p.right(R1, shift);
        p.and(R1, 7);
        p.left(R1, 3);
        p.copy(R2, R8);
        p.add(R2, R1);
        p.load(W64, R3, R2, field(record::ARGUMENTS));
    };
    p.number(R7, 0);
    lookup(p, &maps.shown, -16);
    p.jump_if(Equal, R0, 0, done);
    p.load(W32, R9, R0, 0);
    p.jump_if(Equal, R9, 0, done);
    p.store(W32, R8, field(record::SHOWN), R9);
    p.copy(R1, R9);
    p.and(R1, shown::ADDRESS as i32);
    p.jump_if(NotEqual, R1, 0, address);

    argument(p, 0);
    p.address(R1, R8, i32::from(field(record::TEXT)));
    p.number(R2, PATH);
    p.call(string);
    p.store(W32, R8, field(record::FIRST), R0);
    p.jump_if(Below, R0, 0, unreadable[0]);
    p.copy(R7, R0);
    p.place(unreadable[0]);
    p.copy(R1, R9);
    p.and(R1, shown::SECOND as i32);
    p.jump_if(Equal, R1, 0, done);
    // For the verifier, which lost sight of it: at most PATH.
    p.and(R7, 2047);
    argument(p, 4);
    p.copy(R1, R8);
    p.add(R1, R7);
    p.plus(R1, i32::from(field(record::TEXT)));
    p.number(R2, PATH);
    p.call(string);
    p.store(W32, R8, field(record::SECOND), R0);
    p.jump_if(Below, R0, 0, unreadable[1]);
    p.add(R7, R0);
    p.place(unreadable[1]);
    p.jump(done);

    p.place(address);
    socket_address(p, user, string, &argument);
    p.place(done);
}

/// A socket address: as long as the longest internet one, or as the shorter; of a Unix one the path.
fn socket_address(p: &mut Program, user: i32, string: i32, argument: &dyn Fn(&mut Program, i32)) {
    let (read, known) = (p.label(), p.label());
    argument(p, 0);
    p.store(W64, STACK, -8, R3);
    p.put(W16, R8, field(record::TEXT), 0);
    for length in [28, 16] {
        p.load(W64, R3, STACK, -8);
        p.address(R1, R8, i32::from(field(record::TEXT)));
        p.number(R2, length);
        p.call(user);
        p.number(R7, length);
        p.jump_if(Equal, R0, 0, read);
    }
    p.number(R7, 2);
    p.place(read);
    p.load(W16, R1, R8, field(record::TEXT));
    p.jump_if(NotEqual, R1, libc::AF_UNIX, known);
    p.load(W64, R3, STACK, -8);
    p.plus(R3, 2);
    p.address(R1, R8, i32::from(field(record::TEXT)) + 2);
    p.number(R2, 108);
    p.call(string);
    p.jump_if(Below, R0, 0, known);
    p.copy(R7, R0);
    p.plus(R7, 2);
    p.place(known);
    p.store(W32, R8, field(record::FIRST), R7);
}

/// Writes the record at R8 with R7 bytes of text to the queue, or counts it as lost.
fn write(p: &mut Program, maps: &Maps, variant: Variant) {
    let written = p.label();
    p.and(R7, TEXT as i32 - 1);
    p.plus(R7, record::TEXT as i32);
    if variant.ring {
        p.map(R1, &maps.output);
        p.address(R2, R8, i32::from(RECORD));
        p.copy(R3, R7);
        p.number(R4, 0);
        p.call(RINGBUF_OUTPUT);
    } else {
        p.copy(R1, R6);
        p.map(R2, &maps.output);
        // BPF_F_CURRENT_CPU
        p.wide(R3, 0xffff_ffff);
        p.address(R4, R8, i32::from(RECORD));
        p.copy(R5, R7);
        p.call(PERF_EVENT_OUTPUT);
    }
    p.jump_if(Equal, R0, 0, written);
    count(p, maps, LOST);
    p.place(written);
}

/// `sched_wakeup_new(child)`, in its parent
pub(super) fn wakeup_new(maps: &Maps) -> Vec<Instruction> {
    let mut program = Program::default();
    let p = &mut program;
    let done = p.label();
    p.load(W64, R6, R1, 0);
    p.call(GET_CURRENT_TASK);
    p.store(W64, STACK, -8, R0);
    lookup(p, &maps.tasks, -8);
    p.jump_if(Equal, R0, 0, done);
    follow(p, maps, R6);
    p.place(done);
    p.end();
    program.finish()
}

/// `sched_process_exit(task)`, `sched_process_free(task)`
pub(super) fn process_end(maps: &Maps) -> Vec<Instruction> {
    let mut program = Program::default();
    let p = &mut program;
    p.load(W64, R1, R1, 0);
    p.store(W64, STACK, -8, R1);
    p.map(R1, &maps.tasks);
    p.address(R2, STACK, -8);
    p.call(MAP_DELETE_ELEM);
    p.end();
    program.finish()
}
