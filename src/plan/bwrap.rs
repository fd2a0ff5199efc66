//! The plan's mounts as bubblewrap's arguments: pure. Only options that bubblewrap 0.4 has.
//!
//! bubblewrap makes the namespaces and the mounts; fence is the first process inside and does the rest, as it does in its own.

use super::files::Rules;
use super::mounts::Mount;
use super::{Note, degraded, engine};
use crate::error::{Failure, Result};
use crate::facts::Facts;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A word for bubblewrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word<'a> {
    /// As it is.
    Plain(&'a OsStr),
    /// The number of a descriptor that this text can be read from.
    Text(&'static str),
}

/// What bubblewrap's `--dev` makes by itself.
const DEV: [&str; 14] = [
    "null", "zero", "full", "random", "urandom", "tty", "pts", "ptmx", "fd", "stdin", "stdout", "stderr",
    "core", "shm",
];

/// Kinds of namespaces and the options that make them.
const KINDS: [(i32, &str); 7] = [
    (libc::CLONE_NEWUSER, "--unshare-user"),
    (libc::CLONE_NEWPID, "--unshare-pid"),
    // Otherwise a process of bubblewrap's stands between.
    (libc::CLONE_NEWPID, "--as-pid-1"),
    (libc::CLONE_NEWNET, "--unshare-net"),
    (libc::CLONE_NEWIPC, "--unshare-ipc"),
    (libc::CLONE_NEWUTS, "--unshare-uts"),
    (libc::CLONE_NEWCGROUP, "--unshare-cgroup-try"),
];

/// All arguments but the command.
pub fn render(namespaces: u64, mounts: &[Mount]) -> Vec<Word<'_>> {
    let mut words = Words { all: Vec::new(), own_dev: false };
    words.push(&["--die-with-parent"], &[]);
    for (_, option) in KINDS.iter().filter(|(flag, _)| engine::has(namespaces, *flag)) {
        words.push(&[option], &[]);
    }
    mounts.iter().for_each(|row| words.row(row));
    words.all
}

struct Words<'a> {
    all: Vec<Word<'a>>,
    /// `/dev` is what bubblewrap makes of it.
    own_dev: bool,
}

impl<'a> Words<'a> {
    fn push(&mut self, options: &[&'static str], paths: &[&'a Path]) {
        self.all.extend(options.iter().map(|option| Word::Plain(OsStr::from_bytes(option.as_bytes()))));
        self.all.extend(paths.iter().map(|path| Word::Plain(path.as_os_str())));
    }

    fn row(&mut self, row: &'a Mount) {
        match row {
            // Mount points are made by what is mounted there.
            Mount::EmptyRoot | Mount::File(_) | Mount::Pts(_) => {}
            Mount::HostRoot { read_only } => {
                self.push(&[if *read_only { "--ro-bind" } else { "--bind" }, "/", "/"], &[]);
            }
            Mount::Bind { from, to, .. } if from == to && self.is_there(to) => {}
            Mount::Bind { from, to, read_only, devices, may_be_gone } => {
                let option = match (devices, read_only, may_be_gone) {
                    (true, _, false) => "--dev-bind",
                    (true, _, true) => "--dev-bind-try",
                    (false, true, false) => "--ro-bind",
                    (false, true, true) => "--ro-bind-try",
                    (false, false, false) => "--bind",
                    (false, false, true) => "--bind-try",
                };
                self.push(&[option], &[from, to]);
            }
            Mount::Tmpfs { to, .. } if to == Path::new("/dev") => {
                self.own_dev = true;
                self.push(&["--dev", "/dev"], &[]);
            }
            Mount::Tmpfs { to, read_only: false, .. } => self.push(&["--tmpfs"], &[to]),
            Mount::Tmpfs { to, read_only: true, .. } | Mount::MaskDirectory(to) => {
                self.push(&["--tmpfs"], &[to]);
                self.push(&["--remount-ro"], &[to]);
            }
            // What is bound read-only opens no devices: EACCES for everybody.
            Mount::MaskFile(at) | Mount::MaskSocket(at) => self.push(&["--ro-bind", "/dev/null"], &[at]),
            Mount::Proc(to) => self.push(&["--proc"], &[to]),
            Mount::Directory { at, .. } | Mount::Link { at, .. } if self.is_there(at) => {}
            Mount::Directory { at, .. } => self.push(&["--dir"], &[at]),
            Mount::Link { at, text } => self.push(&["--symlink"], &[text, at]),
            Mount::Text { text, over, .. } => {
                self.push(&["--ro-bind-data"], &[]);
                self.all.push(Word::Text(text));
                self.push(&[], &[over]);
            }
            Mount::Seal(at) => self.push(&["--remount-ro"], &[at]),
            Mount::ReadOnlyPart(at) => self.push(&["--ro-bind-try"], &[at, at]),
            // Of a copy bubblewrap knows nothing: the file is read-only.
            Mount::Copy { of, .. } => self.push(&["--ro-bind-try"], &[of, of]),
            // `check` refused it.
            Mount::KeepLink(_) => {}
        }
    }

