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

/// A time of the clock that the kernel stamps files with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(i64, i64);

impl Stamp {
    /// The time now.
    pub fn now() -> Stamp {
        // SAFETY: clock_gettime(2) fills a `timespec` of this stack; it can't fail for this clock.
        let time = unsafe {
            let mut time = std::mem::zeroed::<libc::timespec>();
            libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut time);
            time
        };
        Stamp(time.tv_sec, time.tv_nsec)
    }

    /// Whether a file's stamp, in seconds and nanoseconds, is of this time or later.
    pub fn is_before(self, file: (i64, i64)) -> bool {
        self <= Stamp(file.0, file.1)
    }
}
