//! What is decided when the command starts other programs: files to hide, or a policy for the exec supervisor.

use super::{Note, degraded, remark, unenforced};
use crate::cli::Run;
use crate::config::Policy;
use crate::config::policy::Command;
use crate::error::{Failure, Result};
use crate::facts::{Facts, FileId, Found, Program};
use crate::map::Map;
use crate::rules::defaults;
use crate::rules::exec::Names;
use crate::rules::prefix::{basename, single_program};
use crate::rules::shell::tokens;

/// `command.runtimeExecPolicy`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Programs that a rule of one word names are hidden.
    Path,
    /// Every exec is judged by its file and arguments.
    Argv,
}

/// The policy of the exec supervisor: what it denies, and by which names it knows files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// Only `command` and `ssh` count.
    pub rules: Policy,
    /// The files that rules name.
    pub files: Map<FileId, Names>,
    /// A call that waits for its verdict can be told from one that a signal disturbed (5.19).
    pub killable: bool,
}

/// What the policy says about exec at run time, for this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// Files to hide.
    pub masks: Vec<Found>,
    /// The supervisor's policy, when there is one.
    pub exec: Option<Exec>,
    /// What is weaker than it looks.
    pub notes: Vec<Note>,
}

/// How exec at run time is decided.
pub fn mode(policy: &Policy) -> Mode {
    if policy.command.runtime_exec_policy == "argv" { Mode::Argv } else { Mode::Path }
}

/// Whether rules say what ssh may do.
pub fn has_ssh_rules(policy: &Policy) -> bool {
    !policy.ssh.allowed_hosts.is_empty() || !policy.ssh.denied_hosts.is_empty()
}

/// The programs that the rules are about, as the rules spell them. In path mode those of the user's rules of one word:
/// what the built-in list has does nothing to the machine from inside.
pub fn words(policy: &Policy) -> Vec<String> {
    let rules = &policy.command;
    let mut words: Vec<String> = match mode(policy) {
        Mode::Path => rules.deny.iter().filter_map(|rule| single_program(rule)).collect(),
        Mode::Argv => {
            let built_in = defaults::DENY.iter().copied().filter(|_| rules.use_defaults != Some(false));
            let all = rules.deny.iter().map(String::as_str).chain(built_in);
            let ssh = has_ssh_rules(policy).then(|| "ssh".to_string());
            all.filter_map(|rule| tokens(rule).into_iter().next()).chain(ssh).collect()
        }
    };
    crate::order::set(&mut words);
    words
}

/// Whether the policy needs a supervisor on this host.
pub fn asks(policy: &Policy, facts: &Facts) -> bool {
    match mode(policy) {
        Mode::Argv => true,
        Mode::Path => facts.programs.iter().any(|(word, programs)| {
            !accepted(policy, word) && programs.iter().any(|program| is_shared(policy, program))
        }),
    }
}

/// `acceptSharedBinaryCannotRuntimeDeny` has the word: it may run.
fn accepted(policy: &Policy, word: &str) -> bool {
    let accepted = &policy.command.accept_shared_binary_cannot_runtime_deny;
    accepted.iter().any(|name| basename(name) == basename(word))
}

/// The file is also a command that scripts need and that no rule denies.
fn is_shared(policy: &Policy, program: &Program) -> bool {
    program.critical.iter().any(|name| !words(policy).iter().any(|word| basename(word) == *name))
}

/// Masks, supervisor, notes.
///
/// # Errors
/// `argv` is asked for and can't work here.
pub fn plan(policy: &Policy, run: &Run, facts: &Facts) -> Result<Planned> {
    match mode(policy) {
        Mode::Path => Ok(by_path(policy, facts)),
        Mode::Argv => by_arguments(policy, run, facts),
    }
}

