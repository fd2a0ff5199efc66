//! The verdict on a request, and the one on what came of it.

use super::request::Request;
use super::resolve::{self, Found};
use crate::facts::FileId;
use crate::plan::exec::Exec;
use crate::rules::exec::{Attempt, Denial, interpreter, loaded_program, refusal};
use crate::sys::notify::Notification;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// What a request comes to.
pub(super) enum Judged {
    /// The kernel would answer so.
    Fails(Errno),
    /// A rule is against it, or it can't be looked into.
    Denied(Denial),
    /// Nothing is against it, if it is what it says.
    Passes(Expected),
}

/// What was judged: the new program must be that.
pub(super) struct Expected {
    /// The file, when it could be found.
    file: Option<FileId>,
    /// The path, as a script's interpreter gets it.
    path: Vec<u8>,
    argv: Vec<Vec<u8>>,
}

impl Expected {
    /// Whether a command line, as the kernel shows it, has the words that were judged: each ends with a NUL.
    fn has_words(&self, mut line: &[u8]) -> bool {
        for word in &self.argv {
            match line.strip_prefix(word.as_slice()) {
                Some([0, rest @ ..]) => line = rest,
                _ => return false,
            }
        }
        line.is_empty()
    }
}

/// The path that the caller passed, for a message.
pub(super) fn path(call: &Notification) -> Result<Vec<u8>, Errno> {
    Request::read(call).map(|request| request.script_path())
}

/// The path as it stands in the caller's memory; empty where that can't be read.
pub(super) fn given(call: &Notification) -> Vec<u8> {
    Request::read(call).map_or(Vec::new(), |request| request.path)
}

/// Judges a request.
pub(super) fn before(call: &Notification, policy: &Exec) -> Judged {
    let request = match Request::read(call) {
        Ok(request) => request,
        // The caller's own mistake: a bad address, too long.
        Err(errno @ (Errno::FAULT | Errno::TOOBIG | Errno::NAMETOOLONG | Errno::NOENT)) => {
            return Judged::Fails(errno);
        }
        Err(errno) => {
            let why = crate::error::describe(errno.raw_os_error());
            return Judged::Denied(Denial::for_cause(
                "?",
                &[],
                format!("its caller's memory can't be read ({why})"),
            ));
        }
    };
    let expected = |file| Expected { file, path: request.script_path(), argv: request.argv.clone() };
    let found = match resolve::find(call.tid, request.directory, &request.path, !request.no_follow) {
        Ok(found) => found,
        Err(errno @ (Errno::NOENT | Errno::NOTDIR | Errno::BADF)) => return Judged::Fails(errno),
        // What only the caller can find, if anybody, is judged when it is there.
        Err(Errno::ACCESS | Errno::PERM | Errno::LOOP | Errno::NAMETOOLONG) => {
            return Judged::Passes(expected(None));
        }
        Err(why) => {
            return Judged::Denied(lost(&String::from_utf8_lossy(&request.path), &request.words, why));
        }
    };
    let path = String::from_utf8_lossy(&request.path).into_owned();
    match judge(call.tid, &path, &found, &request.words, policy, 0) {
        Some(denial) => Judged::Denied(denial),
        None => Judged::Passes(expected(found.is_regular().then(|| found.id()))),
    }
}

/// Judges a file with its arguments: as it is, as what a loader would run, and as what its first line makes of it.
fn judge(tid: u32, path: &str, found: &Found, words: &[String], policy: &Exec, depth: u8) -> Option<Denial> {
    if !found.is_regular() {
        // The kernel executes nothing else.
        return None;
    }
    if found.stat.st_nlink == 0 {
        return Some(Denial::for_cause(path, words, "a file without a name can't be judged"));
    }
    let path = if found.by_descriptor { &found.real } else { path };
    let names = policy.files.get(&found.id());
    if let Some(denial) = refusal(&policy.rules, &Attempt { path, real: &found.real, names, words }) {
        return Some(denial);
    }
    // As many interpreters as the kernel goes through.
    if depth > 5 {
        return None;
    }
    if let Some(at) = loaded_program(&found.real, words) {
        return loaded(tid, &words[at..], policy, depth);
    }
    let Some(head) = found.head() else {
        // Nobody may look into a process of such a file either.
        return Some(Denial::for_cause(
            path,
            words,
            "its file may not be read, so what runs can't be verified",
        ));
    };
    let (program, argument) = interpreter(&head)?;
    let program = String::from_utf8_lossy(&program).into_owned();
    let found = match resolve::find(tid, libc::AT_FDCWD, program.as_bytes(), true) {
        Ok(found) => found,
        Err(Errno::NOENT | Errno::NOTDIR) => return None,
        Err(why) => return Some(lost(&program, words, why)),
    };
    let argument = argument.map(|argument| String::from_utf8_lossy(&argument).into_owned());
    let words: Vec<String> = std::iter::once(program.clone())
        .chain(argument)
        .chain(std::iter::once(path.to_owned()))
        .chain(words.iter().skip(1).cloned())
        .collect();
    judge(tid, &program, &found, &words, policy, depth + 1)
}

