//! A terminal with somebody who types: what job control is tested with.

use crate::harness::World;
use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program on a terminal of its own, as the leader of its session.
pub struct Terminal {
    keyboard: File,
    child: Child,
    /// All that was shown, without carriage returns.
    pub screen: String,
    /// How much of it was waited for.
    seen: usize,
}

impl Terminal {
    /// Starts the command on a new terminal that belongs to the world's user.
    pub fn start(world: &World, mut command: Command) -> Terminal {
        let (master, slave) = open();
        rustix::fs::fchown(&slave, Some(rustix::fs::Uid::from_raw(world.who.uid)), None).unwrap();
        let stdio = |slave: &OwnedFd| Stdio::from(slave.try_clone().unwrap());
        command.stdin(stdio(&slave)).stdout(stdio(&slave)).stderr(stdio(&slave)).env("TERM", "dumb");
        // SAFETY: two system calls between fork and exec; descriptor 0 is the terminal by then.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                if libc::ioctl(0, libc::TIOCSCTTY as _, 0) == 0 {
                    Ok(())
                } else {
                    Err(std::io::Error::last_os_error())
                }
            });
        }
        let child = command.spawn().unwrap();
        rustix::io::ioctl_fionbio(&master, true).unwrap();
        Terminal { keyboard: File::from(master), child, screen: String::new(), seen: 0 }
    }

    /// `bash -i` without start-up files, once it has prompted.
    pub fn bash(world: &World) -> Terminal {
        let mut command = world.command("bash", ["--norc", "--noprofile", "-i"]);
        command.env("PS1", "outer$ ").env("FENCE", world.fence()).env("VICTIM", world.victim());
        let mut terminal = Terminal::start(world, command);
        terminal.wait_for("outer$ ");
        terminal
    }

    /// Types this; `^C`, `^Z`, `^D` are keys.
    pub fn types(&mut self, text: &str) -> &mut Terminal {
        let keys =
            text.replace("^C", "\x03").replace("^Z", "\x1a").replace("^D", "\x04").replace("^\\", "\x1c");
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self
    }

    /// Types a line.
    pub fn enters(&mut self, line: &str) -> &mut Terminal {
        self.types(&format!("{line}\n"))
    }

    /// Until this shows after what was waited for before.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> &mut Terminal {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.screen[self.seen..].find(text) {
                self.seen += at + text.len();
                return self;
            }
            assert!(Instant::now() < end, "{text:?} does not show; the screen:\n{}", self.screen);
            if !self.look() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Until the program ends.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            while self.look() {}
            if let Some(status) = self.child.try_wait().unwrap() {
                while self.look() {}
                return status;
            }
            assert!(Instant::now() < end, "it does not end; the screen:\n{}", self.screen);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Takes what shows; whether there was something.
    fn look(&mut self) -> bool {
        let mut bytes = [0; 4096];
        match self.keyboard.read(&mut bytes) {
            Ok(count) if count > 0 => {
                self.screen += &String::from_utf8_lossy(&bytes[..count]).replace('\r', "");
                true
            }
            _ => false,
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A pair of terminal ends; both close at exec.
fn open() -> (OwnedFd, OwnedFd) {
    // SAFETY: the calls of posix_openpt(3) in their order; the name fits the buffer that its size is given of, and both
    // descriptors are owned from here on.
    unsafe {
        let master = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        assert!(master >= 0 && libc::grantpt(master) == 0 && libc::unlockpt(master) == 0, "a new terminal");
        let master = OwnedFd::from_raw_fd(master);
        let mut name = [0; 64];
        assert_eq!(libc::ptsname_r(master.as_raw_fd(), name.as_mut_ptr(), name.len()), 0);
        let slave = libc::open(name.as_ptr(), libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        assert!(slave >= 0, "open {:?}", CStr::from_ptr(name.as_ptr()));
        (master, OwnedFd::from_raw_fd(slave))
    }
}
