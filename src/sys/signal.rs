//! Signals as values: block them all, then read them from a descriptor, one at a time.

use super::{Result, check};
use rustix::process::Pid;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A signal that was taken, and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its number.
    pub number: i32,
    /// It came from the kernel (the terminal's Ctrl-C, a hang-up), which sent it to the whole process group.
    pub from_kernel: bool,
}

/// The mask that was in force before all signals were blocked.
#[derive(Clone, Copy)]
pub struct Mask(libc::sigset_t);

/// Every signal, blocked and readable (signalfd(2)), or those that another thread passes on.
pub struct Signals(OwnedFd);

/// Where the thread that reads the signals of the process passes on what is for others.
pub struct Relay(OwnedFd);

/// `SI_KERNEL`: the kernel sent the signal by itself.
const SI_KERNEL: i32 = 0x80;

/// Blocks every signal that can be blocked; they wait until somebody reads them. Returns the mask to put back.
pub fn block_all() -> Mask {
    // SAFETY: both sets are plain values on this stack; sigprocmask fills `before`.
    unsafe {
        let mut before = std::mem::zeroed::<libc::sigset_t>();
        libc::sigprocmask(libc::SIG_SETMASK, &raw const *every(), &raw mut before);
        Mask(before)
    }
}

impl Mask {
    /// Bit `n - 1` for signal `n`.
    pub fn bits(&self) -> u64 {
        // SAFETY: `self.0` is a whole signal set.
        let has = |n: &i32| unsafe { libc::sigismember(&raw const self.0, *n) } == 1;
        (1..=64).filter(has).fold(0, |bits, n| bits | 1 << (n - 1))
    }

    /// The other way round.
    pub fn from_bits(bits: u64) -> Mask {
        // SAFETY: sigemptyset makes the set whole; sigaddset refuses what is no signal.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for n in (1..=64).filter(|n| bits & 1 << (n - 1) != 0) {
                libc::sigaddset(&raw mut set, n);
            }
            Mask(set)
        }
    }
}

/// Blocks SIGCHLD.
pub fn block_children() {
    let set = of_children();
    // SAFETY: `set` is a whole signal set; the old one is not asked for.
    unsafe {
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// Puts a mask back.
pub fn restore(mask: &Mask) {
    // SAFETY: `mask` is a whole signal set.
    unsafe {
        libc::sigprocmask(libc::SIG_SETMASK, &raw const mask.0, std::ptr::null_mut());
    }
}

fn every() -> Box<libc::sigset_t> {
    // SAFETY: a signal set is plain data; sigfillset makes it whole.
    unsafe {
        let mut all = Box::new(std::mem::zeroed::<libc::sigset_t>());
        libc::sigfillset(&raw mut *all);
        all
    }
}

/// SIGCHLD alone.
fn of_children() -> libc::sigset_t {
    // SAFETY: a signal set is plain data; sigemptyset makes it whole.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        set
    }
}

impl Signals {
    /// A descriptor that reads every blocked signal of this process.
    pub fn new() -> Result<Signals> {
        Signals::read(&every())
    }

    /// What another thread passes on to the second value. A signal wakes all who wait at any signalfd of the process, for
    /// it or not; so a thread that must not be woken by every SIGCHLD can't have one.
    pub fn relayed() -> Result<(Signals, Relay)> {
        let flags = rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
        let (read, write) = rustix::pipe::pipe_with(flags)?;
        Ok((Signals(read), Relay(write)))
    }

    /// Takes all that wait, and passes on all but SIGCHLD.
    pub fn pass_on(&self, relay: Option<&Relay>) {
        while let Some(info) = self.take() {
            if let Some(Relay(pipe)) = relay.filter(|_| info.ssi_signo != libc::SIGCHLD as u32) {
                // SAFETY: the buffer is one whole signalfd_siginfo, which a pipe takes whole or not at all.
                unsafe { libc::write(pipe.as_raw_fd(), (&raw const info).cast(), size_of_val(&info)) };
            }
        }
    }

    /// SIGCHLD only, which must be blocked.
    pub fn of_children() -> Result<Signals> {
        Signals::read(&of_children())
    }

    fn read(set: &libc::sigset_t) -> Result<Signals> {
        // SAFETY: the set outlives the call; the new descriptor is owned from here on.
        unsafe {
            let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
            let fd = check(libc::c_long::from(libc::signalfd(-1, std::ptr::from_ref(set), flags)))?;
            Ok(Signals(OwnedFd::from_raw_fd(fd as i32)))
        }
    }

    /// The next signal that is waiting, if any.
    pub fn next(&self) -> Option<Taken> {
        let info = self.take()?;
        Some(Taken { number: info.ssi_signo as i32, from_kernel: info.ssi_code == SI_KERNEL })
    }

    fn take(&self) -> Option<libc::signalfd_siginfo> {
        // SAFETY: the buffer is one whole signalfd_siginfo, which the kernel fills or leaves.
        unsafe {
            let mut info = std::mem::zeroed::<libc::signalfd_siginfo>();
            let size = size_of::<libc::signalfd_siginfo>();
            let read = libc::read(self.0.as_raw_fd(), (&raw mut info).cast(), size);
            (read == size as isize).then_some(info)
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Resets the disposition of SIGPIPE, which Rust's start-up code ignores, to what programs expect.
pub fn default_sigpipe() {
    // SAFETY: SIG_DFL is a valid disposition for SIGPIPE.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Resets the disposition of SIGCHLD: a caller may have left it ignored, and then the kernel throws exit statuses away.
pub fn default_sigchld() {
    // SAFETY: SIG_DFL is a valid disposition for SIGCHLD.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
}

/// Sends signal `number` to a process.
pub fn send(pid: Pid, number: i32) -> Result<()> {
    // SAFETY: kill takes two integers.
    check(libc::c_long::from(unsafe { libc::kill(pid.as_raw_nonzero().get(), number) })).map(drop)
}
