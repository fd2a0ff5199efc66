//! What the launcher and init tell each other: datagrams over a close-on-exec socket pair.

use crate::error::{Failure, Lacks, Parts, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
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
    /// Init → launcher: the sockets that listen inside, in the plan's order, with the datagram.
    Listening,
    /// The command's process → launcher: the listener of its filter, with the datagram, or without where there can't be one.
    /// The process waits until somebody answers there.
    Asking,
    /// Init → guard: the file system is whole; the namespaces come with the datagram.
    Built,
    /// Launcher → init: connect to this port of the sandbox's loopback.
    Connect(u16),
    /// Init → launcher: the answer to `Connect`: an errno, or 0 and the socket with the datagram.
    Connected(i32),
    /// The other side is gone.
    Gone,
}

/// Longest datagram; a failure's text is cut to fit.
const LONGEST: usize = 16 * 1024;

/// Most descriptors that come with one datagram: the kernel's own limit (SCM_MAX_FD).
pub const MOST_DESCRIPTORS: usize = 253;

impl Channel {
    /// Two connected ends; what is written to one side arrives whole at the other.
    pub fn pair() -> Result<(Channel, Channel)> {
        let flags = SocketFlags::CLOEXEC;
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(|e| Failure::new("cannot create a socket pair").errno(e.raw_os_error()))?;
        Ok((Channel(a), Channel(b)))
    }

    /// A socket that was inherited under this number, which is left as it is.
    pub fn inherited(number: i32) -> Result<Channel> {
        let copy =
            rustix::io::fcntl_dupfd_cloexec(crate::sys::fd::inherited(number), number.saturating_add(1));
        copy.map(Channel).map_err(|e| {
            Failure::new(format!("cannot use descriptor {number} as a socket")).errno(e.raw_os_error())
        })
    }

    /// A pair whose other end is at a number where a program that is started finds it.
    pub fn pair_with(number: i32) -> Result<Channel> {
        let (ours, theirs) = Channel::pair()?;
        let failed = |e: Errno| {
            Failure::new(format!("cannot put a socket at descriptor {number}")).errno(e.raw_os_error())
        };
        // Out of the way of that number.
        let ours = rustix::io::fcntl_dupfd_cloexec(ours, number.saturating_add(1)).map_err(failed)?;
        let theirs = rustix::io::fcntl_dupfd_cloexec(theirs, number.saturating_add(1)).map_err(failed)?;
        crate::sys::fd::move_to(theirs, number).map_err(failed)?;
        Ok(Channel(ours))
    }

    /// Sends; when the other side is gone there is nobody to tell.
    pub fn send(&self, message: &Message) {
        self.send_with(message, &[]);
    }

    /// Sends a datagram with descriptors, at most [`MOST_DESCRIPTORS`].
    pub fn send_with(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) {
        let mut bytes = message.encode();
        bytes.truncate(LONGEST);
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        _ = sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL);
    }

    /// The next datagram; `None` when none is waiting.
    pub fn receive(&self) -> Option<Message> {
        self.receive_with().map(|(message, _)| message)
    }

    /// The next datagram and the descriptors that came with it; `None` when none is waiting.
    pub fn receive_with(&self) -> Option<(Message, Vec<OwnedFd>)> {
        // As much as there is: pages of room for the longest message would cost more than asking does.
        let (_, length) = match rustix::net::recv(
            &self.0,
            &mut [0; 0],
            RecvFlags::DONTWAIT | RecvFlags::PEEK | RecvFlags::TRUNC,
        ) {
            Err(Errno::AGAIN | Errno::INTR) => return None,
            length => length.unwrap_or_default(),
        };
        let mut bytes = vec![0; length];
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags);
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        match received {
            Ok(message) if message.bytes == 0 => Some((Message::Gone, descriptors)),
            Ok(message) => Some((Message::decode(&bytes[..message.bytes])?, descriptors)),
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(_) => Some((Message::Gone, descriptors)),
        }
    }

    /// Waits until there is something to receive, at most this long.
    pub fn wait(&self, seconds: i64) {
        let limit = rustix::event::Timespec { tv_sec: seconds, tv_nsec: 0 };
        _ = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&limit));
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
            Message::Listening => vec![b'L'],
            Message::Asking => vec![b'A'],
            Message::Built => vec![b'B'],
            Message::Connect(port) => [b'C'].into_iter().chain(port.to_ne_bytes()).collect(),
            Message::Connected(errno) => [b'c'].into_iter().chain(errno.to_ne_bytes()).collect(),
            Message::Gone => Vec::new(),
            Message::Failed(failure) => {
                let tag = match failure.lacks {
                    None => b'F',
                    Some(Lacks::Engine) => b'E',
                    Some(Lacks::Proc) => b'P',
                };
                let mut bytes = vec![tag, failure.status];
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
            [b'L'] => Some(Message::Listening),
            [b'A'] => Some(Message::Asking),
            [b'B'] => Some(Message::Built),
            [b'C', a, b] => Some(Message::Connect(u16::from_ne_bytes([*a, *b]))),
            [b'c', a, b, c, d] => Some(Message::Connected(i32::from_ne_bytes([*a, *b, *c, *d]))),
            [tag @ (b'F' | b'E' | b'P'), status, a, b, c, d, text @ ..] => {
                let text = String::from_utf8_lossy(text);
                let (what, hint) =
                    text.split_once('\0').map_or((&*text, None), |(what, hint)| (what, Some(hint)));
                let errno = i32::from_ne_bytes([*a, *b, *c, *d]);
                let parts = Parts {
                    what: what.to_string(),
                    errno: (errno != 0).then_some(errno),
                    hint: hint.map(str::to_string),
                    status: *status,
                    lacks: match tag {
                        b'E' => Some(Lacks::Engine),
                        b'P' => Some(Lacks::Proc),
                        _ => None,
                    },
                };
                Some(Message::Failed(parts.into()))
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
            Message::Failed(Failure::new("plain").unavailable()),
            Message::Stopped(20),
            Message::Signal(15),
            Message::Listening,
            Message::Asking,
            Message::Built,
            Message::Connect(3000),
            Message::Connected(111),
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

    #[test]
    fn descriptors_arrive_with_their_datagram() {
        let (a, b) = Channel::pair().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        a.send_with(&Message::Listening, &[read.as_fd(), write.as_fd()]);
        a.send(&Message::Connect(1));
        drop((read, write));
        let (message, descriptors) = b.receive_with().unwrap();
        assert_eq!((message, descriptors.len()), (Message::Listening, 2));
        rustix::io::write(&descriptors[1], b"x").unwrap();
        assert_eq!(rustix::io::read(&descriptors[0], &mut [0; 2]), Ok(1));
        assert_eq!(b.receive_with().unwrap().1.len(), 0);
    }
}