    /// bubblewrap has made it.
    fn is_there(&self, path: &Path) -> bool {
        let name = path.strip_prefix("/dev").ok().filter(|_| self.own_dev).and_then(Path::to_str);
        name.is_some_and(|name| DEV.contains(&name))
    }
}

/// Directories whose mode is not 0755, which is all that bubblewrap makes: with their modes, for fence to set inside.
pub fn modes(mounts: &[Mount]) -> impl Iterator<Item = (&Path, u32)> {
    mounts.iter().filter_map(|row| match row {
        Mount::Tmpfs { to, mode, read_only: false } if *mode != 0o755 => Some((to.as_path(), *mode)),
        _ => None,
    })
}

/// What bubblewrap can't do at all.
///
/// # Errors
/// It is not there, the command could have put another program in its place, or a mount of the plan can't be said to it.
pub(super) fn check(facts: &Facts, rules: &Rules, mounts: &[Mount]) -> Result<()> {
    let Some(bwrap) = &facts.bwrap else {
        return Err(Failure::new("cannot use bubblewrap: there is no bwrap on PATH").unavailable());
    };
    if rules.writable(&bwrap.path) {
        let path = bwrap.path.display();
        return Err(Failure::new(format!("cannot use bubblewrap: the command may write to {path}"))
            .hint("take that directory off PATH or out of filesystem.allowWrite")
            .unavailable());
    }
    match mounts.iter().find_map(|row| if let Mount::KeepLink(at) = row { Some(at) } else { None }) {
        Some(link) => Err(Failure::new(format!(
            "cannot use bubblewrap: it can't keep the symbolic link {} from being replaced",
            link.display()
        ))
        .unavailable()),
        None => Ok(()),
    }
}

