//! Runs compiled programs in a small interpreter: no kernel.

use super::*;
use crate::plan::seccomp::{Host, Options, plan};
use crate::tables::syscalls::{EAFNOSUPPORT, EOPNOTSUPP, EPERM, EPROTONOSUPPORT};

/// `struct seccomp_data`
#[derive(Clone, Copy, Debug)]
struct Call {
    nr: u32,
    arch: u32,
    args: [u64; 6],
}

fn call(arch: Arch, nr: u32, args: &[u64]) -> Call {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    Call { nr, arch: arch.audit(), args: all }
}

/// The 32 bits at an offset of `seccomp_data`.
fn word(call: &Call, offset: u32) -> u32 {
    match offset {
        0 => call.nr,
        4 => call.arch,
        8 | 12 => 0x5555_5555,
        _ => {
            let argument = call.args[(offset as usize - 16) / 8];
            if offset.is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
        }
    }
}

/// The return value of a program, and how many instructions it took.
fn run(program: &[Instruction], call: &Call) -> (u32, usize) {
    let (mut at, mut steps, mut a) = (0, 0, 0u32);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        steps += 1;
        at += 1;
        let holds = match code {
            LOAD => {
                a = word(call, k);
                continue;
            }
            AND => {
                a &= k;
                continue;
            }
            GOTO => {
                at += k as usize;
                continue;
            }
            RETURN => return (k, steps),
            EQUAL => a == k,
            GREATER => a > k,
            AT_LEAST => a >= k,
            ANY_BIT => a & k != 0,
            other => panic!("no such instruction: {other:#x}"),
        };
        at += usize::from(if holds { jt } else { jf });
    }
}

const fn errno(errno: Errno) -> u32 {
    ERRNO | errno.0 as u32
}

fn program(options: &Options, native: Arch) -> Vec<Instruction> {
    compile(&plan(options).unwrap(), native).unwrap()
}

fn default_program() -> Vec<Instruction> {
    program(&Options::default(), Arch::X86_64)
}

fn answer(program: &[Instruction], arch: Arch, nr: u32, args: &[u64]) -> u32 {
    run(program, &call(arch, nr, args)).0
}

/// The number of a call by name.
fn nr(name: &str, arch: Arch) -> u32 {
    crate::tables::syscalls::find(name).unwrap().1.on(arch).unwrap()
}

/// Native and 32-bit architectures with the program that judges them.
fn everywhere(options: &Options) -> Vec<(Arch, Vec<Instruction>)> {
    let x86 = program(options, Arch::X86_64);
    vec![(Arch::X86_64, x86.clone()), (Arch::I386, x86), (Arch::Aarch64, program(options, Arch::Aarch64))]
}

/// All options that add rows.
fn widest() -> Options {
    let host = Host {
        tree: true,
        truncate: true,
        processes: true,
        ipc: true,
        network: true,
        sockets: true,
        brokered: false,
    };
    Options { guard_group_kill: true, ask_exec: true, host, ..Options::default() }
}

/// fence makes and connects the command's sockets.
fn brokered() -> Options {
    Options { host: Host { tree: true, brokered: true, ..Host::default() }, ..Options::default() }
}

const HIGH: u64 = 0xdead_beef_0000_0000;

#[test]
fn every_number_gets_the_action_of_its_row() {
    for options in [Options::default(), widest(), brokered()] {
        let rules = plan(&options).unwrap();
        for (arch, program) in everywhere(&options) {
            for nr in 0..=600 {
                let row = rules.iter().find(|rule| rule.numbers.on(arch) == Some(nr));
                let wanted = match row.map(|rule| rule.action) {
                    Some(Action::Refuse(refused)) => errno(refused),
                    Some(Action::Notify) => USER_NOTIF,
                    Some(Action::Args(_)) => continue,
                    _ if arch == Arch::X86_64 && (512..=547).contains(&nr) => errno(ENOSYS),
                    _ => ALLOW,
                };
                assert_eq!(answer(&program, arch, nr, &[u64::MAX; 6]), wanted, "{nr} on {arch:?}");
            }
        }
    }
}

