//! Ubuntu's restriction of unprivileged user namespaces, without Ubuntu's kernel: anybody may make one, but no capability counts in
//! there, unless root of the host started the process. A program in the kernel (BPF LSM) says so, and the sysctl that
//! Ubuntu has is shown. Machine-wide as long as the command runs: for virtual machines.

use crate::errno::{Errno, check};
use crate::hosts::{contents, in_child, mount, own_mounts};
use crate::{Act, Outcome, filter};
use std::fs;
use std::path::Path;

pub(crate) const ACTS: &[Act] = &[("ubuntu", "-- COMMAND...", |a| {
    let link = restrict()?;
    own_mounts(0)?;
    show_sysctl()?;
    // The parent holds the program in place.
    in_child()?;
    // SAFETY: an integer; the command gets no such descriptor.
    unsafe { libc::close(link as i32) };
    filter::run(&a[1..])
})];

/// /proc/sys/kernel with one file more.
fn show_sysctl() -> Outcome {
    let kernel = Path::new("/proc/sys/kernel");
    let files = contents(kernel);
    mount("tmpfs", "/proc/sys/kernel", "tmpfs", 0, "mode=755")?;
    for (path, bytes) in files {
        match bytes {
            None => fs::create_dir(path)?,
            Some(bytes) => fs::write(path, bytes)?,
        }
    }
    Ok(fs::write(kernel.join("apparmor_restrict_unprivileged_userns"), "1\n")?)
}

/// `struct bpf_insn`: code, registers, offset, operand.
type Instruction = (u8, u8, i16, i32);

/// Puts the program in place for as long as the answer is open.
fn restrict() -> Result<i64, Errno> {
    let types = fs::read("/sys/kernel/btf/vmlinux")?;
    let types = Types::new(&types).ok_or(Errno(libc::EINVAL))?;
    let missing = Errno(libc::ENOENT);
    let hook = types.function("bpf_lsm_capable").ok_or(missing)?;
    let namespace = types.member("cred", "user_ns").ok_or(missing)?;
    let level = types.member("user_namespace", "level").ok_or(missing)?;
    let program: [Instruction; 10] = [
        (0x79, 0x16, 0, 0),         // r6 = the credentials asked about
        (0x79, 0x66, namespace, 0), // r6 = their user namespace
        (0x61, 0x66, level, 0),     // r6 = how deep that is
        (0x15, 0x06, 4, 0),         // the host's own: allowed
        (0x85, 0, 0, 15),           // r0 = bpf_get_current_uid_gid()
        (0x16, 0x00, 2, 0),         // root of the host: allowed
        (0xb7, 0x00, 0, -libc::EPERM),
        (0x95, 0, 0, 0),
        (0xb7, 0x00, 0, 0), // allowed
        (0x95, 0, 0, 0),
    ];
    let code: Vec<u64> = program
        .iter()
        .map(|(code, registers, offset, immediate)| {
            u64::from(*code)
                | u64::from(*registers) << 8
                | u64::from(*offset as u16) << 16
                | u64::from(*immediate as u32) << 32
        })
        .collect();
    // union bpf_attr for BPF_PROG_LOAD: BPF_PROG_TYPE_LSM, BPF_LSM_MAC, which hook.
    let mut attr = [0u64; 15];
    attr[0] = 29 | (code.len() as u64) << 32;
    attr[1] = code.as_ptr().addr() as u64;
    attr[2] = c"GPL".as_ptr().addr() as u64;
    attr[8] = 27 << 32;
    attr[13] = u64::from(hook) << 32;
    let program = bpf(5, &attr)?;
    // BPF_RAW_TRACEPOINT_OPEN without a name attaches such a program.
    bpf(17, &[0, program as u64])
}

fn bpf(command: i32, attr: &[u64]) -> Result<i64, Errno> {
    // SAFETY: the attribute and what it points to outlive the call; its size is passed.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of_val(attr)) })
}

/// The kernel's own description of its types (BTF).
struct Types<'a> {
    records: &'a [u8],
    names: &'a [u8],
}

impl<'a> Types<'a> {
    fn new(bytes: &'a [u8]) -> Option<Types<'a>> {
        let [header, at, length, names] = [4, 8, 12, 16].map(|at| word(bytes, at) as usize);
        Some(Types {
            records: bytes.get(header + at..header + at + length)?,
            names: bytes.get(header + names..)?,
        })
    }

    fn named(&self, at: u32, name: &str) -> bool {
        self.names[at as usize..].strip_prefix(name.as_bytes()).is_some_and(|rest| rest[0] == 0)
    }

    /// Number, kind, name and place of each type.
    fn each(&self) -> impl Iterator<Item = (u32, u32, u32, usize)> {
        let (mut at, mut number) = (0, 0);
        std::iter::from_fn(move || {
            if at >= self.records.len() {
                return None;
            }
            let (here, name, info) = (at, word(self.records, at), word(self.records, at + 4));
            let (kind, count) = (info >> 24 & 31, (info & 0xffff) as usize);
            number += 1;
            at += 12
                + match kind {
                    1 | 14 | 17 => 4,
                    3 => 12,
                    4 | 5 | 15 | 19 => 12 * count,
                    6 | 13 => 8 * count,
                    _ => 0,
                };
            Some((number, kind, name, here))
        })
    }

    fn function(&self, name: &str) -> Option<u32> {
        self.each().find(|(_, kind, n, _)| *kind == 12 && self.named(*n, name)).map(|(number, ..)| number)
    }

    /// Where a structure has a member, in bytes.
    fn member(&self, structure: &str, name: &str) -> Option<i16> {
        let found = self.each().filter(|(_, kind, n, _)| *kind == 4 && self.named(*n, structure));
        found
            .flat_map(|(.., at)| {
                let count = (word(self.records, at + 4) & 0xffff) as usize;
                (0..count).map(move |i| at + 12 + 12 * i)
            })
            .find(|at| self.named(word(self.records, *at), name))
            .map(|at| ((word(self.records, at + 8) & 0xff_ffff) / 8) as i16)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}
