//! bubblewrap makes the namespaces and the mounts: it is started here, and fence goes on as the first process inside. What the
//! plan says for that goes through a sealed file in memory: no argument, no variable, nothing on disk.

use super::{Stage, failed, init};
use crate::error::{Failure, Lacks, Result};
use crate::launch::message::{Channel, Message};
use crate::monitor::ebpf::Announcement;
use crate::plan::bpf::Instruction;
use crate::plan::bwrap::{Word, modes, render};
use crate::plan::env::Environment;
use crate::plan::exec::Exec;
use crate::plan::landlock::{Row, Ruleset};
use crate::plan::net::{Listener, Mode, Network, Purpose};
use crate::plan::{Engine, Plan, Reopen, Watch};
use crate::sys::signal::{self, Mask};
use crate::sys::{fd, process};
use crate::trace::Steps;
use rustix::fs::{MemfdFlags, OFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The word that makes this program go on inside.
pub const STAGE: &str = "--bwrap-stage";

/// Becomes bubblewrap, which starts fence again. `errors` gets what it says.
pub(crate) fn exec(mut stage: Stage<'_>, bwrap: &Path, errors: OwnedFd) -> ! {
    stage.outside = super::payload::where_we_are();
    let failure = become_bwrap(&stage, bwrap, errors);
    stage.parent.send(&Message::Failed(failure.clone()));
    process::exit_now(failure.status)
}

fn become_bwrap(stage: &Stage<'_>, bwrap: &Path, errors: OwnedFd) -> Failure {
    let cannot = |e: Errno| failed("start bubblewrap", e).unavailable();
    let start = || -> std::result::Result<Errno, Errno> {
        let stderr = stays(rustix::io::dup(rustix::stdio::stderr())?)?;
        let program = stays(rustix::fs::open("/proc/self/exe", OFlags::RDONLY, rustix::fs::Mode::empty())?)?;
        for channel in
            [Some(&stage.parent), stage.inbound.as_ref(), stage.guard.as_ref()].into_iter().flatten()
        {
            fcntl_setfd(channel, FdFlags::empty())?;
        }
        let input = file(&encode(stage, stderr))?;
        let mut words = Vec::new();
        for word in render(stage.plan.namespaces, &stage.plan.mounts) {
            match word {
                Word::Plain(word) => words.extend(word.as_bytes()),
                Word::Text(text) => words.extend(file(text.as_bytes())?.to_string().bytes()),
            }
            words.push(0);
        }
        let arguments = file(&words)?.to_string();
        fd::move_to(errors, 2)?;
        let program = format!("/proc/self/fd/{program}");
        let argv = ["bwrap", "--args", &arguments, "--", &program, STAGE, &input.to_string()]
            .map(|word| CString::new(word).unwrap_or_default());
        let path = CString::new(bwrap.as_os_str().as_bytes()).unwrap_or_default();
        Ok(process::exec(&path, &argv, &[]))
    };
    match start() {
        Ok(errno) | Err(errno) => cannot(errno),
    }
}

/// Keeps a descriptor open over exec.
fn stays(fd: OwnedFd) -> std::result::Result<i32, Errno> {
    fcntl_setfd(&fd, FdFlags::empty())?;
    Ok(fd.into_raw_fd())
}

/// A file in memory that nobody can change any more, open over exec.
fn file(content: &[u8]) -> std::result::Result<i32, Errno> {
    let file = memfd_create("fence", MemfdFlags::ALLOW_SEALING)?;
    let mut rest = content;
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(&file, rest)?..];
    }
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    stays(file)
}