/// What is weaker than in namespaces of fence's own.
pub(super) fn notes(facts: &Facts, mounts: &[Mount]) -> Vec<Note> {
    let mut notes = Vec::new();
    if facts.bwrap.as_ref().is_some_and(|bwrap| bwrap.setuid) {
        notes.push(degraded(
            "bwrap is set-user-ID root here: with root's rights it makes the sandbox, which has no user namespace of its own",
        ));
    }
    let mut protected = mounts.iter().filter_map(Mount::protects);
    if let Some(first) = protected.next() {
        notes.push(degraded(format!(
            "bubblewrap makes no mount again: when the host replaces {} or another file that is hidden or protected, the \
             command sees the new one",
            first.display()
        )));
    }
    if let Some(of) =
        mounts.iter().find_map(|row| if let Mount::Copy { of, .. } = row { Some(of) } else { None })
    {
        notes.push(degraded(format!(
            "{} can't be rewritten inside bubblewrap: git submodule update fails there",
            of.display()
        )));
    }
    if facts.uid == 0 {
        notes.push(degraded(
            "root can change the modes of the host's device nodes: bubblewrap can't bind them read-only",
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Bwrap;
    use crate::plan::files::{Place, Rule};
    use std::path::PathBuf;

    fn said(namespaces: i32, mounts: &[Mount]) -> String {
        let words = render(namespaces as u64, mounts);
        let words = words.iter().map(|word| match word {
            Word::Plain(word) => word.to_str().unwrap(),
            Word::Text(_) => "FD",
        });
        words.collect::<Vec<_>>().join(" ")
    }

    fn bind(path: &str, read_only: bool, devices: bool, may_be_gone: bool) -> Mount {
        Mount::Bind { from: path.into(), to: path.into(), read_only, devices, may_be_gone }
    }

    fn tmpfs(path: &str, mode: u32, read_only: bool) -> Mount {
        Mount::Tmpfs { to: path.into(), mode, read_only }
    }

    #[test]
    fn each_kind_of_mount_is_said_and_in_order() {
        let rows = [
            (Mount::HostRoot { read_only: true }, "--ro-bind / /"),
            (Mount::HostRoot { read_only: false }, "--bind / /"),
            (Mount::EmptyRoot, ""),
            (bind("/w", false, false, false), "--bind /w /w"),
            (bind("/w/.git", true, false, true), "--ro-bind-try /w/.git /w/.git"),
            (bind("/dev/kvm", true, true, false), "--dev-bind /dev/kvm /dev/kvm"),
            (tmpfs("/tmp", 0o1777, false), "--tmpfs /tmp"),
            (tmpfs("/run", 0o755, true), "--tmpfs /run --remount-ro /run"),
            (Mount::MaskDirectory("/s".into()), "--tmpfs /s --remount-ro /s"),
            (Mount::MaskFile("/w/.env".into()), "--ro-bind /dev/null /w/.env"),
            (Mount::MaskSocket("/s".into()), "--ro-bind /dev/null /s"),
            (Mount::Proc("/proc".into()), "--proc /proc"),
            (Mount::ReadOnlyPart("/proc/sys".into()), "--ro-bind-try /proc/sys /proc/sys"),
            (Mount::Directory { at: "/run/lock".into(), mode: 0o755 }, "--dir /run/lock"),
            (Mount::File("/run/x".into()), ""),
            (Mount::Link { at: "/var/run".into(), text: "/run".into() }, "--symlink /run /var/run"),
            (
                Mount::Text { text: "t", at: "/run/t".into(), over: "/etc/r".into() },
                "--ro-bind-data FD /etc/r",
            ),
            (Mount::Seal("/run".into()), "--remount-ro /run"),
        ];
        for (row, words) in &rows {
            let all = said(0, std::slice::from_ref(row));
            assert_eq!(all.trim_end(), format!("--die-with-parent {words}").trim_end(), "{row:?}");
        }
        let mounts: Vec<Mount> = rows.iter().map(|(row, _)| row.clone()).collect();
        let words: Vec<&str> =
            rows.iter().map(|(_, words)| *words).filter(|words| !words.is_empty()).collect();
        assert_eq!(said(0, &mounts), format!("--die-with-parent {}", words.join(" ")));
    }

    #[test]
    fn its_own_dev_stands_for_ours() {
        let mounts = [
            tmpfs("/dev", 0o755, false),
            Mount::File("/dev/null".into()),
            bind("/dev/null", true, true, false),
            Mount::Directory { at: "/dev/pts".into(), mode: 0o755 },
            Mount::Pts("/dev/pts".into()),
            Mount::Directory { at: "/dev/shm".into(), mode: 0o755 },
            tmpfs("/dev/shm", 0o1777, false),
            Mount::Link { at: "/dev/fd".into(), text: "/proc/self/fd".into() },
            Mount::File("/dev/kvm".into()),
            bind("/dev/kvm", true, true, false),
            Mount::Seal("/dev".into()),
        ];
        assert_eq!(
            said(0, &mounts),
            "--die-with-parent --dev /dev --tmpfs /dev/shm --dev-bind /dev/kvm /dev/kvm --remount-ro /dev"
        );
        assert_eq!(modes(&mounts).collect::<Vec<_>>(), [(Path::new("/dev/shm"), 0o1777)]);
        // The host's own as a whole.
        assert_eq!(said(0, &[bind("/dev", false, true, false)]), "--die-with-parent --dev-bind /dev /dev");
    }

    #[test]
    fn every_namespace_of_the_plan_is_asked_for() {
        let all = libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWNS;
        let all = all | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
        assert_eq!(
            said(all, &[]),
            "--die-with-parent --unshare-user --unshare-pid --as-pid-1 --unshare-net --unshare-ipc --unshare-uts \
             --unshare-cgroup-try"
        );
        // Without a PID namespace the other word would be an error.
        assert!(!said(all & !libc::CLONE_NEWPID, &[]).contains("pid"));
    }

    #[test]
    fn what_it_can_not_do_is_refused_or_said() {
        let plain = |setuid, uid| Facts {
            bwrap: Some(Bwrap { path: PathBuf::from("/usr/bin/bwrap"), setuid }),
            uid,
            ..Facts::default()
        };
        let rules = Rules::default();
        assert!(check(&Facts::default(), &rules, &[]).unwrap_err().lacks.is_some());
        assert!(check(&plain(false, 1000), &rules, &[]).is_ok());
        let mut writable = Rules::default();
        writable.places.insert("/usr".into(), Rule::new(Place::Write, true));
        let refused = check(&plain(false, 1000), &writable, &[]).unwrap_err();
        assert!(refused.lacks.is_some() && refused.what.contains("may write to /usr/bin/bwrap"), "{refused}");
        let link = [Mount::KeepLink("/h/.bashrc".into())];
        let refused = check(&plain(false, 1000), &rules, &link).unwrap_err();
        assert!(refused.lacks.is_some() && refused.what.contains("/h/.bashrc"), "{refused}");
        let texts = |facts: &Facts, mounts: &[Mount]| -> Vec<String> {
            notes(facts, mounts).into_iter().map(|note| note.text).collect()
        };
        assert!(texts(&plain(false, 1000), &[tmpfs("/tmp", 0o1777, false)]).is_empty());
        assert!(texts(&plain(true, 1000), &[])[0].contains("set-user-ID"));
        assert!(texts(&plain(false, 0), &[])[0].contains("device nodes"));
        let copy = [Mount::Copy { of: "/w/config".into(), at: "/run/c".into() }];
        assert!(texts(&plain(false, 1000), &copy)[1].contains("/w/config can't be rewritten"));
        let mask = [Mount::MaskFile("/w/.env".into())];
        assert!(texts(&plain(false, 1000), &mask)[0].contains("/w/.env"));
    }
}
