//! What the launcher and init tell each other: datagrams over a close-on-exec socket pair.

use crate::error::{Failure, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One end of the socket pair.
pub struct Channel(OwnedFd);

/// A datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Init → launcher: setting up or exec failed.
    Failed(Failure),
    /// Init → launcher: the command was stopped by this signal.
    Stopped(i32),
    /// Launcher → init: send the command this signal.
    Signal(i32),
    /// The other side is gone.
    Gone,
}

/// Longest datagram; a failure's text is cut to fit.
const LONGEST: usize = 16 * 1024;

impl Channel {
    /// Two connected ends; what is written to one side arrives whole at the other.
    pub fn pair() -> Result<(Channel, Channel)> {
        let flags = SocketFlags::CLOEXEC;
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(|e| Failure::new("cannot create a socket pair").errno(e.raw_os_error()))?;
        Ok((Channel(a), Channel(b)))
    }

    /// Sends; when the other side is gone there is nobody to tell.
    pub fn send(&self, message: &Message) {
        let mut bytes = message.encode();
        bytes.truncate(LONGEST);
        _ = send(&self.0, &bytes, SendFlags::NOSIGNAL);
    }

    /// The next datagram; `None` when none is waiting.
    pub fn receive(&self) -> Option<Message> {
        let mut bytes = vec![0; LONGEST];
        match recv(&self.0, bytes.as_mut_slice(), RecvFlags::DONTWAIT) {
            Ok((0, _)) => Some(Message::Gone),
            Ok((n, _)) => Message::decode(&bytes[..n]),
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(_) => Some(Message::Gone),
        }
    }
}

impl Channel {
    /// Whether the other side is gone; what it sent before stays to be received.
    pub fn is_closed(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::empty())];
        let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        _ = poll(&mut fds, Some(&at_once));
        fds[0].revents().contains(PollFlags::HUP)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        match self {
            Message::Stopped(signal) => vec![b'T', *signal as u8],
            Message::Signal(signal) => vec![b'S', *signal as u8],
            Message::Gone => Vec::new(),
            Message::Failed(failure) => {
                let mut bytes = vec![b'F', failure.status];
                bytes.extend(failure.errno.unwrap_or(0).to_ne_bytes());
                bytes.extend(failure.what.bytes());
                if let Some(hint) = &failure.hint {
                    bytes.push(0);
                    bytes.extend(hint.bytes());
                }
                bytes
            }
        }
    }

    fn decode(bytes: &[u8]) -> Option<Message> {
        match bytes {
            [b'T', signal] => Some(Message::Stopped(i32::from(*signal))),
            [b'S', signal] => Some(Message::Signal(i32::from(*signal))),
            [b'F', status, a, b, c, d, text @ ..] => {
                let text = String::from_utf8_lossy(text);
                let (what, hint) =
                    text.split_once('\0').map_or((&*text, None), |(what, hint)| (what, Some(hint)));
                let errno = i32::from_ne_bytes([*a, *b, *c, *d]);
                Some(Message::Failed(Failure {
                    what: what.to_string(),
                    errno: (errno != 0).then_some(errno),
                    hint: hint.map(str::to_string),
                    status: *status,
                }))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_arrives_as_it_was_sent() {
        let messages = [
            Message::Failed(Failure::new("cannot mount /x").errno(1).hint("do this").status(126)),
            Message::Failed(Failure::new("plain")),
            Message::Stopped(20),
            Message::Signal(15),
        ];
        let (a, b) = Channel::pair().unwrap();
        for message in messages {
            a.send(&message);
            assert_eq!(b.receive(), Some(message));
        }
        assert_eq!(b.receive(), None);
        assert!(!b.is_closed());
        drop(a);
        assert!(b.is_closed());
        assert_eq!(b.receive(), Some(Message::Gone));
    }
}