#[test]
fn x32_is_missing_and_minus_one_passes() {
    let program = default_program();
    for nr in (0..600).chain([0x3fff_ffff]).map(|nr| nr | 0x4000_0000).chain([0x8000_0000, 0xffff_fffe]) {
        assert_eq!(answer(&program, Arch::X86_64, nr, &[]), errno(ENOSYS), "{nr:#x}");
    }
    assert_eq!(answer(&program, Arch::X86_64, u32::MAX, &[]), ALLOW);
    assert_eq!(answer(&program, Arch::X86_64, 0x3fff_ffff, &[]), ALLOW);
}

#[test]
fn exec_is_asked_about_in_every_form() {
    for (arch, program) in everywhere(&widest()) {
        for name in ["execve", "execveat"] {
            assert_eq!(answer(&program, arch, nr(name, arch), &[]), USER_NOTIF, "{name} on {arch:?}");
        }
    }
    let program = program(&widest(), Arch::X86_64);
    // x32's own execve and execveat, with and without its bit, and the 64-bit numbers with it.
    for number in [520, 545, 520 | 0x4000_0000, 545 | 0x4000_0000, 59 | 0x4000_0000, 322 | 0x4000_0000] {
        assert_eq!(answer(&program, Arch::X86_64, number, &[]), errno(ENOSYS), "{number:#x}");
    }
}

#[test]
fn foreign_architectures_are_killed() {
    const ARM: u32 = 0x4000_0028;
    let x86 = default_program();
    let arm = program(&Options::default(), Arch::Aarch64);
    for nr in [0, 39, 101, 0x4000_0000, u32::MAX] {
        for arch in [0, ARM, Arch::Aarch64.audit(), Arch::I386.audit() | 0x8000_0000] {
            assert_eq!(run(&x86, &Call { nr, arch, args: [0; 6] }).0, KILL_PROCESS);
        }
        for arch in [0, ARM, Arch::X86_64.audit(), Arch::I386.audit()] {
            assert_eq!(run(&arm, &Call { nr, arch, args: [0; 6] }).0, KILL_PROCESS);
        }
    }
}

/// Checks `name` with each set of arguments on every architecture that has it.
fn table(options: &Options, name: &str, rows: &[(&[u64], u32)]) {
    for (arch, program) in everywhere(options) {
        // aarch64 has no `open` and its like.
        let Some(number) = crate::tables::syscalls::find(name).unwrap().1.on(arch) else { continue };
        for (args, wanted) in rows {
            let got = answer(&program, arch, number, args);
            assert_eq!(got, *wanted, "{name} {args:x?} on {arch:?}");
        }
    }
}

#[test]
fn namespaces() {
    let denied = errno(EPERM);
    let options = Options::default();
    // What pthread_create, fork and vfork of glibc and musl pass, Go's threads too.
    for plain in [0x003d_0f00, 0x0120_0011, 0x4111, 0x007d_0f00, 0x0005_0f00, 17, 0, 0x8000_0000] {
        table(
            &options,
            "clone",
            &[(&[plain], ALLOW), (&[plain | HIGH], ALLOW), (&[plain | 1 << 28], denied)],
        );
    }
    for new in [0x2_0000, 1 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30] {
        table(&options, "clone", &[(&[new], denied), (&[new | HIGH | 17], denied)]);
        table(&options, "unshare", &[(&[new], denied), (&[new | HIGH], denied), (&[new | 0x600], denied)]);
    }
    let passes: &[u64] = &[0x200, 0x400, 0x600, 0, 0x4_0000];
    for plain in passes {
        table(&options, "unshare", &[(&[*plain], ALLOW)]);
    }
    // CLONE_NEWTIME, UNSHARE_EMPTY_MNTNS, a flag of the future.
    for unknown in [0x80, 0x10_0000, 1 << 32] {
        table(&options, "unshare", &[(&[unknown], denied)]);
    }
}

#[test]
fn terminal_input() {
    let denied = errno(EPERM);
    table(
        &Options::default(),
        "ioctl",
        &[
            (&[0, 0x5412], denied),
            (&[0, 0x5412 | 1 << 32], denied),
            (&[0, 0x5412 | HIGH], denied),
            (&[7, 0x541c | HIGH], denied),
            (&[0, 0x5401], ALLOW),
            (&[0x5412, 0x5413], ALLOW),
        ],
    );
}

