//! Connections to ports inside the sandbox: init makes the sockets, since it lives in that network namespace.

use crate::launch::message::{Channel, Message};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// The way to init.
pub struct Inside(Channel);

impl Inside {
    pub(super) fn new(channel: Channel) -> Inside {
        Inside(channel)
    }

    /// A socket that is connected to this port of the sandbox's loopback, or about to be: not blocking, so its error is read
    /// when it is writable. Init answers at once; one that can't any more is given a second.
    ///
    /// # Errors
    /// Nobody listens there (`ECONNREFUSED`), or the sandbox is gone.
    pub fn connect(&self, port: u16) -> Result<OwnedFd, Errno> {
        self.0.send(&Message::Connect(port));
        self.0.wait(1);
        match self.0.receive_with() {
            Some((Message::Connected(0), mut sockets)) => sockets.pop().ok_or(Errno::MFILE),
            Some((Message::Connected(errno), _)) => Err(Errno::from_raw_os_error(errno)),
            _ => Err(Errno::NOTCONN),
        }
    }
}