/// Judges what a dynamic loader runs: the words from that program's own on.
fn loaded(tid: u32, words: &[String], policy: &Exec, depth: u8) -> Option<Denial> {
    let program = words.first()?;
    if !program.contains('/') {
        let cause = "a dynamic loader looks for it where libraries are; write its path";
        return Some(Denial::for_cause(program, words, cause));
    }
    match resolve::find(tid, libc::AT_FDCWD, program.as_bytes(), true) {
        Ok(found) => judge(tid, program, &found, words, policy, depth + 1),
        Err(Errno::NOENT | Errno::NOTDIR) => None,
        Err(why) => Some(lost(program, words, why)),
    }
}

/// A file that could not be looked at.
fn lost(path: &str, words: &[String], why: Errno) -> Denial {
    let why = crate::error::describe(why.raw_os_error());
    Denial::for_cause(path, words, format!("its file can't be found ({why})"))
}

/// Judges the program that is in place: it must be the file that was judged, with the words that were judged; or an
/// interpreter of it, whose words end with those, and which is judged by itself.
pub(super) fn after(tid: u32, expected: &Expected, policy: &Exec) -> Option<Denial> {
    let Image { file, linked, line } = match Image::of(tid) {
        Ok(image) => image,
        // Killed meanwhile: there is nothing left to judge.
        Err(Errno::SRCH | Errno::NOENT) => return None,
        Err(errno) => {
            let why = crate::error::describe(errno.raw_os_error());
            let shown = String::from_utf8_lossy(&expected.path);
            return Some(Denial::for_cause(
                &shown,
                &[],
                format!("the new program can't be inspected ({why})"),
            ));
        }
    };
    let same_words = expected.has_words(&line);
    if expected.file == Some(file) && same_words {
        return None;
    }
    let real = rustix::fs::readlink(exe(tid), Vec::new()).map(|path| path.to_string_lossy().into_owned());
    let real = real.unwrap_or_default();
    let argv: Vec<&[u8]> = line.strip_suffix(b"\0").unwrap_or(&line).split(|byte| *byte == 0).collect();
    let words: Vec<String> = argv.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let forged = |cause: &str| Some(Denial::for_cause(&real, &words, cause));
    if !linked {
        return forged("a file without a name can't be judged");
    }
    if !(expected.file.is_none() && same_words || interprets(&argv, expected)) {
        return forged("it is not what was asked for: file or arguments were changed after the verdict");
    }
    let names = policy.files.get(&file);
    refusal(&policy.rules, &Attempt { path: &real, real: &real, names, words: &words }).or_else(|| {
        // A script's first line counts as the kernel read it, whatever it was when we did.
        loaded(tid, &words[loaded_program(&real, &words)?..], policy, 0)
    })
}

/// Whether a command line is an interpreter's for what was judged: words of its own, then the path, then the arguments.
/// One that keeps word 0 has all words after the path.
fn interprets(argv: &[&[u8]], expected: &Expected) -> bool {
    let ends = |words: &[Vec<u8>]| {
        let Some(at) = argv.len().checked_sub(words.len() + 1).filter(|at| *at > 0) else { return false };
        argv[at] == expected.path && argv[at + 1..] == *words
    };
    ends(&expected.argv[1..]) || ends(&expected.argv)
}

fn exe(tid: u32) -> String {
    format!("/proc/{tid}/exe")
}

/// The program of a process, as the kernel has it.
struct Image {
    file: FileId,
    /// The file has a name.
    linked: bool,
    /// Its words, each with a NUL at its end.
    line: Vec<u8>,
}

impl Image {
    fn of(tid: u32) -> Result<Image, Errno> {
        let stat = rustix::fs::stat(exe(tid))?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let source = rustix::fs::open(format!("/proc/{tid}/cmdline"), flags, Mode::empty())?;
        let (mut line, mut page) = (Vec::new(), [0; 4096]);
        loop {
            let read = rustix::io::read(&source, &mut page)?;
            line.extend_from_slice(&page[..read]);
            if read == 0 {
                return Ok(Image { file: resolve::id(&stat), linked: stat.st_nlink > 0, line });
            }
        }
    }
}
