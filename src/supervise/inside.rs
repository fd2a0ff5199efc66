//! Connections to ports inside the sandbox: init makes the sockets, since it lives in that network namespace.

use crate::launch::message::{Channel, Message};
use rustix::io::Errno;
use std::cell::Cell;
use std::os::fd::OwnedFd;

/// The way to init.
pub struct Inside {
    channel: Channel,
    /// Answers that are still to come: init gives them in the order of the questions.
    open: Cell<usize>,
}

impl Inside {
    pub(super) fn new(channel: Channel) -> Inside {
        Inside { channel, open: Cell::new(0) }
    }

    /// A socket that is connected to this port of the sandbox's loopback, or about to be: not blocking, so its error is read
    /// when it is writable. Init answers at once; one that can't any more is given a second. What it answers later is dropped: it
    /// is about another port.
    ///
    /// # Errors
    /// Nobody listens there (`ECONNREFUSED`), or the sandbox is gone.
    pub fn connect(&self, port: u16) -> Result<OwnedFd, Errno> {
        self.channel.send(&Message::Connect(port));
        self.open.set(self.open.get() + 1);
        loop {
            self.channel.wait(1);
            let Some((Message::Connected(errno), mut sockets)) = self.channel.receive_with() else {
                return Err(Errno::NOTCONN);
            };
            self.open.set(self.open.get() - 1);
            match errno {
                _ if self.open.get() > 0 => {}
                0 => return sockets.pop().ok_or(Errno::MFILE),
                errno => return Err(Errno::from_raw_os_error(errno)),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_late_answer_is_not_the_next_ones() {
        let (ours, init) = Channel::pair().unwrap();
        let inside = Inside::new(ours);
        // Nobody answers within the second.
        assert_eq!(inside.connect(1).map(drop), Err(Errno::NOTCONN));
        let (read, write) = rustix::pipe::pipe().unwrap();
        init.send_with(&Message::Connected(0), &[read.as_fd()]);
        init.send(&Message::Connected(libc::ECONNREFUSED));
        assert_eq!(inside.connect(2).map(drop), Err(Errno::CONNREFUSED));
        init.send_with(&Message::Connected(0), &[write.as_fd()]);
        assert!(inside.connect(3).is_ok());
    }
}
