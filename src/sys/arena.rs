//! Memory for start-up: a piece of the program's own zeroed data is handed out from front to back and never taken back;
//! when it is used up, musl's allocator goes on. A launch needs some tens of kilobytes, for which musl would ask the
//! kernel about seventy times.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Only the pages that are touched cost anything.
const SIZE: usize = 256 * 1024;

#[repr(align(64))]
struct Memory(UnsafeCell<[u8; SIZE]>);

/// The allocator of the fence binary.
pub struct Arena {
    memory: Memory,
    used: AtomicUsize,
}

// SAFETY: pieces of `memory` are given out once each, by the atomic `used`; nobody else touches it.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena with all its memory free.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Arena {
        Arena { memory: Memory(UnsafeCell::new([0; SIZE])), used: AtomicUsize::new(0) }
    }

    fn start(&self) -> usize {
        self.memory.0.get() as usize
    }

    fn owns(&self, pointer: *mut u8) -> bool {
        (pointer as usize).wrapping_sub(self.start()) < SIZE
    }

    /// The next free piece, or none when the arena is used up.
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let begin = used.next_multiple_of(layout.align());
            let end = begin.checked_add(layout.size()).filter(|end| *end <= SIZE)?;
            match self.used.compare_exchange_weak(used, end, Ordering::Relaxed, Ordering::Relaxed) {
                // Align counts from the arena's start, which is aligned to 64; more than that goes to musl.
                Ok(_) => return (layout.align() <= 64).then(|| (self.start() + begin) as *mut u8),
                Err(now) => used = now,
            }
        }
    }
}

// SAFETY: a piece from `take` is inside the arena, aligned, and overlaps no other piece; all else is musl's own answer,
// and what goes back to musl came from there.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        self.take(layout).unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if !self.owns(pointer) {
            // SAFETY: what the arena does not own came from `System.alloc` or `System.realloc` with this layout.
            unsafe { System.dealloc(pointer, layout) }
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !self.owns(pointer) {
            // SAFETY: as in `dealloc`.
            return unsafe { System.realloc(pointer, layout, size) };
        }
        let end = pointer as usize - self.start() + layout.size();
        let grown = end - layout.size() + size;
        // The last piece grows in place.
        if grown <= SIZE
            && self.used.compare_exchange(end, grown, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            return pointer;
        }
        // SAFETY: the new piece is at least as large as what is copied, and a piece of its own.
        unsafe {
            let Ok(wanted) = Layout::from_size_align(size, layout.align()) else {
                return std::ptr::null_mut();
            };
            let new = self.alloc(wanted);
            if !new.is_null() {
                new.copy_from_nonoverlapping(pointer, layout.size().min(size));
            }
            new
        }
    }
}
