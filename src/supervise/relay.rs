//! Bytes from one socket to another without passing through this program: splice(2) through a pipe that is borrowed only
//! while it holds something. What the receiver does not take stays with the sender.

use super::reactor::{Io, Way, both};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown, sockopt};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::task::Poll;
use std::time::{Duration, Instant};

/// A tunnel through which nothing went for so long is closed.
const IDLE: Duration = Duration::from_secs(4 * 3600);
/// Taken at a time: large, so that a pass costs few wake-ups.
const PIECE: usize = 1024 * 1024;
/// Pieces that one connection moves before others have their turn.
const TURN: usize = 4;
/// Pipes at most; connections that find none copy.
const PIPES: usize = 64;
/// Pipes that wait for their next use.
const IDLE_PIPES: usize = 8;
/// The one buffer of those that copy.
const COPY: usize = 64 * 1024;

struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
}

/// The pipes that all relays share.
#[derive(Default)]
pub struct Pipes {
    idle: RefCell<Vec<Pipe>>,
    /// All that exist, idle or not.
    count: Cell<usize>,
    copy: RefCell<Vec<u8>>,
    /// This kernel has no splice for sockets.
    none: Cell<bool>,
    /// Tunnels whose first side has ended and has had all delivered.
    pub delivered: Cell<usize>,
}

/// One tunnel more of those, until it is dropped.
struct Delivered<'a>(&'a Cell<usize>);

impl<'a> Delivered<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Delivered(count)
    }
}

impl Drop for Delivered<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Pipes {
    fn take(&self) -> Option<Pipe> {
        if let Some(pipe) = self.idle.borrow_mut().pop() {
            return Some(pipe);
        }
        if self.none.get() || self.count.get() >= PIPES {
            return None;
        }
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // A user who has many large pipes gets small ones, which do too.
        _ = fcntl_setpipe_size(&into, PIECE);
        self.count.set(self.count.get() + 1);
        Some(Pipe { out, into })
    }

    fn give_back(&self, pipe: Pipe) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_PIPES {
            idle.push(pipe);
        } else {
            self.count.set(self.count.get() - 1);
        }
    }
}

/// Which side of a relay broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The sender; or it ended too early.
    From(Errno),
    /// The receiver.
    To(Errno),
}

/// One direction.
struct Half<'a> {
    pipes: &'a Pipes,
    from: &'a Io,
    to: &'a Io,
    /// A pipe with so many bytes in it.
    held: Option<(Pipe, usize)>,
    /// Bytes still to take; None: until the sender ends.
    left: Option<u64>,
    ended: bool,
    /// When something went through, in either direction.
    last: &'a Cell<Instant>,
}

impl Drop for Half<'_> {
    fn drop(&mut self) {
        // What it holds is nobody's any more, so it can't be used again.
        if self.held.take().is_some() {
            self.pipes.count.set(self.pipes.count.get() - 1);
        }
    }
}

