//! The same policy compiled by seccompiler: both programs must agree on what passes.

use super::*;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, Gt, MaskedEq, Ne};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use std::collections::BTreeMap;

type Test = (u8, SeccompCmpArgLen, SeccompCmpOp, u64);

/// Refused when all tests of one list hold.
fn refused_when(lists: Vec<Vec<Test>>) -> Vec<SeccompRule> {
    let condition =
        |(argument, width, compare, value)| SeccompCondition::new(argument, width, compare, value).unwrap();
    lists
        .into_iter()
        .map(|list| SeccompRule::new(list.into_iter().map(condition).collect()).unwrap())
        .collect()
}

fn bits(mask: u32) -> impl Iterator<Item = u64> {
    (0..32).map(|bit| 1u64 << bit).filter(move |bit| u64::from(mask) & bit != 0)
}

/// The argument rules once more, written from the design and not from `args.rs`.
fn arguments(name: &str) -> Option<Vec<SeccompRule>> {
    let other = |argument, allowed: &[u64]| {
        allowed.iter().map(|value| (argument, Dword, Ne, *value)).collect::<Vec<Test>>()
    };
    Some(refused_when(match name {
        "clone" => bits(0x7e02_0000).map(|bit| vec![(0, Dword, MaskedEq(bit), bit)]).collect(),
        "unshare" => bits(!0x0005_0f00)
            .map(|bit| vec![(0, Dword, MaskedEq(bit), bit)])
            .chain([vec![(0, Qword, Gt, 0xffff_ffff)]])
            .collect(),
        "ioctl" => vec![vec![(1, Dword, Eq, 0x5412)], vec![(1, Dword, Eq, 0x541c)]],
        "fcntl" => vec![vec![(1, Dword, Eq, 1024)], vec![(1, Dword, Eq, 1040)]],
        "personality" => vec![other(0, &[0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff])],
        "clock_adjtime" => vec![other(0, &[0])],
        "socketpair" => vec![other(0, &[1])],
        "socket" => vec![
            other(0, &[1, 2, 10, 16]),
            vec![(0, Dword, Eq, 16), (2, Dword, Ne, 0)],
            vec![(0, Dword, Eq, 2), (1, Dword, MaskedEq(0xf), 10)],
        ],
        _ => return None,
    }))
}

fn reference(native: Arch) -> BpfProgram {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for rule in plan(&Options::default()).unwrap() {
        if let Some(number) = rule.numbers.on(native) {
            rules.insert(i64::from(number), arguments(rule.name).unwrap_or_default());
        }
    }
    let target = match native {
        Arch::Aarch64 => TargetArch::aarch64,
        _ => {
            rules.extend((512..=547).map(|number| (number, vec![])));
            TargetArch::x86_64
        }
    };
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(1), target)
        .unwrap()
        .try_into()
        .unwrap()
}

/// A fixed sequence, so that a failure comes back.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Mostly values that some rule asks about.
    fn argument(&mut self) -> u64 {
        #[rustfmt::skip]
        const TELLING: [u64; 22] = [
            0, 1, 2, 3, 6, 8, 9, 10, 16, 17, 0x80, 0x600, 1024, 1040, 0x5412, 0x541c, 0x2_0000, 0x2_0008, 0x4_0000, 1 << 28, 0xffff_ffff, u64::MAX,
        ];
        let value = TELLING[(self.next() % 22) as usize];
        match self.next() % 8 {
            0 => self.next(),
            1 => value | self.next() << 32,
            2 => value | 1 << (self.next() % 64),
            _ => value,
        }
    }
}

fn agree(native: Arch) {
    let reference: Vec<Instruction> =
        reference(native).iter().map(|other| op(other.code, other.k, other.jt, other.jf)).collect();
    let ours = program(&Options::default(), native);
    let mut random = Xorshift(0x5eed_f00d_1234_5678);
    for nr in 0..1024 {
        // Calls with argument rules get the most tries.
        let tries = if run(&ours, &call(native, nr, &[0x7fff_ffff; 6])).1 > 12 { 3000 } else { 150 };
        for _ in 0..tries {
            let args: [u64; 6] = std::array::from_fn(|_| random.argument());
            let call = call(native, nr, &args);
            let passes = |program| run(program, &call).0 == ALLOW;
            assert_eq!(passes(&ours), passes(&reference), "{call:x?}");
        }
    }
}

#[test]
fn agrees_on_x86_64() {
    agree(Arch::X86_64);
}

#[test]
fn agrees_on_aarch64() {
    agree(Arch::Aarch64);
}

/// Whatever the rules, each number gets its row's action.
#[test]
fn random_tables_are_searched_right() {
    let mut random = Xorshift(0x00c0_ffee_0bad_cafe);
    for round in 0..300 {
        let mut rules = Vec::new();
        let mut wanted = BTreeMap::new();
        for _ in 0..random.next() % 200 {
            let number = (random.next() % 700) as u32;
            let refused = Errno((random.next() % 40 + 1) as u16);
            if wanted.insert(number, refused).is_none() {
                let mut rule = plan(&Options::default()).unwrap()[0];
                rule.numbers.aarch64 = Some(number);
                rules.push(rule);
            }
        }
        for rule in &mut rules {
            rule.action = Action::Refuse(wanted[&rule.numbers.aarch64.unwrap()]);
        }
        let program = compile(&rules, Arch::Aarch64).unwrap();
        for nr in (0..800).chain([u32::MAX, 1 << 30]) {
            let refused = wanted.get(&nr).map_or(ALLOW, |refused| errno(*refused));
            assert_eq!(answer(&program, Arch::Aarch64, nr, &[]), refused, "{nr} in round {round}");
        }
    }
}