#[test]
fn leases() {
    let denied = errno(EPERM);
    let rows: &[(&[u64], u32)] = &[
        (&[3, 1024, 1], denied),
        (&[3, 1024 | HIGH], denied),
        (&[3, 1040], denied),
        (&[3, 1025], ALLOW),
        (&[3, 1030], ALLOW),
    ];
    table(&Options::default(), "fcntl", rows);
    table(&Options::default(), "fcntl64", rows);
}

#[test]
fn personalities() {
    for passes in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        table(&Options::default(), "personality", &[(&[passes], ALLOW), (&[passes | HIGH], ALLOW)]);
    }
    for refused in [0x4_0000, 0x40_0000, 0x4_0008, 1, 0x2_0009] {
        table(
            &Options::default(),
            "personality",
            &[(&[refused], errno(EPERM)), (&[refused | HIGH], errno(EPERM))],
        );
    }
}

#[test]
fn clocks() {
    table(
        &Options::default(),
        "clock_adjtime",
        &[(&[0], ALLOW), (&[1], errno(EPERM)), (&[-29i64 as u64], errno(EPERM)), (&[HIGH], ALLOW)],
    );
    table(&Options::default(), "adjtimex", &[(&[0], ALLOW)]);
}

const UNIX: u64 = 1;
const INET: u64 = 2;
const INET6: u64 = 10;
const NETLINK: u64 = 16;
const STREAM: u64 = 1;
const DGRAM: u64 = 2;
const RAW: u64 = 3;
const CLOEXEC_NONBLOCK: u64 = 0o2_004_000;

#[test]
fn what_is_the_hosts_is_guarded_call_by_call() {
    let no = errno(EAFNOSUPPORT);
    let of = |host: Host| Options { host, ..Options::default() };
    let network = of(Host { network: true, ..Host::default() });
    let sockets = of(Host { sockets: true, ..Host::default() });
    let both = of(Host { network: true, sockets: true, ..Host::default() });
    let families: [([u64; 3], [u32; 3]); 9] = [
        ([UNIX | HIGH, STREAM | CLOEXEC_NONBLOCK, 0], [ALLOW, no, no]),
        ([INET, STREAM, 0], [no, ALLOW, no]),
        ([INET6 | HIGH, STREAM | CLOEXEC_NONBLOCK, 6], [no, ALLOW, no]),
        ([INET, STREAM, 262], [no, ALLOW, no]),
        ([INET, DGRAM, 0], [no, ALLOW, no]),
        ([INET, 10 | CLOEXEC_NONBLOCK, 3], [no, no, no]),
        ([NETLINK, RAW, 0], [ALLOW, ALLOW, ALLOW]),
        ([40, STREAM, 0], [no, no, no]),
        ([17, RAW, 0], [no, no, no]),
    ];
    for (args, wanted) in families {
        for (options, wanted) in [&network, &sockets, &both].into_iter().zip(wanted) {
            table(options, "socket", &[(&args, wanted)]);
        }
    }
    for options in [&sockets, &both] {
        table(
            options,
            "socketpair",
            &[
                (&[UNIX, STREAM | CLOEXEC_NONBLOCK], ALLOW),
                (&[UNIX, 5 | HIGH], ALLOW),
                (&[UNIX, DGRAM], no),
                (&[UNIX, RAW | CLOEXEC_NONBLOCK], no),
                (&[INET, STREAM], no),
            ],
        );
    }
    table(&both, "listen", &[(&[3, 1], errno(EPERM))]);
    let tree = of(Host { tree: true, truncate: true, processes: true, ipc: true, ..Host::default() });
    let no = errno(EPERM);
    table(
        &tree,
        "chmod",
        &[(&[0, 0o755], ALLOW), (&[0, 0o4755], no), (&[0, 0o2711 | HIGH], no), (&[0, 0o1777], ALLOW)],
    );
    table(&tree, "fchmodat", &[(&[0, 0, 0o644], ALLOW), (&[0, 0, 0o6755], no)]);
    table(&tree, "setxattr", &[(&[0], errno(EOPNOTSUPP))]);
    table(&tree, "ioctl", &[(&[0, 0x5412 | HIGH], no), (&[0, 0x541c], no), (&[0, 0x5401], ALLOW)]);
    // Flags of files (64-bit, 32-bit, XFS'), generation, verity, encryption, FAT's; btrfs' new subvolume, snapshot, removal.
    let attributes = [
        0x4008_6602,
        0x4004_6602,
        0x401c_5820,
        0x4008_7602,
        0x4080_6685,
        0x800c_6613,
        0x4004_7211,
        0x5000_940e,
        0x5000_9417,
        0x5000_940f,
        0x4008_6602 | HIGH,
    ];
    for request in attributes {
        table(&tree, "ioctl", &[(&[3, request], errno(EOPNOTSUPP))]);
        table(&Options::default(), "ioctl", &[(&[3, request], ALLOW)]);
    }
    // Reading flags, FICLONE, FICLONERANGE, FIDEDUPERANGE, FIONREAD, a sound card's.
    for request in [0x8008_6601, 0x4004_9409, 0x4020_940d, 0xc018_9436, 0x541b, 0xc004_9500] {
        table(&tree, "ioctl", &[(&[3, request], ALLOW)]);
    }
    table(&tree, "prlimit64", &[(&[0, 7], ALLOW), (&[HIGH, 7], ALLOW), (&[77, 0], no)]);
    table(&tree, "shmat", &[(&[0], errno(ENOSYS))]);
    table(&tree, "truncate", &[(&[0], no)]);
    let openat = |flags: u64| [0, 0, flags];
    let rows = [
        (0, ALLOW),
        (0o1000, no),
        (0o1003, no),
        (0o1001, ALLOW),
        (0o1102, ALLOW),
        (HIGH | 0o1000, no),
        (0o3, ALLOW),
    ];
    for (flags, wanted) in rows {
        table(&tree, "openat", &[(&openat(flags), wanted)]);
        table(&tree, "open", &[(&[0, flags], wanted)]);
    }
    let newer = of(Host { tree: true, ..Host::default() });
    table(&newer, "openat", &[(&openat(0o1000), ALLOW)]);
}