/// Goes on inside, with what descriptor `number` says.
///
/// # Errors
/// It is not what fence wrote there.
pub(super) fn resume(number: i32) -> Result<u8> {
    crate::rights::give_up()?;
    _ = rustix::thread::set_name(c"fence");
    let wrong = || {
        Failure::new(format!("cannot read the plan from descriptor {number}"))
            .hint("this word is for fence itself: use --engine bwrap")
    };
    let mut bytes = Vec::new();
    let mut file = std::fs::File::from(rustix::io::dup(fd::inherited(number)).map_err(|_| wrong())?);
    std::io::Read::read_to_end(&mut file, &mut bytes).map_err(|_| wrong())?;
    drop(file);
    let mut reader = Reader { rest: &bytes, short: false };
    let host = Descriptors::decode(&mut reader);
    let filter = reader.list(instruction);
    let directories = reader.list(|r| (r.path(), r.number() as u32));
    let plan = decode(&mut reader);
    if reader.short || bytes.is_empty() {
        return Err(wrong());
    }
    let channel = |number: u64| (number != 0).then(|| Channel::inherited(number as i32)).transpose();
    let parent = channel(host.parent)?.ok_or_else(wrong)?;
    let stderr = rustix::io::dup(fd::inherited(host.stderr as i32)).map_err(|_| wrong())?;
    fd::move_to(stderr, 2).map_err(|_| wrong())?;
    signal::block_all();
    parent.send(&Message::Built);
    for (path, mode) in directories {
        _ = rustix::fs::chmod(path, rustix::fs::Mode::from_raw_mode(mode));
    }
    init(Stage {
        plan: &plan,
        filter: &filter,
        arguments: 3,
        mask: Mask::from_bits(host.mask),
        parent,
        inbound: channel(host.inbound)?,
        announcement: host.nonce.map(Announcement::from),
        guard: channel(host.guard)?,
        outside: host.outside,
        steps: Steps::new("init"),
    })
}

fn instruction(r: &mut Reader<'_>) -> Instruction {
    let bits = r.number();
    Instruction { code: (bits >> 48) as u16, jt: (bits >> 40) as u8, jf: (bits >> 32) as u8, k: bits as u32 }
}

/// What is not the plan's. Numbers are 0 where there is none: that is the command's standard input.
struct Descriptors {
    parent: u64,
    inbound: u64,
    guard: u64,
    stderr: u64,
    mask: u64,
    nonce: Option<[u64; 2]>,
    outside: Option<(u64, u64)>,
}

impl Descriptors {
    fn decode(r: &mut Reader<'_>) -> Descriptors {
        let mut next = || r.number();
        let [parent, inbound, guard, stderr, mask] = std::array::from_fn(|_| next());
        let mut pair = || Some([next(), next(), next()]).filter(|three| three[0] != 0);
        Descriptors {
            parent,
            inbound,
            guard,
            stderr,
            mask,
            nonce: pair().map(|[_, a, b]| [a, b]),
            outside: pair().map(|[_, a, b]| (a, b)),
        }
    }
}

fn encode(stage: &Stage<'_>, stderr: i32) -> Vec<u8> {
    let plan = stage.plan;
    let mut w = Writer(Vec::new());
    let raw = |channel: Option<&Channel>| channel.map_or(0, |c| c.as_fd().as_raw_fd() as u64);
    w.number(raw(Some(&stage.parent)));
    w.number(raw(stage.inbound.as_ref()));
    w.number(raw(stage.guard.as_ref()));
    w.number(stderr as u64);
    w.number(stage.mask.bits());
    let nonce = stage.announcement.as_ref().map(Announcement::nonce);
    for pair in [nonce, stage.outside.map(|(a, b)| [a, b])] {
        let [a, b] = pair.unwrap_or_default();
        [u64::from(pair.is_some()), a, b].into_iter().for_each(|n| w.number(n));
    }
    w.number(stage.filter.len() as u64);
    for i in stage.filter {
        w.number(u64::from(i.code) << 48 | u64::from(i.jt) << 40 | u64::from(i.jf) << 32 | u64::from(i.k));
    }
    w.number(modes(&plan.mounts).count() as u64);
    for (path, mode) in modes(&plan.mounts) {
        w.text(path.as_os_str());
        w.number(mode.into());
    }
    for number in [plan.namespaces, plan.capabilities, plan.init_capabilities, plan.watch as u64] {
        w.number(number);
    }
    w.number(plan.exec.as_ref().map_or(0, |exec| 1 + u64::from(exec.killable)));
    w.number(u64::from(plan.cwd_is_private));
    w.number(u64::from(plan.new_session));
    w.text(plan.cwd.as_os_str());
    w.number(plan.network.listeners.len() as u64);
    for listener in &plan.network.listeners {
        w.number((listener.purpose as u64) << 16 | u64::from(listener.port));
    }
    w.number(plan.keep_fds.len() as u64);
    plan.keep_fds.iter().for_each(|fd| w.number(*fd as u64));
    w.number(plan.reopen.len() as u64);
    for entry in &plan.reopen {
        w.number(entry.number as u64);
        w.number(u64::from(entry.must));
        w.text(entry.path.as_os_str());
    }
    w.number(plan.landlock.as_ref().map_or(0, |set| {
        1 | u64::from(set.abi) << 8 | u64::from(set.scoped) << 1 | u64::from(set.no_ports) << 2
    }));
    let rows = plan.landlock.as_ref().map_or(&[][..], |set| &set.rows);
    w.number(rows.len() as u64);
    for row in rows {
        w.text(row.path.as_os_str());
        w.number(row.access);
    }
    w.text(plan.environment.runtime_dir.as_ref().map_or(OsStr::new(""), |dir| dir.as_os_str()));
    w.number(plan.environment.variables.len() as u64);
    for (name, value) in &plan.environment.variables {
        w.text(name);
        w.text(value);
    }
    w.number(plan.argv.len() as u64);
    plan.argv.iter().for_each(|word| w.text(word));
    w.0
}

