//! The wall clock, in the caller's time zone.

/// The time now: `HH:MM:SS` where the caller is, and seconds since 1970.
pub fn now() -> (String, i64) {
    // SAFETY: time(2) takes a null pointer; localtime_r fills a `tm` of this stack and returns it or null.
    unsafe {
        let seconds = libc::time(std::ptr::null_mut());
        let mut tm = std::mem::zeroed::<libc::tm>();
        libc::localtime_r(&raw const seconds, &raw mut tm);
        (format!("{:02}:{:02}:{:02}", tm.tm_hour, tm.tm_min, tm.tm_sec), seconds)
    }
}
