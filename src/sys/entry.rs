//! The program's entry, and what stands in for the C library's unwinder: a panic prints its message and aborts.
//!
//! The entry is the C library's own. The standard library's would add a stack for stack overflows, a signal handler that reports
//! them, and the tables that it keeps for that: half of a hundred microseconds and 10 KB.
//!
//! Rust's standard library brings a reader of debug information for the backtrace that it prints on request; a stripped
//! program has no such information, and the reader is a quarter of the binary. With a walk that ends at once, the compiler sees
//! that nothing of it is ever reached. The other functions are those that the standard library names too: were one of them
//! missing, the linker would take libunwind's file and find it twice.

use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// `main` of C.
#[unsafe(no_mangle)]
extern "C" fn main(count: libc::c_int, words: *const *const libc::c_char) -> libc::c_int {
    // SAFETY: the kernel's argument vector: `count` pointers to NUL-terminated strings that live as long as the process.
    // The calls take integers and a constant string.
    let argv: Vec<OsString> = unsafe {
        // What is opened next must not become somebody's standard output.
        for number in 0..3 {
            if libc::fcntl(number, libc::F_GETFD) == -1 {
                libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            }
        }
        // A reader that went away is an error of the write, not the end of fence.
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        let word = |i| OsStr::from_bytes(CStr::from_ptr(*words.add(i)).to_bytes()).to_owned();
        (0..count as usize).map(word).collect()
    };
    libc::c_int::from(crate::run(argv))
}

/// `_Unwind_Backtrace`: calls back for each frame. There is none.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_: *const u8, _: *mut u8) -> i32 {
    0
}

/// Answers about a frame that nobody ever has in hand.
macro_rules! never_asked {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name(_: *const u8) -> usize {
            0
        }
    )*};
}

never_asked! {
    _Unwind_DeleteException _Unwind_FindEnclosingFunction _Unwind_GetCFA _Unwind_GetDataRelBase _Unwind_GetGR _Unwind_GetIP
    _Unwind_GetIPInfo _Unwind_GetLanguageSpecificData _Unwind_GetRegionStart _Unwind_GetTextRelBase _Unwind_SetGR
    _Unwind_SetIP
}

/// Steps of an unwinding that cannot have begun.
macro_rules! never_reached {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name(_: *const u8) -> ! {
            std::process::abort()
        }
    )*};
}

never_reached! { _Unwind_ForcedUnwind _Unwind_RaiseException _Unwind_Resume _Unwind_Resume_or_Rethrow }