/// The part of the plan that is left to do: the namespaces and mounts are there.
fn decode(r: &mut Reader<'_>) -> Plan {
    let [namespaces, capabilities, init_capabilities, watch, exec, private, session] =
        std::array::from_fn(|_| r.number());
    let cwd = r.path();
    let listeners = r.list(|r| {
        let bits = r.number();
        let purpose = match bits >> 16 {
            0 => Purpose::Http,
            1 => Purpose::Socks,
            2 => Purpose::Dns,
            3 => Purpose::DnsTcp,
            _ => Purpose::Local,
        };
        Listener { purpose, port: bits as u16 }
    });
    let keep_fds = r.list(|r| r.number() as i32);
    let reopen = r.list(|r| Reopen { number: r.number() as i32, must: r.number() != 0, path: r.path() });
    let set = r.number();
    let rows = r.list(|r| Row { path: r.path(), access: r.number() });
    let landlock = (set & 1 != 0).then_some(Ruleset {
        abi: (set >> 8) as u32,
        rows,
        scoped: set & 2 != 0,
        no_ports: set & 4 != 0,
        real: false,
    });
    let runtime_dir = Some(r.path()).filter(|path| !path.as_os_str().is_empty());
    let variables = r.list(|r| (r.text(), r.text()));
    Plan {
        engine: Engine::Bwrap,
        bwrap: None,
        namespaces,
        mounts: Vec::new(),
        watched: Vec::new(),
        state: None,
        nonce: String::new(),
        landlock,
        seccomp: Vec::new(),
        exec: (exec != 0).then(|| Exec { killable: exec == 2, ..Exec::default() }),
        broker: None,
        loopback: false,
        capabilities,
        init_capabilities,
        scratch: None,
        environment: Environment { variables, runtime_dir, stripped: Vec::new() },
        network: Network {
            mode: Mode::Own,
            policy: crate::config::policy::Network::default(),
            listeners,
            inbound: Vec::new(),
            caller_proxy: crate::plan::net::CallerProxy::default(),
        },
        argv: r.list(Reader::text),
        cwd,
        cwd_is_private: private != 0,
        mount_setattr: false,
        new_session: session != 0,
        keep_fds,
        reopen,
        map: None,
        watch: match watch {
            0 => Watch::Nothing,
            1 => Watch::Denials,
            _ => Watch::Everything,
        },
        notes: Vec::new(),
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: u64) {
        self.0.extend(number.to_ne_bytes());
    }

    fn text(&mut self, text: &OsStr) {
        self.number(text.len() as u64);
        self.0.extend(text.as_bytes());
    }
}

/// Reads what the writer wrote. At the end of a text that is too short everything is 0 and empty.
struct Reader<'a> {
    rest: &'a [u8],
    short: bool,
}

impl Reader<'_> {
    fn number(&mut self) -> u64 {
        match self.rest.split_first_chunk() {
            Some((bytes, rest)) => {
                self.rest = rest;
                u64::from_ne_bytes(*bytes)
            }
            None => {
                self.short = true;
                0
            }
        }
    }

    fn text(&mut self) -> OsString {
        let length = self.number();
        match usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length)) {
            Some((text, rest)) => {
                self.rest = rest;
                OsString::from_vec(text.to_vec())
            }
            None => {
                self.short = true;
                OsString::new()
            }
        }
    }

    fn path(&mut self) -> PathBuf {
        self.text().into()
    }

    fn list<T>(&mut self, one: impl Fn(&mut Self) -> T) -> Vec<T> {
        let count = self.number();
        let mut all = Vec::new();
        for _ in 0..count {
            if self.short {
                break;
            }
            all.push(one(self));
        }
        all
    }
}

