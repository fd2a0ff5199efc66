//! Threads: pthread_create(3) and what ends them. The standard library's bring stack guards, names and results that nobody here
//! asks for, 20 KB of them.

use super::Result;
use rustix::io::Errno;
use std::ffi::CStr;

/// What a thread runs. A panic in it ends the process, as everywhere in this program.
type Body = Box<dyn FnOnce() + Send>;

/// A thread that was started. Dropped, it runs on by itself.
#[derive(Debug)]
pub struct Thread(libc::pthread_t);

/// Enough for every thread here; only what is touched takes memory.
const STACK: usize = 512 * 1024;

/// Starts a thread under a name of at most 15 bytes.
///
/// # Errors
/// `EAGAIN`: no more threads, or no memory for its stack.
pub fn start(name: &'static CStr, body: Body) -> Result<Thread> {
    extern "C" fn run(argument: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: `argument` is the box that `start` gave away to this thread alone.
        let (name, body) = *unsafe { Box::from_raw(argument.cast::<(&'static CStr, Body)>()) };
        _ = rustix::thread::set_name(name);
        body();
        std::ptr::null_mut()
    }
    let argument = Box::into_raw(Box::new((name, body)));
    // SAFETY: the attributes are made, used and destroyed here; the new thread becomes the owner of `argument`, or this one
    // does again where there is none.
    unsafe {
        let mut attributes = std::mem::zeroed::<libc::pthread_attr_t>();
        libc::pthread_attr_init(&raw mut attributes);
        libc::pthread_attr_setstacksize(&raw mut attributes, STACK);
        let mut thread = std::mem::zeroed();
        let answer = libc::pthread_create(&raw mut thread, &raw const attributes, run, argument.cast());
        libc::pthread_attr_destroy(&raw mut attributes);
        if answer == 0 {
            return Ok(Thread(thread));
        }
        drop(Box::from_raw(argument));
        Err(Errno::from_raw_os_error(answer))
    }
}

impl Thread {
    /// Waits until it has ended.
    pub fn join(self) {
        let thread = std::mem::ManuallyDrop::new(self);
        // SAFETY: it was neither joined nor detached before: both take the value.
        unsafe {
            libc::pthread_join(thread.0, std::ptr::null_mut());
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: as in `join`.
        unsafe {
            libc::pthread_detach(self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn what_it_did_is_there_after_join() {
        let count = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..50)
            .map(|_| {
                let count = count.clone();
                super::start(c"test", Box::new(move || _ = count.fetch_add(1, Ordering::Relaxed)))
            })
            .collect();
        threads.into_iter().flatten().for_each(super::Thread::join);
        assert_eq!(count.load(Ordering::Relaxed), 50);
    }
}
