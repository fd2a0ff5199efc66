//! One thread for all connections: tasks are futures, woken by epoll(7) and by time, so that protocol code reads from top
//! to bottom and a connection costs what its future holds.
//!
//! A task is woken as a whole and looks again at all that it waits for, so there is no `Waker`: who waits leaves the
//! number of the running task. To be woken for nothing does no harm.

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::future::{Future, poll_fn};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// What the kernel answered.
pub type Result<T> = std::result::Result<T, Errno>;

/// Ends the reactor's thread from another one.
#[derive(Clone)]
pub struct Stop(Arc<OwnedFd>);

impl Stop {
    /// What a reactor is made with.
    pub fn new() -> Result<Stop> {
        Ok(Stop(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// The reactor drops all its tasks, with their sockets, and returns.
    pub fn now(&self) {
        _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

/// A direction of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Bytes, or a connection, can be taken.
    Read = 0,
    /// Bytes can be given, or a connection stands.
    Write = 1,
}

type Body = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default)]
struct Task {
    /// None while it runs, and in a free place.
    body: Option<Body>,
    queued: bool,
    /// The earliest time at which a timer wakes it.
    due: Option<Instant>,
}

/// What is known of one direction of one descriptor.
#[derive(Clone, Copy)]
struct Side {
    /// Not known to block.
    ready: bool,
    waiter: Option<usize>,
}

/// The executor: one per thread.
pub struct Reactor {
    epoll: OwnedFd,
    stop: Stop,
    tasks: RefCell<Vec<Task>>,
    free_tasks: RefCell<Vec<usize>>,
    queue: RefCell<VecDeque<usize>>,
    running: Cell<usize>,
    timers: RefCell<BinaryHeap<Reverse<(Instant, usize)>>>,
    sources: RefCell<Vec<[Side; 2]>>,
    free_sources: RefCell<Vec<usize>>,
}

const STOP: u64 = u64::MAX;

impl Reactor {
    /// A reactor without tasks, which `stop` ends.
    pub fn new(stop: Stop) -> Result<Rc<Reactor>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &*stop.0, epoll::EventData::new_u64(STOP), epoll::EventFlags::IN)?;
        Ok(Rc::new(Reactor {
            epoll,
            stop,
            tasks: RefCell::default(),
            free_tasks: RefCell::default(),
            queue: RefCell::default(),
            running: Cell::new(0),
            timers: RefCell::default(),
            sources: RefCell::default(),
            free_sources: RefCell::default(),
        }))
    }

    /// Starts a task.
    pub fn spawn(&self, body: impl Future<Output = ()> + 'static) {
        self.spawn_boxed(Box::pin(body));
    }

    fn spawn_boxed(&self, body: Body) {
        let mut tasks = self.tasks.borrow_mut();
        let id = self.free_tasks.borrow_mut().pop().unwrap_or_else(|| {
            tasks.push(Task::default());
            tasks.len() - 1
        });
        tasks[id] = Task { body: Some(body), queued: true, due: None };
        self.queue.borrow_mut().push_back(id);
    }

    /// Runs tasks until somebody calls [`Stop::now`], then until `done` or for `grace`, and drops what is left of them.
    pub fn run(&self, grace: Duration, done: impl Fn() -> bool) {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(256);
        let stopped = |events: &[epoll::Event]| events.iter().any(|event| event.data.u64() == STOP);
        while !stopped(&events) {
            self.turn(&mut events, self.time_to_wait());
        }
        _ = epoll::delete(&self.epoll, &*self.stop.0);
        let end = Instant::now() + grace;
        let mut step = Duration::ZERO;
        loop {
            self.turn(&mut events, Some(step));
            let quiet = events.is_empty() && self.queue.borrow().is_empty();
            if quiet && done() || Instant::now() >= end {
                break;
            }
            step = if quiet { Duration::from_millis(5) } else { Duration::ZERO };
        }
        // A task holds sockets, and a socket the reactor: nobody else would break that circle.
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
    }