/// bubblewrap ended before fence ran inside: with what it said.
pub(crate) fn failed_to_build(errors: OwnedFd) -> Failure {
    let mut bytes = vec![0; 4096];
    let length = rustix::io::read(&errors, &mut bytes).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..length]).trim().replace('\n', "; ");
    let lacks = if text.contains("mount proc") { Lacks::Proc } else { Lacks::Engine };
    Failure::new(format!("bubblewrap cannot make the sandbox: {}", crate::error::printable(&text)))
        .lacks(Some(lacks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, Run};
    use crate::config::Policy;
    use crate::facts::{Bwrap, Facts};

    fn planned() -> Plan {
        let mut policy = Policy::default();
        policy.network.allowed_domains = vec!["example.org".into()];
        let run =
            Run { command: Command::Argv(vec!["true".into(), "a b".into(), "".into()]), ..Run::default() };
        let facts = Facts {
            engine: Engine::Bwrap,
            bwrap: Some(Bwrap { path: "/usr/bin/bwrap".into(), setuid: false }),
            uid: 1000,
            cwd: "/w".into(),
            landlock_abi: 6,
            seccomp: true,
            first_word_on_path: true,
            environment: vec![("A".into(), "b\n=c".into()), ("PATH".into(), "/bin".into())],
            ..Facts::default()
        };
        let mut plan = crate::plan::plan(&policy, &run, &facts).unwrap();
        plan.keep_fds = vec![7, 9];
        plan.reopen = vec![Reopen { number: 0, path: "/etc/x".into(), must: true }];
        plan.exec = Some(Exec { killable: true, ..Exec::default() });
        plan
    }

    #[test]
    fn inside_it_is_the_same_plan() {
        let plan = planned();
        let (parent, _other) = Channel::pair().unwrap();
        let filter = [Instruction { code: 0x15, jt: 1, jf: 255, k: 0xffff_fffe }; 3];
        let stage = Stage {
            plan: &plan,
            filter: &filter,
            arguments: 0,
            mask: Mask::from_bits(0x4002),
            parent,
            inbound: None,
            announcement: Some(Announcement::from([1, u64::MAX])),
            guard: None,
            outside: None,
            steps: Steps::new("test"),
        };
        let bytes = encode(&stage, 5);
        let read = |bytes: &[u8]| {
            let mut r = Reader { rest: bytes, short: false };
            let host = Descriptors::decode(&mut r);
            let filter = r.list(instruction);
            let directories = r.list(|r| (r.path(), r.number() as u32));
            let plan = decode(&mut r);
            (host, filter, directories, plan, r.short, r.rest.len())
        };
        let (host, again, directories, inner, short, left) = read(&bytes);
        assert_eq!((short, left), (false, 0));
        assert_eq!(
            (host.stderr, host.mask, host.nonce, host.outside),
            (5, 0x4002, Some([1, u64::MAX]), None)
        );
        assert!(host.parent > 2 && host.inbound == 0 && host.guard == 0);
        assert_eq!(again, filter);
        assert_eq!(directories, modes(&plan.mounts).map(|(p, m)| (p.to_path_buf(), m)).collect::<Vec<_>>());
        assert!(
            directories.iter().any(|(path, mode)| path == Path::new("/tmp") && *mode == 0o1777)
                || plan.mounts.len() < 3
        );
        // What is left out is what bubblewrap does, and what is the launcher's.
        let expected = Plan {
            bwrap: None,
            mounts: Vec::new(),
            seccomp: Vec::new(),
            notes: Vec::new(),
            nonce: String::new(),
            loopback: false,
            map: None,
            network: Network {
                policy: crate::config::policy::Network::default(),
                caller_proxy: crate::plan::net::CallerProxy::default(),
                ..plan.network.clone()
            },
            environment: Environment { stripped: Vec::new(), ..plan.environment.clone() },
            watched: Vec::new(),
            ..plan.clone()
        };
        assert_eq!(inner, expected);
        // Cut anywhere it is no plan.
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).4, "{length} of {}", bytes.len());
        }
    }
}
