//! `FENCE_TRACE=steps`: how long each step of parent and child took, in microseconds, on stderr.

use std::time::Instant;

/// A stopwatch with a name for each lap; costs nothing unless it was asked for.
pub struct Steps {
    who: &'static str,
    on: bool,
    last: Instant,
    rows: Vec<(&'static str, u128)>,
}

impl Steps {
    /// A stopwatch that runs from now on, when FENCE_TRACE is `steps`.
    pub fn new(who: &'static str) -> Steps {
        let on = std::env::var_os("FENCE_TRACE").is_some_and(|v| v == "steps");
        Steps { who, on, last: Instant::now(), rows: Vec::new() }
    }

    /// A stopwatch for another process, that starts where this one stands.
    pub fn fork(&self, who: &'static str) -> Steps {
        Steps { who, on: self.on, last: self.last, rows: Vec::new() }
    }

    /// Ends a lap.
    pub fn mark(&mut self, step: &'static str) {
        if self.on {
            let now = Instant::now();
            self.rows.push((step, (now - self.last).as_nanos()));
            self.last = now;
        }
    }

    /// Prints all laps, one write.
    pub fn print(&self) {
        if self.on {
            let total: u128 = self.rows.iter().map(|(_, nanos)| nanos).sum();
            let line = |name: &str, nanos: u128| {
                format!(
                    "[fence:trace] {:<6} {name:<24} {:>7}.{} us\n",
                    self.who,
                    nanos / 1000,
                    nanos % 1000 / 100
                )
            };
            let rows: String = self.rows.iter().map(|(name, nanos)| line(name, *nanos)).collect();
            eprint!("{rows}{}", line("total", total));
        }
    }
}
