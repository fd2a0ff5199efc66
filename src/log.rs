//! What fence says while it runs: on stderr, or in the file that `--fence-log-file` or FENCE_LOG_FILE names. One write a
//! line, so that it never mixes with the command's output inside a line. Shared by reference: threads may use it at once.

use crate::cli::Run;
use crate::error::{Failure, Result};
use crate::json::Json;
use crate::monitor::event::Event;
use crate::monitor::learn::Seen;
use crate::monitor::report::{Report, Style};
use crate::sys::time;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, PoisonError};

/// Where lines go and which.
pub struct Log {
    file: Option<File>,
    debug: bool,
    json: bool,
    /// Where GitHub Actions wants a table of the job's step.
    table: Option<File>,
    report: Mutex<Report>,
}

impl Log {
    /// Warnings alone, on stderr.
    pub fn plain() -> Log {
        let report = Mutex::new(Report::new(Style::default()));
        Log { file: None, debug: false, json: false, table: None, report }
    }

    /// The number of its file's descriptor, for a process that closes all others.
    pub fn descriptor(&self) -> Option<i32> {
        self.file.as_ref().map(std::os::fd::AsRawFd::as_raw_fd)
    }

    /// Opens the log of a run.
    ///
    /// # Errors
    /// `--fence-log-file` can't be opened. A bad FENCE_LOG_FILE is only a warning: the caller did not type it.
    pub fn open(run: &Run) -> Result<Log> {
        let github =
            (run.monitor || run.debug) && std::env::var_os("GITHUB_ACTIONS").is_some_and(|on| on == "true");
        let style = Style { monitor: run.monitor, debug: run.debug, json: run.log_json, github };
        let report = Mutex::new(Report::new(style));
        let mut log = Log { debug: run.debug, json: run.log_json, report, ..Log::plain() };
        if github && let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY") {
            // Opened before the command runs, which might put another file there.
            log.table = OpenOptions::new().append(true).create(true).open(path).ok();
        }
        let opened = match (&run.log_file, std::env::var_os("FENCE_LOG_FILE")) {
            (Some(path), _) => {
                let file = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o600)
                    .custom_flags(libc::O_NOFOLLOW)
                    .open(path);
                Some(file.map_err(|e| {
                    let path = path.to_string_lossy();
                    let failure =
                        Failure::new(format!("failed to open fence log file {path:?}: cannot open it"));
                    e.raw_os_error().map_or(failure.clone(), |errno| failure.errno(errno))
                })?)
            }
            (None, Some(path)) if !path.is_empty() => {
                match OpenOptions::new().append(true).create(true).mode(0o600).open(&path) {
                    Ok(file) => Some(file),
                    Err(e) => {
                        log.line(&format!(
                            "[fence] Warning: failed to open fence log file {:?}: {}",
                            path.to_string_lossy(),
                            crate::error::describe(e.raw_os_error().unwrap_or(libc::EIO))
                        ));
                        None
                    }
                }
            }
            _ => None,
        };
        log.file = opened;
        Ok(log)
    }

    /// A line that everybody should see.
    pub fn warn(&self, text: &str) {
        if self.json {
            self.json_line("warning", text);
        } else {
            self.line(&format!("fence: {text}"));
        }
    }

    /// A line for `-d`.
    pub fn debug(&self, part: &str, text: &str) {
        if !self.debug {
            return;
        }
        if self.json {
            self.json_line("debug", text);
        } else {
            self.line(&format!("[{part}] {text}"));
        }
    }

    fn json_line(&self, level: &str, text: &str) {
        let fields = vec![("level".to_string(), Json::str(level)), ("text".to_string(), Json::str(text))];
        self.line(&Json::Object(fields).compact());
    }

    /// What a layer decided: shown or not as `-m` and `-d` say, with what would allow it.
    pub fn event(&self, event: &Event) {
        let (clock, seconds) = time::now();
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        self.lines(&report.take(event, &clock, seconds));
    }

    /// An exec of this path is about to be refused, and told by an event of the exec layer.
    pub fn exec_refused(&self, path: &[u8]) {
        let path = String::from_utf8_lossy(path).into_owned();
        self.report.lock().unwrap_or_else(PoisonError::into_inner).exec_refused(path);
    }

    /// From now on hosts are remembered, for [`hosts`](Self::hosts).
    pub fn learn(&self) {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).learn();
    }

    /// Hosts that the proxies were asked for, with their ports; with a text where they denied that.
    pub fn hosts(&self) -> Seen {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).hosts()
    }

    /// The last line of a command that failed, if it was kept from a host and nobody has said so.
    pub fn failed(&self) {
        let blocked = self.report.lock().unwrap_or_else(PoisonError::into_inner).blocked();
        if let Some(text) = blocked {
            self.warn(&text);
        }
    }

    /// The summary of a run that has ended.
    pub fn end(&self) {
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        self.lines(&report.end());
        if let Some(mut table) = self.table.as_ref().filter(|_| !report.is_empty()) {
            _ = table.write_all(report.markdown().as_bytes());
        }
    }

    fn line(&self, text: &str) {
        self.lines(&[text.to_string()]);
    }

    /// All in one write. There is nobody to tell when the log itself can't be written.
    fn lines(&self, lines: &[String]) {
        let text: String = lines.iter().map(|line| crate::error::printable(line) + "\n").collect();
        if text.is_empty() {
            return;
        }
        _ = match &self.file {
            Some(file) => (&*file).write_all(text.as_bytes()),
            None => std::io::stderr().write_all(text.as_bytes()),
        };
    }
}