    /// One round: the tasks that are queued now, then what the kernel has to tell within this time.
    fn turn(&self, events: &mut Vec<epoll::Event>, wait: Option<Duration>) {
        let now_queued = self.queue.borrow().len();
        for _ in 0..now_queued {
            let next = self.queue.borrow_mut().pop_front();
            next.into_iter().for_each(|id| self.poll_task(id));
        }
        events.clear();
        let wait = if self.queue.borrow().is_empty() { wait } else { Some(Duration::ZERO) };
        let wait = wait.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos().into() });
        // Interrupted, or out of kernel memory: the next round asks again.
        _ = epoll::wait(&self.epoll, spare_capacity(events), wait.as_ref());
        for event in events.iter().filter(|event| event.data.u64() != STOP) {
            self.told(event.data.u64() as usize, event.flags);
        }
        self.wake_due();
    }

    fn poll_task(&self, id: usize) {
        let body = {
            let mut tasks = self.tasks.borrow_mut();
            tasks[id].queued = false;
            tasks[id].body.take()
        };
        let Some(mut body) = body else { return };
        self.running.set(id);
        match body.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => self.tasks.borrow_mut()[id].body = Some(body),
            Poll::Ready(()) => {
                drop(body);
                self.free_tasks.borrow_mut().push(id);
            }
        }
    }

    fn wake(&self, id: usize) {
        if let Some(task) = self.tasks.borrow_mut().get_mut(id).filter(|task| !task.queued) {
            task.queued = true;
            self.queue.borrow_mut().push_back(id);
        }
    }

    /// epoll says that something changed at a descriptor.
    fn told(&self, source: usize, flags: epoll::EventFlags) {
        use epoll::EventFlags as E;
        let ended = flags.intersects(E::ERR | E::HUP);
        let ways = [ended || flags.intersects(E::IN | E::RDHUP), ended || flags.contains(E::OUT)];
        for (way, changed) in ways.into_iter().enumerate() {
            if changed {
                let side = &mut self.sources.borrow_mut()[source][way];
                side.ready = true;
                side.waiter.take().into_iter().for_each(|id| self.wake(id));
            }
        }
    }

    /// None: until something happens.
    fn time_to_wait(&self) -> Option<Duration> {
        let timers = self.timers.borrow();
        timers.peek().map(|Reverse((due, _))| due.saturating_duration_since(Instant::now()))
    }

    fn wake_due(&self) {
        let mut timers = self.timers.borrow_mut();
        if timers.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(&Reverse((due, id))) = timers.peek().filter(|Reverse((due, _))| *due <= now) {
            timers.pop();
            // Another time: an earlier one was asked for since, and whoever still needs this one has asked again.
            let asked = self.tasks.borrow_mut().get_mut(id).and_then(|task| task.due.take_if(|d| *d == due));
            if asked.is_some() {
                self.wake(id);
            }
        }
    }

    /// The running task is woken at `due`, or earlier. A task has one timer in the heap, its earliest; woken then, it asks
    /// for the next one. So time-outs that never come leave nothing behind.
    fn wake_at(&self, due: Instant) {
        let id = self.running.get();
        let mut tasks = self.tasks.borrow_mut();
        if tasks[id].due.is_none_or(|earliest| due < earliest) {
            tasks[id].due = Some(due);
            self.timers.borrow_mut().push(Reverse((due, id)));
        }
    }

    /// Ready when it is `due`.
    pub fn poll_due(&self, due: Instant) -> Poll<()> {
        if Instant::now() >= due {
            return Poll::Ready(());
        }
        self.wake_at(due);
        Poll::Pending
    }

    /// Waits.
    pub async fn sleep(&self, time: Duration) {
        let due = Instant::now() + time;
        poll_fn(|_| self.poll_due(due)).await;
    }

    /// What `future` gives, or None when `time` is over first.
    pub async fn within<T>(&self, time: Duration, future: impl Future<Output = T>) -> Option<T> {
        let due = Instant::now() + time;
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => self.poll_due(due).map(|()| None),
        })
        .await
    }

    /// Lets the other tasks run.
    pub fn again(&self) {
        self.wake(self.running.get());
    }
}