fn by_path(policy: &Policy, facts: &Facts) -> Planned {
    let mut planned = Planned::default();
    let listens = matches!(facts.exec_listener, Some(Ok(_)));
    let mut by_name = Vec::new();
    for (word, programs) in &facts.programs {
        for program in programs {
            let path = program.found.real.display();
            let shared = is_shared(policy, program);
            if program.shell && !(shared && listens) {
                let text =
                    format!("command.deny {word:?} does not hide {path}: the command line runs through it");
                planned.notes.push(degraded(text));
            } else if shared && accepted(policy, word) {
                planned
                    .notes
                    .push(remark(format!("command.deny {word:?}: {path} is shared, and accepted as such")));
            } else if shared && listens {
                by_name.push(word.clone());
            } else {
                if shared {
                    planned.notes.push(degraded(collateral(word, program, facts)));
                }
                planned.masks.push(program.found.clone());
            }
        }
    }
    if let (false, Some(Ok(killable))) = (by_name.is_empty(), &facts.exec_listener) {
        by_name.dedup();
        let command = Command { deny: by_name, use_defaults: Some(false), ..Command::default() };
        let rules = Policy { command, ..Policy::default() };
        planned.exec = Some(Exec { files: files(&rules, facts), rules, killable: *killable });
    }
    planned
}

/// What the original says when it hides a file that other commands need too, and why there is no better way here.
fn collateral(word: &str, program: &Program, facts: &Facts) -> String {
    let name = basename(word);
    let why = match &facts.exec_listener {
        Some(Err(why)) => format!(" (it can't be judged by name: {why})"),
        _ => String::new(),
    };
    format!(
        "runtime exec deny warning for {} (requested: {name}): shared binary also implements critical commands [{}], which \
         will be collaterally blocked{why}. To skip runtime blocking of {name:?} and silence this warning, add it to \
         \"acceptSharedBinaryCannotRuntimeDeny\" in your command config.",
        program.found.real.display(),
        program.critical.join(" ")
    )
}

/// The supervisor's policy for these rules, or why there can be none.
///
/// # Errors
/// Exec can't be judged here.
pub fn by_arguments(policy: &Policy, run: &Run, facts: &Facts) -> Result<Planned> {
    let refused = |why: &str| {
        Failure::new(format!(
            "failed to wrap command: command.runtimeExecPolicy=\"argv\" requires Linux seccomp user notification support: {why}"
        ))
    };
    if let Some(name) = run.allow_syscalls.iter().find(|name| FORGES.contains(&name.as_str())) {
        return Err(Failure::new(format!(
            "cannot enforce command.runtimeExecPolicy \"argv\" with --allow-syscall {name}: it rewrites what was judged"
        ))
        .hint("leave one of the two out"));
    }
    let mut planned = Planned::default();
    match &facts.exec_listener {
        Some(Ok(killable)) if facts.seccomp => {
            let rules =
                Policy { command: policy.command.clone(), ssh: policy.ssh.clone(), ..Policy::default() };
            planned.exec = Some(Exec { files: files(&rules, facts), rules, killable: *killable });
        }
        _ if !run.allow_degraded => {
            let why = match &facts.exec_listener {
                Some(Err(why)) => why,
                _ => "this kernel has no seccomp filters",
            };
            return Err(refused(why)
                .hint("without it (\"path\") rules of one word still hold; --allow-degraded runs the command without any"));
        }
        _ => {
            planned.notes.push(unenforced("command.runtimeExecPolicy \"argv\" is not enforced on this host"))
        }
    }
    Ok(planned)
}

/// Calls with which one process changes another's memory, and so what the supervisor has seen.
const FORGES: [&str; 3] = ["ptrace", "process_vm_writev", "userfaultfd"];

