//! eBPF instructions, written down one after the other, with labels.

use crate::sys::bpf::Instruction;
use std::os::fd::{AsRawFd, OwnedFd};

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Register(u8);

/// Answer of a call, and of the program.
pub(super) const R0: Register = Register(0);
/// First argument of a call; gone after it, as the next four.
pub(super) const R1: Register = Register(1);
pub(super) const R2: Register = Register(2);
pub(super) const R3: Register = Register(3);
pub(super) const R4: Register = Register(4);
pub(super) const R5: Register = Register(5);
/// Kept over calls, as the next three.
pub(super) const R6: Register = Register(6);
pub(super) const R7: Register = Register(7);
pub(super) const R8: Register = Register(8);
pub(super) const R9: Register = Register(9);
/// End of the program's stack of 512 bytes.
pub(super) const STACK: Register = Register(10);

/// How much a load or store moves (`BPF_SIZE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    W32 = 0x00,
    W16 = 0x08,
    W64 = 0x18,
}

/// When a jump is taken (`BPF_OP` of `BPF_JMP`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Equal = 0x10,
    NotEqual = 0x50,
    /// Signed.
    AtLeast = 0x70,
    /// Signed.
    Below = 0xc0,
}

/// A place to jump to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A program in the making.
#[derive(Default)]
pub(super) struct Program {
    code: Vec<Instruction>,
    /// Where each label is, once that is known.
    labels: Vec<usize>,
    /// Jumps, with their labels.
    jumps: Vec<(usize, Label)>,
}

/// A label that is not placed yet.
const NOWHERE: usize = usize::MAX;

impl Program {
    fn push(&mut self, code: u8, to: Register, from: Register, offset: i16, immediate: i32) {
        self.code.push(Instruction { code, registers: to.0 | from.0 << 4, offset, immediate });
    }

    /// A new label, to be placed later.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(NOWHERE);
        Label(self.labels.len() - 1)
    }

    /// The label is here.
    pub(super) fn place(&mut self, label: Label) {
        self.labels[label.0] = self.code.len();
    }

    /// `to = from`
    pub(super) fn copy(&mut self, to: Register, from: Register) {
        self.push(0xbf, to, from, 0, 0);
    }

    /// `to = value`
    pub(super) fn number(&mut self, to: Register, value: i32) {
        self.push(0xb7, to, R0, 0, value);
    }

    /// `to = value`, all 64 bits.
    pub(super) fn wide(&mut self, to: Register, value: u64) {
        self.push(0x18, to, R0, 0, value as i32);
        self.push(0, R0, R0, 0, (value >> 32) as i32);
    }

    /// `to = map`
    pub(super) fn map(&mut self, to: Register, map: &OwnedFd) {
        // BPF_PSEUDO_MAP_FD
        self.push(0x18, to, Register(1), 0, map.as_raw_fd());
        self.push(0, R0, R0, 0, 0);
    }

    /// `to = from + offset`
    pub(super) fn address(&mut self, to: Register, from: Register, offset: i32) {
        self.copy(to, from);
        self.push(0x07, to, R0, 0, offset);
    }

    /// `to += from`
    pub(super) fn add(&mut self, to: Register, from: Register) {
        self.push(0x0f, to, from, 0, 0);
    }

    /// `to += value`
    pub(super) fn plus(&mut self, to: Register, value: i32) {
        self.push(0x07, to, R0, 0, value);
    }

    /// `to &= value`
    pub(super) fn and(&mut self, to: Register, value: i32) {
        self.push(0x57, to, R0, 0, value);
    }

    /// `to <<= bits`
    pub(super) fn left(&mut self, to: Register, bits: i32) {
        self.push(0x67, to, R0, 0, bits);
    }

    /// `to >>= bits`
    pub(super) fn right(&mut self, to: Register, bits: i32) {
        self.push(0x77, to, R0, 0, bits);
    }

    /// `to = *(from + offset)`
    pub(super) fn load(&mut self, width: Width, to: Register, from: Register, offset: i16) {
        self.push(0x61 | width as u8, to, from, offset, 0);
    }

    /// `*(to + offset) = from`
    pub(super) fn store(&mut self, width: Width, to: Register, offset: i16, from: Register) {
        self.push(0x63 | width as u8, to, from, offset, 0);
    }

    /// `*(to + offset) = value`
    pub(super) fn put(&mut self, width: Width, to: Register, offset: i16, value: i32) {
        self.push(0x62 | width as u8, to, R0, offset, value);
    }

    /// `*(to + offset) += from`, atomically, 64 bits.
    pub(super) fn count(&mut self, to: Register, offset: i16, from: Register) {
        self.push(0xdb, to, from, offset, 0);
    }

    /// Goes on at `label` when `left` is so to `value`.
    pub(super) fn jump_if(&mut self, when: When, left: Register, value: i32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(0x05 | when as u8, left, R0, 0, value);
    }

    /// Goes on at `label` when `left` is so to `right`.
    pub(super) fn jump_if_register(&mut self, when: When, left: Register, right: Register, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(0x0d | when as u8, left, right, 0, 0);
    }

    /// Goes on at `label`.
    pub(super) fn jump(&mut self, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(0x05, R0, R0, 0, 0);
    }

    /// Calls a helper of the kernel.
    pub(super) fn call(&mut self, helper: i32) {
        self.push(0x85, R0, R0, 0, helper);
    }

    /// Ends with the answer 0.
    pub(super) fn end(&mut self) {
        self.number(R0, 0);
        self.push(0x95, R0, R0, 0, 0);
    }

    /// The program, its jumps filled in.
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        for (at, label) in self.jumps {
            // Programs here are a few hundred instructions long; a label that was never placed fails the verifier.
            self.code[at].offset = (self.labels[label.0] as isize - at as isize - 1) as i16;
        }
        self.code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodings as the kernel's documentation of the instruction set gives them.
    #[test]
    fn instructions_are_encoded_as_documented() {
        let mut program = Program::default();
        let end = program.label();
        program.load(Width::W64, R7, R1, 8);
        program.jump_if(When::AtLeast, R7, 0, end);
        program.put(Width::W32, STACK, -20, 3);
        program.store(Width::W16, R8, 4, R9);
        program.count(R0, 0, R1);
        program.wide(R2, 0x1122_3344_5566_7788);
        program.jump(end);
        program.call(35);
        program.place(end);
        program.end();
        let bytes: Vec<(u8, u8, i16, i32)> =
            program.finish().iter().map(|i| (i.code, i.registers, i.offset, i.immediate)).collect();
        assert_eq!(
            bytes,
            [
                (0x79, 0x17, 8, 0),
                (0x75, 0x07, 7, 0),
                (0x62, 0x0a, -20, 3),
                (0x6b, 0x98, 4, 0),
                (0xdb, 0x10, 0, 0),
                (0x18, 0x02, 0, 0x5566_7788),
                (0x00, 0x00, 0, 0x1122_3344),
                (0x05, 0x00, 1, 0),
                (0x85, 0x00, 0, 35),
                (0xb7, 0x00, 0, 0),
                (0x95, 0x00, 0, 0),
            ]
        );
    }
}
