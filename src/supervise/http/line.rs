//! The log line of a request, as the original writes it.

use crate::monitor::event::{Layer, Outcome};
use crate::rules::net::host::Host;
use crate::supervise::net::Net;
use crate::supervise::route::report;
use std::time::{Duration, Instant};

/// `METHOD STATUS HOST URL (DURATION)`, and for a denial what would lift it.
pub(super) fn log(
    net: &Net,
    outcome: Outcome,
    method: &str,
    status: u16,
    (host, url): (&str, &str),
    started: Instant,
    denied: Option<(&Host, Option<&str>)>,
) {
    let took = duration(started.elapsed());
    let what = format!("{method:<7} {status} {host} {} ({took})", shortened(url));
    report(net, Layer::Http, outcome, what, host, denied);
}

/// At most 60 bytes.
fn shortened(url: &str) -> String {
    if url.len() <= 60 {
        return url.to_string();
    }
    let mut end = 57;
    while !url.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &url[..end])
}

/// As Go prints it, rounded to milliseconds: `0s`, `2ms`, `1.203s`, `1m2.5s`.
fn duration(time: Duration) -> String {
    let ms = (time.as_micros() + 500) / 1000;
    let (minutes, rest) = (ms / 60_000, ms % 60_000);
    let mut seconds = format!("{}.{:03}", rest / 1000, rest % 1000);
    seconds.truncate(seconds.trim_end_matches('0').trim_end_matches('.').len());
    match (minutes, ms) {
        (0, 0) => "0s".into(),
        (0, 1..1000) => format!("{ms}ms"),
        (0, _) => format!("{seconds}s"),
        (1..60, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{}h{}m{seconds}s", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_s() {
        let rows = [
            (0, "0s"),
            (499, "0s"),
            (500, "1ms"),
            (2_000, "2ms"),
            (999_600, "1s"),
            (1_203_000, "1.203s"),
            (10_000_000, "10s"),
            (62_500_000, "1m2.5s"),
            (60_000_000, "1m0s"),
            (3_723_004_000, "1h2m3.004s"),
        ];
        for (micros, text) in rows {
            assert_eq!(duration(Duration::from_micros(micros)), text, "{micros}");
        }
    }

    #[test]
    fn a_long_url_is_cut() {
        assert_eq!(shortened("http://x/"), "http://x/");
        let cut = shortened(&format!("http://x/{}", "ä".repeat(60)));
        assert!(cut.len() <= 60 && cut.ends_with("..."), "{cut}");
    }
}
