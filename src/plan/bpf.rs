//! Rules → the classic BPF program that the kernel runs for every system call.
//!
//! The numbers of one architecture are cut into ranges with one action each; a search tree of `>=` tests finds the range:
//!
//! ```text
//! load arch ─ native? ─ load number ─ tree ┐
//!           └ 32-bit? ─ load number ─ tree ┴→ allow | errno | a look at the arguments
//!           └ other: kill
//! ```
//!
//! Installing costs 2.7 µs for each instruction on the path of an allowed call (the kernel runs the filter once per number
//! to learn which are always allowed) and a little for each instruction at all. So the tree is weighted by how many numbers
//! a range has, and its ends are shared.

mod args;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use crate::error::{Failure, Result};
use crate::tables::syscalls::{Action, Arch, ENOSYS, EPERM, Errno, Rule, X32};

/// The kernel's limit (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// `struct sock_filter`, field for field.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many instructions to skip when the test holds.
    pub jt: u8,
    /// How many to skip when not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// `BPF_LD | BPF_W | BPF_ABS`: loads 32 bits of `seccomp_data`.
const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`
const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`: the one jump whose distance has 32 bits.
const GOTO: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`
const EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGT | BPF_K`
const GREATER: u16 = 0x25;
/// `BPF_JMP | BPF_JGE | BPF_K`
const AT_LEAST: u16 = 0x35;
/// `BPF_JMP | BPF_JSET | BPF_K`
const ANY_BIT: u16 = 0x45;
/// `BPF_RET | BPF_K`
const RETURN: u16 = 0x06;

/// `SECCOMP_RET_*`
const KILL_PROCESS: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;
const USER_NOTIF: u32 = 0x7fc0_0000;
const ALLOW: u32 = 0x7fff_0000;

/// Where `seccomp_data` has the number and the architecture.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// Numbers from here on count nothing when the tree is weighted: no kernel has them.
const LAST_NUMBER: u32 = 512;

const fn op(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

const fn load(offset: u32) -> Instruction {
    op(LOAD, offset, 0, 0)
}

const fn give(value: u32) -> Instruction {
    op(RETURN, value, 0, 0)
}

const fn refuse(errno: Errno) -> Instruction {
    give(ERRNO | errno.0 as u32)
}

/// Makes the program for `native` and its 32-bit companion.
///
/// # Errors
/// More than [`MAX_INSTRUCTIONS`].
pub fn compile(rules: &[Rule], native: Arch) -> Result<Vec<Instruction>> {
    let mut backwards = Backwards::new();
    let mut next = backwards.push(give(KILL_PROCESS));
    for arch in [native.compat(), Some(native)].into_iter().flatten() {
        let ranges = Ranges::new(rules, arch);
        let tree = backwards.tree(&ranges, 0, ranges.len());
        let start = backwards.then(load(NUMBER), tree);
        next = backwards.branch(EQUAL, arch.audit(), start, next);
    }
    backwards.then(load(ARCH), next);
    let mut program = backwards.code;
    if program.len() > MAX_INSTRUCTIONS {
        let what = format!(
            "the seccomp filter has {} instructions, the kernel takes {MAX_INSTRUCTIONS}",
            program.len()
        );
        return Err(Failure::new(what).hint("deny fewer system calls"));
    }
    program.reverse();
    Ok(program)
}

/// The same program where nobody can be asked: what it would ask about is refused.
pub fn without_listener(program: &[Instruction]) -> std::borrow::Cow<'_, [Instruction]> {
    let asks = give(USER_NOTIF);
    if !program.contains(&asks) {
        return program.into();
    }
    program.iter().map(|one| if *one == asks { refuse(EPERM) } else { *one }).collect()
}

/// All numbers of one architecture, cut where the action changes.
struct Ranges {
    /// Where each range starts, ascending, the first at 0; each ends where the next starts.
    starts: Vec<u32>,
    actions: Vec<Action>,
}

impl Ranges {
    fn new(rules: &[Rule], arch: Arch) -> Ranges {
        let mut judged: Vec<(u32, u32, Action)> = rules
            .iter()
            .filter_map(|rule| rule.numbers.on(arch).map(|number| (number, number, rule.action)))
            .collect();
        if arch == Arch::X86_64 {
            judged.extend(X32.map(|(first, last)| (first, last, Action::Refuse(ENOSYS))));
        }
        crate::order::sort(&mut judged);
        let mut ranges = Ranges {
            starts: Vec::with_capacity(judged.len() * 2 + 1),
            actions: Vec::with_capacity(judged.len() * 2 + 1),
        };
        let mut free = 0;
        for (first, last, action) in judged {
            if first > free {
                ranges.start(free, Action::Allow);
            }
            ranges.start(first, action);
            // Only the very last number has none after it, and X32 stops one short of that.
            free = last.saturating_add(1);
        }
        ranges.start(free, Action::Allow);
        ranges
    }