/// Both futures at once, until both are done; the second is dropped when the first fails, and the other way round.
pub async fn both<E>(
    a: impl Future<Output = std::result::Result<(), E>>,
    b: impl Future<Output = std::result::Result<(), E>>,
) -> std::result::Result<(), E> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut a_done, mut b_done) = (false, false);
    poll_fn(|context| {
        if !a_done && let Poll::Ready(result) = a.as_mut().poll(context) {
            result?;
            a_done = true;
        }
        if !b_done && let Poll::Ready(result) = b.as_mut().poll(context) {
            result?;
            b_done = true;
        }
        if a_done && b_done { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// A descriptor that the reactor watches: non-blocking, and nobody has a duplicate.
pub struct Io {
    fd: OwnedFd,
    reactor: Rc<Reactor>,
    key: usize,
}

impl Io {
    /// Watches `fd`. `connecting`: not writable before epoll says so.
    pub fn new(reactor: &Rc<Reactor>, fd: OwnedFd, connecting: bool) -> Result<Io> {
        use epoll::EventFlags as E;
        let sides = [true, !connecting].map(|ready| Side { ready, waiter: None });
        let key = {
            let mut sources = reactor.sources.borrow_mut();
            let key = reactor.free_sources.borrow_mut().pop().unwrap_or(sources.len());
            match sources.get_mut(key) {
                Some(free) => *free = sides,
                None => sources.push(sides),
            }
            key
        };
        // From here on `drop` gives the place back.
        let io = Io { fd, reactor: reactor.clone(), key };
        let flags = E::IN | E::OUT | E::RDHUP | E::ET;
        epoll::add(&reactor.epoll, &io.fd, epoll::EventData::new_u64(key as u64), flags)?;
        Ok(io)
    }

    /// The reactor that watches it.
    pub fn reactor(&self) -> &Rc<Reactor> {
        &self.reactor
    }

    /// Ready unless the last try would have blocked; else the running task is woken when that changes.
    pub fn poll_ready(&self, way: Way) -> Poll<()> {
        let side = &mut self.reactor.sources.borrow_mut()[self.key][way as usize];
        if side.ready {
            return Poll::Ready(());
        }
        side.waiter = Some(self.reactor.running.get());
        Poll::Pending
    }

    /// The kernel said EAGAIN.
    pub fn would_block(&self, way: Way) {
        self.reactor.sources.borrow_mut()[self.key][way as usize].ready = false;
    }

    /// Waits until `way` may work.
    pub async fn ready(&self, way: Way) {
        poll_fn(|_| self.poll_ready(way)).await;
    }

    /// One try of `act`, as a poll.
    pub fn poll_try<T>(&self, way: Way, mut act: impl FnMut(BorrowedFd<'_>) -> Result<T>) -> Poll<Result<T>> {
        loop {
            if self.poll_ready(way).is_pending() {
                return Poll::Pending;
            }
            match act(self.fd.as_fd()) {
                Err(Errno::AGAIN) => self.would_block(way),
                Err(Errno::INTR) => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Reads what there is into the free room of `buffer`; 0: the other side has ended.
    pub async fn read(&self, buffer: &mut Vec<u8>) -> Result<usize> {
        poll_fn(|_| {
            self.poll_try(Way::Read, |fd| {
                recv(fd, spare_capacity(buffer), RecvFlags::DONTWAIT).map(|(_, n)| n)
            })
        })
        .await
    }

    /// Writes all of it.
    pub async fn write(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let n = poll_fn(|_| self.poll_try(Way::Write, |fd| send(fd, bytes, flags))).await?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// The next connection.
    pub async fn accept(&self) -> Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        poll_fn(|_| self.poll_try(Way::Read, |fd| accept_with(fd, flags))).await
    }
}

impl AsFd for Io {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        // The kernel stops watching when the descriptor is closed, which comes right after this.
        self.reactor.free_sources.borrow_mut().push(self.key);
    }
}