#[test]
fn sockets() {
    let (family, protocol) = (errno(EAFNOSUPPORT), errno(EPROTONOSUPPORT));
    let rows: &[([u64; 3], u32)] = &[
        ([UNIX, STREAM, 0], ALLOW),
        ([UNIX | HIGH, DGRAM | CLOEXEC_NONBLOCK, 0], ALLOW),
        ([INET, STREAM, 0], ALLOW),
        ([INET, STREAM | CLOEXEC_NONBLOCK | HIGH, 6 | HIGH], ALLOW),
        ([INET6, STREAM | CLOEXEC_NONBLOCK, 6], ALLOW),
        ([INET, STREAM, 262], ALLOW),
        ([INET6, STREAM, 132], ALLOW),
        ([INET, DGRAM, 0], ALLOW),
        ([INET6, DGRAM, 58], ALLOW),
        ([INET, RAW | CLOEXEC_NONBLOCK, 1], ALLOW),
        ([INET, 10, 3], family),
        ([INET, 10 | CLOEXEC_NONBLOCK | HIGH, 3], family),
        ([NETLINK, RAW, 0], ALLOW),
        ([NETLINK, RAW | CLOEXEC_NONBLOCK, HIGH], ALLOW),
        ([NETLINK, RAW, 9], protocol),
        ([NETLINK, RAW, 16], protocol),
        ([0, STREAM, 0], family),
        ([17, RAW, 3], family),
        ([38, 5, 0], family),
        ([40 | HIGH, STREAM, 0], family),
        ([44, RAW, 0], family),
        ([u64::MAX, STREAM, 0], family),
    ];
    for (args, wanted) in rows {
        table(&Options::default(), "socket", &[(args, *wanted)]);
    }
}

#[test]
fn socket_helpers() {
    let family = errno(EAFNOSUPPORT);
    table(
        &Options::default(),
        "socketpair",
        &[(&[UNIX | HIGH, STREAM], ALLOW), (&[30], family), (&[38], family)],
    );
    let x86 = default_program();
    for number in 1..=20 {
        let wanted = if matches!(number, 1 | 8) { errno(EPERM) } else { ALLOW };
        assert_eq!(answer(&x86, Arch::I386, 102, &[number]), wanted, "socketcall {number}");
    }
}

