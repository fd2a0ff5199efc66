//! Stands in for the C library's unwinder in the program itself, which never unwinds: a panic prints its message and aborts.
//!
//! Rust's standard library brings a reader of debug information for the backtrace that it prints on request; a stripped
//! program has no such information, and the reader is a quarter of the binary. With a walk that ends at once, the compiler sees
//! that nothing of it is ever reached. The other functions are those that the standard library names too: were one of them
//! missing, the linker would take libunwind's file and find it twice.

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