/// The files that the rules are about.
fn files(rules: &Policy, facts: &Facts) -> Map<FileId, Names> {
    let mut files: Map<FileId, Names> = Map::new();
    for word in words(&Policy {
        command: Command { runtime_exec_policy: "argv".into(), ..rules.command.clone() },
        ..rules.clone()
    }) {
        for program in facts.programs.get(&word).into_iter().flatten() {
            let names = files.get_or_insert(program.file, Names::default());
            names.denied.push(basename(&word).to_string());
            names.all = facts.program_names.get(&program.file).cloned().unwrap_or_default();
        }
    }
    files
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::facts::Kind;
    use crate::plan::Weight;

    fn program(path: &str, inode: u64, critical: &[&'static str]) -> Program {
        let found = Found { real: path.into(), kind: Kind::File, links: vec![], nlink: 1 };
        Program { found, file: (1, inode), shell: false, critical: critical.to_vec() }
    }

    fn policy(mode: &str, deny: &[&str]) -> Policy {
        let deny = deny.iter().map(|rule| rule.to_string()).collect();
        let command = Command { deny, runtime_exec_policy: mode.into(), ..Command::default() };
        Policy { command, ..Policy::default() }
    }

    fn facts(programs: &[(&str, Program)], listener: Option<std::result::Result<bool, String>>) -> Facts {
        let programs = programs.iter().map(|(word, program)| (word.to_string(), vec![program.clone()]));
        let program_names = Map::from_iter([((1, 2), vec!["busybox".into(), "dd".into(), "ls".into()])]);
        Facts {
            programs: programs.collect(),
            program_names,
            exec_listener: listener,
            seccomp: true,
            ..Facts::default()
        }
    }

    fn planned(policy: &Policy, facts: &Facts) -> Planned {
        plan(policy, &Run::default(), facts).unwrap()
    }

    #[test]
    fn words_of_rules() {
        let policy = |mode| policy(mode, &["git push", "dd", "/opt/x", "a*b"]);
        assert_eq!(words(&policy("path")), ["/opt/x", "dd"]);
        assert!(words(&policy("argv")).contains(&"git".to_string()));
        assert!(words(&policy("argv")).contains(&"reboot".to_string()));
        assert!(words(&Policy::default()).is_empty());
    }

    #[test]
    fn a_file_of_its_own_is_hidden() {
        let plan = planned(&policy("", &["dd"]), &facts(&[("dd", program("/usr/bin/dd", 1, &[]))], None));
        assert_eq!((plan.masks.len(), plan.exec, plan.notes), (1, None, vec![]));
    }

    #[test]
    fn a_shared_file_is_judged_by_name_or_hidden_with_a_warning() {
        let busybox = [("dd", program("/bin/busybox", 2, &["cat", "ls"]))];
        let deny = policy("", &["dd"]);
        assert!(asks(&deny, &facts(&busybox, None)));
        let plan = planned(&deny, &facts(&busybox, Some(Ok(true))));
        assert_eq!((plan.masks, plan.notes), (vec![], vec![]));
        let exec = plan.exec.unwrap();
        assert_eq!(exec.rules.command.deny, ["dd"]);
        assert_eq!(exec.files.get(&(1, 2)).unwrap().denied, ["dd"]);
        assert_eq!(exec.files.get(&(1, 2)).unwrap().all, ["busybox", "dd", "ls"]);

        let plan = planned(&deny, &facts(&busybox, Some(Err("no listener".into()))));
        assert_eq!((plan.masks.len(), plan.exec), (1, None));
        assert_eq!(plan.notes[0].weight, Weight::Degraded);
        assert!(plan.notes[0].text.contains("critical commands [cat ls]"), "{:?}", plan.notes);

        let mut accepted = deny.clone();
        accepted.command.accept_shared_binary_cannot_runtime_deny = vec!["dd".into()];
        assert!(!asks(&accepted, &facts(&busybox, None)));
        let plan = planned(&accepted, &facts(&busybox, None));
        assert_eq!((plan.masks, plan.exec), (vec![], None));

        // All that it is, is denied.
        let all = policy("", &["dd", "cat", "ls"]);
        assert!(!asks(&all, &facts(&busybox, None)));
    }

    #[test]
    fn argv_is_refused_where_it_cannot_work() {
        let policy = policy("argv", &["git push"]);
        let run = Run::default();
        assert!(plan(&policy, &run, &facts(&[], Some(Ok(true)))).unwrap().exec.is_some());
        for listener in [None, Some(Err("the reason".into()))] {
            assert!(plan(&policy, &run, &facts(&[], listener)).is_err());
        }
        let no_seccomp = Facts { seccomp: false, ..facts(&[], Some(Ok(true))) };
        assert!(plan(&policy, &run, &no_seccomp).is_err());
        let degraded = Run { allow_degraded: true, ..Run::default() };
        assert_eq!(plan(&policy, &degraded, &no_seccomp).unwrap().notes[0].weight, Weight::Unenforced);
        for name in FORGES {
            let forging = Run { allow_syscalls: vec![name.into()], ..Run::default() };
            assert!(plan(&policy, &forging, &facts(&[], Some(Ok(true)))).is_err(), "{name}");
        }
    }
}