    fn start(&mut self, at: u32, action: Action) {
        if self.actions.last() != Some(&action) {
            self.starts.push(at);
            self.actions.push(action);
        }
    }

    fn len(&self) -> usize {
        self.starts.len()
    }

    /// Which of the ranges `low + 1..high` starts nearest to the middle of the numbers that they cover.
    fn middle(&self, low: usize, high: usize) -> usize {
        let end = self.starts.get(high).copied().unwrap_or(LAST_NUMBER).min(LAST_NUMBER);
        let begin = self.starts[low].min(LAST_NUMBER);
        if begin == end {
            return low + (high - low) / 2;
        }
        let wanted = begin + (end - begin) / 2;
        let inner = &self.starts[low + 1..high];
        let after = inner.partition_point(|&start| start < wanted).min(inner.len() - 1);
        let before = after.saturating_sub(1);
        let nearest =
            if inner[after].abs_diff(wanted) < inner[before].abs_diff(wanted) { after } else { before };
        low + 1 + nearest
    }
}

/// The place of an instruction in a program that is written from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Label(usize);

/// A program written from its end: BPF only jumps forward, so every target is known when the jump is written.
struct Backwards {
    code: Vec<Instruction>,
    /// Ends of the tree that are written already, shared by all branches and both architectures.
    ends: Vec<(Action, Label)>,
}

impl Backwards {
    fn new() -> Backwards {
        Backwards { code: Vec::with_capacity(512), ends: Vec::with_capacity(16) }
    }

    /// Puts an instruction before all others.
    fn push(&mut self, instruction: Instruction) -> Label {
        self.code.push(instruction);
        Label(self.code.len() - 1)
    }

    /// How many instructions one pushed now would have to skip.
    fn distance(&self, to: Label) -> usize {
        self.code.len() - 1 - to.0
    }

    /// Puts an instruction that goes on at `to`.
    fn then(&mut self, instruction: Instruction, to: Label) -> Label {
        self.near(to, 0);
        self.push(instruction)
    }

    /// A label for `to` at most `limit` instructions away.
    fn near(&mut self, to: Label, limit: usize) -> Label {
        let distance = self.distance(to);
        if distance <= limit {
            return to;
        }
        let target = self.code[to.0];
        // A copy of a return costs as much room as a jump to it, and one step less.
        if target.code == RETURN { self.push(target) } else { self.push(op(GOTO, distance as u32, 0, 0)) }
    }

    /// Puts a test with its two ways on.
    fn branch(&mut self, code: u16, k: u32, holds: Label, fails: Label) -> Label {
        // One less than the field holds, because bringing `fails` near may move `holds` one away.
        let limit = usize::from(u8::MAX) - 1;
        let holds = self.near(holds, limit);
        let fails = self.near(fails, limit);
        let (jt, jf) = (self.distance(holds), self.distance(fails));
        self.push(op(code, k, jt as u8, jf as u8))
    }

    /// The search tree over the ranges `low..high`.
    fn tree(&mut self, ranges: &Ranges, low: usize, high: usize) -> Label {
        if high - low == 1 {
            return self.end(ranges.actions[low]);
        }
        let middle = ranges.middle(low, high);
        let right = self.tree(ranges, middle, high);
        let left = self.tree(ranges, low, middle);
        self.branch(AT_LEAST, ranges.starts[middle], right, left)
    }

    /// What happens at a leaf.
    fn end(&mut self, action: Action) -> Label {
        if let Some(&(_, label)) = self.ends.iter().find(|(known, _)| *known == action) {
            return label;
        }
        let label = match action {
            Action::Allow => self.push(give(ALLOW)),
            Action::Refuse(errno) => self.push(refuse(errno)),
            Action::Notify => self.push(give(USER_NOTIF)),
            Action::Args(rule) => {
                self.code.extend(args::program(rule).iter().rev());
                Label(self.code.len() - 1)
            }
        };
        self.ends.push((action, label));
        label
    }
}