impl Half<'_> {
    /// Moves what can be moved; ready when the sender has ended, or `left` is 0, and all is delivered. True: it ended.
    fn poll(&mut self) -> Poll<Result<bool, Fault>> {
        for _ in 0..TURN {
            let step = if self.held.is_some() {
                self.deliver()
            } else if self.ended || self.left == Some(0) {
                return Poll::Ready(Ok(self.ended));
            } else {
                self.take()
            };
            match step {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Pending => return self.idle(),
            }
        }
        self.last.set(Instant::now());
        self.from.reactor().again();
        Poll::Pending
    }

    fn idle(&self) -> Poll<Result<bool, Fault>> {
        self.from.reactor().poll_due(self.last.get() + IDLE).map(|()| Err(Fault::From(Errno::TIMEDOUT)))
    }

    /// From the pipe to the receiver.
    fn deliver(&mut self) -> Poll<Result<(), Fault>> {
        let Some((pipe, count)) = &mut self.held else { return Poll::Ready(Ok(())) };
        let sent = self.to.poll_try(Way::Write, |to| {
            splice(&pipe.out, None, to, None, *count, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)
        });
        let sent = std::task::ready!(sent).map_err(Fault::To)?;
        *count -= sent;
        if *count == 0
            && let Some((pipe, _)) = self.held.take()
        {
            self.pipes.give_back(pipe);
        }
        Poll::Ready(Ok(()))
    }

    /// From the sender into a pipe, once the receiver is likely to take it.
    fn take(&mut self) -> Poll<Result<(), Fault>> {
        std::task::ready!(self.from.poll_ready(Way::Read));
        std::task::ready!(self.to.poll_ready(Way::Write));
        let most = self.left.map_or(PIECE, |left| left.min(PIECE as u64) as usize);
        let Some(pipe) = self.pipes.take() else { return self.copy(most) };
        let taken = self.from.poll_try(Way::Read, |from| {
            splice(from, None, &pipe.into, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)
        });
        match taken {
            Poll::Ready(Ok(n)) if n > 0 => self.held = Some((pipe, n)),
            _ => self.pipes.give_back(pipe),
        }
        match std::task::ready!(taken) {
            Err(Errno::INVAL | Errno::NOSYS) => {
                self.pipes.none.set(true);
                Poll::Ready(Ok(()))
            }
            taken => {
                self.count(taken.map_err(Fault::From)?);
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Without a pipe: what the receiver did not take is still the sender's, so nothing is kept here either.
    fn copy(&mut self, most: usize) -> Poll<Result<(), Fault>> {
        let mut buffer = self.pipes.copy.borrow_mut();
        buffer.resize(COPY, 0);
        let most = most.min(COPY);
        let peek = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        let seen = self.from.poll_try(Way::Read, |from| recv(from, &mut buffer[..most], peek));
        let (_, seen) = std::task::ready!(seen).map_err(Fault::From)?;
        let mut sent = 0;
        if seen > 0 {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let given = self.to.poll_try(Way::Write, |to| send(to, &buffer[..seen], flags));
            sent = std::task::ready!(given).map_err(Fault::To)?;
            recv(self.from, &mut buffer[..sent], RecvFlags::DONTWAIT).map_err(Fault::From)?;
        }
        drop(buffer);
        self.count(sent);
        Poll::Ready(Ok(()))
    }

    fn count(&mut self, taken: usize) {
        self.ended = taken == 0;
        if let Some(left) = &mut self.left {
            *left -= taken as u64;
        }
        self.last.set(Instant::now());
    }
}

/// Both directions until both have ended. When one side ends, the other is told so and may go on; when one breaks, so does
/// the other. `a` is the side of the sandbox.
pub async fn tunnel(pipes: &Pipes, a: &Io, b: &Io) -> Result<(), Fault> {
    let last = Cell::new(Instant::now());
    let mut delivered = None;
    let outwards = async {
        one_way(pipes, a, b, &last).await?;
        delivered = Some(Delivered::new(&pipes.delivered));
        Ok(())
    };
    let result = both(outwards, one_way(pipes, b, a, &last)).await;
    drop(delivered);
    if result.is_err() {
        reset(a);
        reset(b);
    }
    result
}

async fn one_way(pipes: &Pipes, from: &Io, to: &Io, last: &Cell<Instant>) -> Result<(), Fault> {
    let mut half = Half { pipes, from, to, held: None, left: None, ended: false, last };
    poll_fn(|_| half.poll()).await?;
    // Not connected any more: the other direction has said so, or will.
    _ = shutdown(to, Shutdown::Write);
    Ok(())
}

/// `count` bytes from one to the other, or with None all until the sender ends. An end before that is ECONNRESET.
pub async fn pass(pipes: &Pipes, from: &Io, to: &Io, count: Option<u64>) -> Result<(), Fault> {
    let last = Cell::new(Instant::now());
    let mut half = Half { pipes, from, to, held: None, left: count, ended: false, last: &last };
    let ended = poll_fn(|_| half.poll()).await?;
    if ended && count.is_some() { Err(Fault::From(Errno::CONNRESET)) } else { Ok(()) }
}

/// The next close tells the other side that the connection broke.
pub fn reset(io: &Io) {
    _ = sockopt::set_socket_linger(io, Some(Duration::ZERO));
}

/// Whether the other side has ended or broken, or has sent something that was not asked for.
pub fn is_stale(io: &Io) -> bool {
    let mut fds = [PollFd::new(io, PollFlags::IN)];
    !matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
}