#[test]
fn process_groups() {
    let guarded = Options { guard_group_kill: true, ..Options::default() };
    let everyone = u64::from(u32::MAX);
    for signal in 0..=64u64 {
        let job_control = matches!(signal, 0 | 18..=22 | 28);
        let wanted = if job_control { ALLOW } else { errno(EPERM) };
        let rows: [(&[u64], u32); 6] = [
            (&[0, signal], wanted),
            (&[HIGH, signal | HIGH], wanted),
            (&[everyone, signal], wanted),
            (&[u64::MAX, signal], wanted),
            (&[1234, signal], ALLOW),
            (&[-77i64 as u64, signal], ALLOW),
        ];
        table(&guarded, "kill", &rows);
        table(
            &guarded,
            "pidfd_send_signal",
            &[
                (&[3, signal, 0, 0], ALLOW),
                (&[3, signal, 0, 4], wanted),
                (&[3, signal | HIGH, 0, 4 | HIGH], wanted),
            ],
        );
        table(&Options::default(), "kill", &[(&[0, signal], ALLOW)]);
    }
}

#[test]
fn jumps_stay_inside() {
    let deny_all: Vec<String> = crate::tables::syscalls::all().map(|(name, _)| name.to_string()).collect();
    // Every second call: the most ranges that there can be.
    let every_second: Vec<String> = deny_all.iter().step_by(2).cloned().collect();
    for deny in [vec![], deny_all, every_second] {
        for native in [Arch::X86_64, Arch::Aarch64] {
            let options = Options { deny: deny.clone(), ..widest() };
            let rules = plan(&options).unwrap();
            let program = compile(&rules, native).unwrap();
            assert!(program.len() <= MAX_INSTRUCTIONS);
            for (at, instruction) in program.iter().enumerate() {
                let Instruction { code, jt, jf, k } = *instruction;
                let longest = match code {
                    RETURN => continue,
                    GOTO => k as usize,
                    _ => usize::from(jt.max(jf)),
                };
                assert!(at + 1 + longest < program.len());
            }
            for nr in 0..=600 {
                let row = rules.iter().find(|rule| rule.numbers.on(native) == Some(nr));
                if let Some(Action::Refuse(refused)) = row.map(|rule| rule.action) {
                    assert_eq!(answer(&program, native, nr, &[]), errno(refused), "{nr}");
                }
            }
        }
    }
}

#[test]
fn an_empty_table_only_looks_at_the_architecture() {
    let program = compile(&[], Arch::Aarch64).unwrap();
    assert_eq!(answer(&program, Arch::Aarch64, 117, &[]), ALLOW);
    let program = compile(&[], Arch::X86_64).unwrap();
    assert_eq!(answer(&program, Arch::I386, 26, &[]), ALLOW);
    assert_eq!(answer(&program, Arch::X86_64, 101 | 0x4000_0000, &[]), errno(ENOSYS));
}

#[test]
fn too_long_a_program_is_an_error() {
    let rule = plan(&Options::default()).unwrap()[0];
    let rules: Vec<Rule> = (0..5000)
        .map(|number| {
            let mut rule = rule;
            rule.numbers.x86_64 = Some(number * 2);
            rule
        })
        .collect();
    assert!(compile(&rules, Arch::X86_64).is_err());
}

/// What installing costs: the kernel walks the program once per number.
#[test]
fn paths_are_short() {
    for (options, most, length) in [(Options::default(), 10.0, 330), (widest(), 11.0, 440)] {
        let program = program(&options, Arch::X86_64);
        let steps: usize = (0..470).map(|nr| run(&program, &call(Arch::X86_64, nr, &[])).1).sum();
        let average = steps as f64 / 470.0;
        println!("{} instructions, {average:.2} on the average path", program.len());
        assert!(average <= most, "{average}");
        assert!(program.len() <= length, "{}", program.len());
    }
}

mod reference;

#[test]
fn no_connection_without_connect() {
    for (arch, program) in everywhere(&brokered()) {
        for (name, at) in [("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)] {
            let mut args = [0; 6];
            args[at] = 0x4000;
            assert_eq!(answer(&program, arch, nr(name, arch), &args), ALLOW, "{name}");
            args[at] = HIGH | 0x2000_4000;
            assert_eq!(answer(&program, arch, nr(name, arch), &args), errno(EOPNOTSUPP), "{name}");
        }
    }
}
