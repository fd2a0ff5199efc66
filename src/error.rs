//! Failures as values: who, doing what, on which object, errno, hint; printed once, by `main`.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// fence itself failed or refused.
pub const STATUS_FENCE: u8 = 125;
/// The command is denied by policy or not executable.
pub const STATUS_NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub const STATUS_NOT_FOUND: u8 = 127;

/// A result whose error is one sentence for the user.
pub type Result<T> = std::result::Result<T, Failure>;

/// Why fence stopped: becomes one sentence on stderr and an exit status. One pointer wide: every result carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(Box<Parts>);

/// What a failure says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// What was attempted, on what: `cannot mount a private /tmp`, or a whole sentence of its own.
    pub what: String,
    /// The kernel's answer, when there was one.
    pub errno: Option<i32>,
    /// What the user can do about it.
    pub hint: Option<String>,
    /// Exit status of fence: 125, 126 or 127.
    pub status: u8,
    /// The engine can't work on this host, for what reason: another one may.
    pub lacks: Option<Lacks>,
}

/// Why an engine can't work on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// Namespaces or mounts are forbidden.
    Engine,
    /// Only a fresh /proc is.
    Proc,
}

impl Failure {
    /// A failure or refusal of fence itself (exit status 125).
    pub fn new(what: impl Into<String>) -> Self {
        Parts { what: what.into(), errno: None, hint: None, status: STATUS_FENCE, lacks: None }.into()
    }

    /// Adds the kernel's answer.
    #[must_use]
    pub fn errno(mut self, errno: i32) -> Self {
        self.errno = Some(errno);
        self
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Marks it as something that another engine may not need.
    #[must_use]
    pub fn unavailable(self) -> Self {
        self.lacks(Some(Lacks::Engine))
    }

    /// Says for what reason another engine may work, if any.
    #[must_use]
    pub fn lacks(mut self, lacks: Option<Lacks>) -> Self {
        self.lacks = lacks;
        self
    }

    /// Replaces the exit status (126 and 127 as a shell does).
    #[must_use]
    pub fn status(mut self, status: u8) -> Self {
        self.status = status;
        self
    }
}

impl From<Parts> for Failure {
    fn from(parts: Parts) -> Failure {
        Failure(Box::new(parts))
    }
}

impl Deref for Failure {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl DerefMut for Failure {
    fn deref_mut(&mut self) -> &mut Parts {
        &mut self.0
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(errno) = self.errno {
            write!(f, ": {}", describe(errno))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

/// Text for the terminal: names of files may hold what would steer it or look like another message.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

/// The C library's text for an errno, without Rust's `(os error N)`.
pub fn describe(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    match text.rfind(" (os error") {
        Some(cut) => text[..cut].to_string(),
        None => text,
    }
}
