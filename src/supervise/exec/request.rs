//! An exec that waits for its verdict, read from its caller's memory: path, flags, `argv`.

use crate::sys::notify::Notification;
use crate::sys::ptrace;
use crate::tables::syscalls::{Arch, EXEC};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// What the caller asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// As it was passed; empty with a descriptor that is the file itself.
    pub(super) path: Vec<u8>,
    /// What a relative path begins at: a descriptor of the caller, or AT_FDCWD.
    pub(super) directory: i32,
    /// A symbolic link at the end is not followed.
    pub(super) no_follow: bool,
    /// `argv`; never empty.
    pub(super) words: Vec<String>,
    /// The same, byte by byte.
    pub(super) argv: Vec<Vec<u8>>,
}

/// The kernel's limits on one string (MAX_ARG_STRLEN) and on all of them (three quarters of the 8 MiB of a stack).
const LONGEST: usize = 128 * 1024;
const ALL: usize = 6 * 1024 * 1024;
/// PATH_MAX
const LONGEST_PATH: usize = 4096;

/// Whether the call is an exec.
pub(super) fn is_exec(call: &Notification) -> bool {
    let number = u32::try_from(call.number).ok();
    EXEC.iter().any(|rule| rule.numbers.on(arch(call)) == number)
}

fn arch(call: &Notification) -> Arch {
    if call.arch == Arch::I386.audit() { Arch::I386 } else { Arch::HOST }
}

impl Request {
    /// Reads it; an errno that the kernel itself would answer is the caller's own mistake.
    pub(super) fn read(call: &Notification) -> Result<Request, Errno> {
        let narrow = arch(call) == Arch::I386;
        let at = EXEC[1].numbers.on(arch(call)) == u32::try_from(call.number).ok();
        let mut memory = Memory { tid: call.tid, narrow, window: [0; PAGE], held: 0, at: 0 };
        let argument = |n: usize| if narrow { call.arguments[n] & 0xffff_ffff } else { call.arguments[n] };
        let (directory, first, flags) =
            if at { (argument(0) as i32, 1, argument(4) as i32) } else { (libc::AT_FDCWD, 0, 0) };
        let path = memory.string(argument(first), LONGEST_PATH, Errno::NAMETOOLONG)?;
        let argv = memory.strings(argument(first + 1))?;
        if path.is_empty() && flags & libc::AT_EMPTY_PATH == 0 {
            return Err(Errno::NOENT);
        }
        let words = argv.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        Ok(Request { path, directory, no_follow: flags & libc::AT_SYMLINK_NOFOLLOW != 0, words, argv })
    }

    /// The path as the kernel hands it to a script's interpreter.
    pub(super) fn script_path(&self) -> Vec<u8> {
        if self.directory == libc::AT_FDCWD || self.path.starts_with(b"/") {
            return self.path.clone();
        }
        let mut path = format!("/dev/fd/{}", self.directory).into_bytes();
        if !self.path.is_empty() {
            path.push(b'/');
            path.extend(&self.path);
        }
        path
    }
}

/// Reads by the call that asks for the right to trace only; by /proc where a container forbids that call. There a file's
/// owner counts too, and that of a process that nobody may look into is root.
fn read(tid: u32, address: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    match ptrace::read(tid, address, bytes) {
        Err(Errno::NOSYS | Errno::PERM) => {
            let file = File::open(format!("/proc/{tid}/mem")).map_err(|e| errno(&e))?;
            // What is not mapped is EIO there.
            file.read_at(bytes, address).map_err(|e| match errno(&e) {
                Errno::IO => Errno::FAULT,
                other => other,
            })
        }
        other => other,
    }
}

/// A process's memory, read page by page.
struct Memory {
    tid: u32,
    narrow: bool,
    window: [u8; PAGE],
    /// So much of the window was read.
    held: usize,
    /// Where in the process that stands.
    at: u64,
}

const PAGE: usize = 4096;

impl Memory {
    /// What stands at an address, at least one byte of it.
    fn from(&mut self, address: u64) -> Result<&[u8], Errno> {
        let skip = address.checked_sub(self.at).filter(|skip| *skip < self.held as u64);
        if skip.is_none() {
            self.at = address;
            self.held = 0;
            let rest = PAGE - address as usize % PAGE;
            self.held = read(self.tid, address, &mut self.window[..rest])?;
            if self.held == 0 {
                return Err(Errno::FAULT);
            }
        }
        Ok(&self.window[skip.unwrap_or(0) as usize..self.held])
    }

    fn string(&mut self, mut address: u64, longest: usize, too_long: Errno) -> Result<Vec<u8>, Errno> {
        let mut string = Vec::new();
        loop {
            let bytes = self.from(address)?;
            let end = bytes.iter().position(|byte| *byte == 0);
            string.extend(&bytes[..end.unwrap_or(bytes.len())]);
            address = address.wrapping_add(bytes.len() as u64);
            if string.len() >= longest {
                return Err(too_long);
            }
            if end.is_some() {
                return Ok(string);
            }
        }
    }

    /// An array of strings that a null pointer ends. The kernel makes an empty word of a missing array.
    fn strings(&mut self, address: u64) -> Result<Vec<Vec<u8>>, Errno> {
        if address == 0 {
            return Ok(vec![Vec::new()]);
        }
        let width = if self.narrow { 4 } else { 8 };
        let mut pointers = Vec::new();
        loop {
            let at = address.wrapping_add((pointers.len() * width) as u64);
            match self.pointer(at, width)? {
                0 => break,
                pointer => pointers.push(pointer),
            }
            if pointers.len() * width > ALL {
                return Err(Errno::TOOBIG);
            }
        }
        let mut left = ALL;
        let mut strings = Vec::with_capacity(pointers.len());
        for pointer in pointers {
            let string = self.string(pointer, LONGEST, Errno::TOOBIG)?;
            left = left.checked_sub(string.len() + 1 + width).ok_or(Errno::TOOBIG)?;
            strings.push(string);
        }
        Ok(if strings.is_empty() { vec![Vec::new()] } else { strings })
    }

    fn pointer(&mut self, at: u64, width: usize) -> Result<u64, Errno> {
        let mut bytes = [0; 8];
        for (n, byte) in bytes.iter_mut().take(width).enumerate() {
            *byte = self.from(at.wrapping_add(n as u64))?[0];
        }
        Ok(u64::from_le_bytes(bytes))
    }
}

/// The kernel's answer behind an error of the standard library.
pub fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO))
}
