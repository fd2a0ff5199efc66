//! What fence says while it runs: on stderr, or in the file that `--fence-log-file` or FENCE_LOG_FILE names. One write a
//! line, so that it never mixes with the command's output inside a line.

use crate::cli::Run;
use crate::error::{Failure, Result};
use crate::json::Json;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

/// Where lines go and which.
pub struct Log {
    file: Option<File>,
    debug: bool,
    json: bool,
}

impl Log {
    /// Opens the log of a run.
    ///
    /// # Errors
    /// `--fence-log-file` can't be opened. A bad FENCE_LOG_FILE is only a warning: the caller did not type it.
    pub fn open(run: &Run) -> Result<Log> {
        let mut log = Log { file: None, debug: run.debug, json: run.log_json };
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
    pub fn warn(&mut self, text: &str) {
        if self.json {
            self.json_line("warning", text);
        } else {
            self.line(&format!("fence: {text}"));
        }
    }

    /// A line for `-d`.
    pub fn debug(&mut self, part: &str, text: &str) {
        if !self.debug {
            return;
        }
        if self.json {
            self.json_line("debug", text);
        } else {
            self.line(&format!("[{part}] {text}"));
        }
    }

    fn json_line(&mut self, level: &str, text: &str) {
        let fields = vec![("level".to_string(), Json::str(level)), ("text".to_string(), Json::str(text))];
        self.line(&Json::Object(fields).compact());
    }

    /// There is nobody to tell when the log itself can't be written.
    fn line(&mut self, text: &str) {
        let line = crate::error::printable(text) + "\n";
        _ = match &mut self.file {
            Some(file) => file.write_all(line.as_bytes()),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
    }
}
