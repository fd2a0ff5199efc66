//! The environment of the command: the caller's, without what could turn the sandbox's own programs against it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::rules::shell::assignment;

/// A variable: name and value.
pub type Variable = (OsString, OsString);

/// One proxy for every scheme: with a SOCKS URL in ALL_PROXY some HTTP libraries raise at start.
const PROXY_VARIABLES: [&str; 6] =
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

/// The sandbox's own loopback is reached without a proxy.
const NO_PROXY: &str = "localhost,127.0.0.1,::1";

/// Names that only fence's own stages may see.
const INTERNAL: [&str; 3] = ["FENCE_CONFIG_JSON", "FENCE_LINUX_BOOTSTRAP_", "FENCE_LINUX_ARGV_EXEC_"];

/// What must be known to make the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvFacts {
    /// The working directory of the command.
    pub cwd: PathBuf,
    /// The caller's user id.
    pub uid: u32,
    /// Something that nobody can guess: part of the name of a new XDG_RUNTIME_DIR.
    pub random: String,
    /// The caller's TMPDIR names a directory that is writable inside.
    pub tmpdir_writable: bool,
    /// Where temporary files go otherwise.
    pub tmp: PathBuf,
    /// The caller's XDG_RUNTIME_DIR names a directory that is writable inside.
    pub runtime_dir_writable: bool,
    /// `--fence-log-file`
    pub log_file: Option<PathBuf>,
    /// The HTTP and the SOCKS proxy as the command reaches them.
    pub proxy_urls: [String; 2],
    /// Hints for programs that don't look at the variables above, where some host can be reached through the proxy alone.
    pub hints: Option<Hints>,
    /// `NAME=value` words in front of the command.
    pub assignments: Vec<Variable>,
}

/// For programs that find the proxy in ways of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hints {
    /// The HTTP proxy's port on 127.0.0.1.
    pub port: u16,
    /// fence's own program as the command sees it; none: it does not see it.
    pub fence: Option<PathBuf>,
}

/// The environment of the command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// All variables, in the caller's order, the new ones last.
    pub variables: Vec<Variable>,
    /// Names that were taken out because the dynamic linker obeys them, for `-d`.
    pub stripped: Vec<OsString>,
    /// A directory to make inside (mode 0700) before the command starts: the new XDG_RUNTIME_DIR.
    pub runtime_dir: Option<PathBuf>,
}

impl Environment {
    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_os_str())
    }

    /// The variables that fence itself sets, for `fence plan`: none of the caller's, which may be secrets.
    pub fn changed(&self) -> impl Iterator<Item = (String, String)> {
        const OTHERS: [&str; 11] = [
            "FENCE_SANDBOX",
            SOCKS,
            "NO_PROXY",
            "no_proxy",
            NODE,
            GIT,
            JAVA,
            "FENCE_LOG_FILE",
            "TMPDIR",
            "XDG_RUNTIME_DIR",
            "PWD",
        ];
        PROXY_VARIABLES.iter().chain(&OTHERS).filter_map(|name| {
            let value = self.get(name)?;
            Some((name.to_string(), value.to_string_lossy().into_owned()))
        })
    }

    /// Sets a variable, whatever it was before.
    fn set(&mut self, name: impl AsRef<OsStr>, value: impl Into<OsString>) {
        let name = name.as_ref();
        self.variables.retain(|(n, _)| n != name);
        self.variables.push((name.to_owned(), value.into()));
    }

    /// Without XDG_RUNTIME_DIR: for when its directory could not be made.
    pub fn drop_runtime_dir(&mut self) {
        self.runtime_dir = None;
        self.variables.retain(|(name, _)| name != "XDG_RUNTIME_DIR");
    }
}

/// The caller's environment, made fit for the sandbox.
pub fn environment(caller: Vec<Variable>, facts: &EnvFacts) -> Environment {
    let mut env = Environment::default();
    for (name, value) in caller {
        if obeyed_by_linker(&name) {
            env.stripped.push(name);
        } else if !internal(&name) {
            env.variables.push((name, value));
        }
    }
    env.set("FENCE_SANDBOX", "1");
    let [http, socks] = &facts.proxy_urls;
    for name in PROXY_VARIABLES {
        env.set(name, http);
    }
    env.set(SOCKS, socks);
    env.set("NO_PROXY", NO_PROXY);
    env.set("no_proxy", NO_PROXY);
    if let Some(hints) = &facts.hints {
        hint(&mut env, hints);
    }
    if let Some(file) = &facts.log_file {
        env.set("FENCE_LOG_FILE", facts.cwd.join(file));
    }
    if !facts.tmpdir_writable {
        env.set("TMPDIR", &facts.tmp);
    }
    if !facts.runtime_dir_writable {
        let dir = PathBuf::from(format!("/tmp/fence-runtime-{}-{}", facts.uid, facts.random));
        env.set("XDG_RUNTIME_DIR", &dir);
        env.runtime_dir = Some(dir);
    }
    env.set("PWD", &facts.cwd);
    // The user's own words come last and pass whatever they name: they hold inside only.
    for (name, value) in &facts.assignments {
        env.set(name, value);
    }
    env
}

/// For programs that are told of a SOCKS proxy by their own flags; no library looks at it.
const SOCKS: &str = "FENCE_SOCKS_PROXY";
const NODE: &str = "NODE_USE_ENV_PROXY";
const JAVA: &str = "JAVA_TOOL_OPTIONS";
const GIT: &str = "GIT_SSH_COMMAND";

/// What the caller set stays as it is, except that Java's options can be added to.
fn hint(env: &mut Environment, hints: &Hints) {
    if env.get(NODE).is_none() {
        env.set(NODE, "1");
    }
    let java = env.get(JAVA).unwrap_or_default().to_owned();
    // Who set a proxy, or wants none, said so in these words.
    if !java.to_string_lossy().to_ascii_lowercase().contains("prox") {
        let port = hints.port;
        let mut options = java;
        if !options.is_empty() {
            options.push(" ");
        }
        options.push(format!(
            "-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort={port} -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort={port}"
        ));
        env.set(JAVA, options);
    }
    // GIT_SSH would be beaten by GIT_SSH_COMMAND.
    if let (Some(fence), None, None) = (hints.command(), env.get(GIT), env.get("GIT_SSH")) {
        env.set(GIT, format!("ssh -o 'ProxyCommand={fence} connect %h %p'"));
    }
}

impl Hints {
    /// The program as it can stand in ssh's ProxyCommand: two shells and ssh's `%` read it.
    fn command(&self) -> Option<&str> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._+-".contains(&b);
        self.fence.as_ref().and_then(|path| path.to_str()).filter(|path| path.bytes().all(plain))
    }
}

/// The dynamic linkers read these names (in capitals only) before any code of the program runs.
fn obeyed_by_linker(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"LD_") || name.as_bytes().starts_with(b"DYLD_")
}

fn internal(name: &OsStr) -> bool {
    INTERNAL.iter().any(|prefix| {
        let whole = !prefix.ends_with('_');
        if whole { name == *prefix } else { name.as_bytes().starts_with(prefix.as_bytes()) }
    })
}

/// Splits the leading `NAME=value` words off a command, as a shell does; what is left may be empty.
pub fn split_assignments(words: &[OsString]) -> (Vec<Variable>, &[OsString]) {
    let assignments: Vec<Variable> = words.iter().map_while(|word| assignment(word)).collect();
    let command = &words[assignments.len()..];
    (assignments, command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata::table;

    const PROXY_URL: &str = "http://127.0.0.1:3128";

    fn facts() -> EnvFacts {
        EnvFacts {
            cwd: "/proj".into(),
            uid: 1000,
            random: "a1b2".into(),
            tmp: "/tmp".into(),
            tmpdir_writable: true,
            runtime_dir_writable: true,
            log_file: None,
            proxy_urls: [PROXY_URL.into(), "socks5h://127.0.0.1:1080".into()],
            hints: None,
            assignments: Vec::new(),
        }
    }

    fn made(caller: &[(&str, &str)], facts: &EnvFacts) -> Environment {
        environment(caller.iter().map(|(name, value)| (name.into(), value.into())).collect(), facts)
    }

    fn value(env: &Environment, name: &str) -> String {
        env.get(name).map_or("<unset>".into(), |value| value.to_string_lossy().into_owned())
    }

    #[test]
    fn every_row_of_the_original() {
        let rows = table(include_str!("../../tests/data/compat/env.tsv"));
        assert_eq!(rows.len(), 68);
        for row in rows {
            let (id, entry) = (row["id"].as_str(), row["entry"].as_str());
            let ours = match row["ours_by_design"].as_str() {
                url if url.starts_with("http://127.0.0.1:3128") => PROXY_URL,
                _ => row["expected"].as_str(),
            };
            match row["kind"].as_str() {
                "strip" => {
                    let name = entry.split_once('=').map_or(entry, |(name, _)| name);
                    let env = made(&[(name, "caller")], &facts());
                    let kept = env.get(name).is_some();
                    assert_eq!((kept, env.stripped.is_empty()), (ours == "kept", ours == "kept"), "{id}");
                }
                "set" => set(id, entry, &row["condition"], ours),
                "repair" => repair(id, entry, &row["condition"], ours),
                "unset" => assert_eq!(made(&[(entry, "x")], &facts()).get(entry), None, "{id}"),
                "pass" if entry == "PWD" => {
                    assert_eq!(value(&made(&[("PWD", "/x")], &facts()), "PWD"), "/proj")
                }
                "pass" => assert_eq!(value(&made(&[(entry, "7")], &facts()), entry), "7", "{id}"),
                kind => panic!("{id}: {kind}"),
            }
        }
    }

    fn set(id: &str, name: &str, condition: &str, expected: &str) {
        let mut facts = facts();
        if condition.contains("no network namespace") {
            facts.proxy_urls[0] = "http://127.0.0.1:40000".into();
            assert_eq!(value(&made(&[], &facts), name), facts.proxy_urls[0], "{id}");
            return;
        }
        if name == "FENCE_LOG_FILE" {
            facts.log_file = Some("log/x".into());
            assert_eq!(value(&made(&[(name, "/old")], &facts), name), "/proj/log/x", "{id}");
            return;
        }
        let env = made(&[(name, "caller")], &facts);
        if expected.starts_with("<not set") {
            assert_eq!(value(&env, name), "caller", "{id}");
            assert_eq!(value(&made(&[], &facts), name), "<unset>", "{id}");
        } else {
            assert_eq!(value(&env, name), expected, "{id}");
            assert_eq!(value(&made(&[], &facts), name), expected, "{id}");
        }
    }

    fn repair(id: &str, name: &str, condition: &str, expected: &str) {
        let good = expected == "<unchanged>";
        let facts = EnvFacts { tmpdir_writable: good, runtime_dir_writable: good, ..facts() };
        let mut env = made(&[(name, "/caller")], &facts);
        if condition.contains("cannot be created") {
            env.drop_runtime_dir();
            assert_eq!((value(&env, name).as_str(), &env.runtime_dir), (expected, &None), "{id}");
            return;
        }
        let expected = expected.replace("<uid>-<random>", "1000-a1b2").replace("<unchanged>", "/caller");
        assert_eq!(value(&env, name), expected, "{id}");
        assert_eq!(env.runtime_dir.is_none(), good, "{id}");
    }

    #[test]
    fn words_in_front_of_the_command_come_last() {
        let words: Vec<OsString> =
            ["A=1", "_b2=x=y", "HTTP_PROXY=", "LD_PRELOAD=z", "env", "C=2"].map(OsString::from).into();
        let (assignments, command) = split_assignments(&words);
        assert_eq!(command, &words[4..]);
        let env = made(&[("A", "0")], &EnvFacts { assignments, ..facts() });
        let got = ["A", "_b2", "HTTP_PROXY", "LD_PRELOAD", "C"].map(|name| value(&env, name));
        assert_eq!(got, ["1", "x=y", "", "z", "<unset>"]);
        for word in ["1A=x", "=x", "A-B=x", "A+=x", "é=x", "./A=x", "A"] {
            assert_eq!(assignment(OsStr::new(word)), None, "{word}");
        }
    }

    #[test]
    fn the_rest_is_as_it_was() {
        let env = made(&[("PATH", "/bin"), ("TOKEN", "t"), ("LD_X", "1"), ("TMPDIR", "/mine")], &facts());
        let first: Vec<_> = env.variables[..3].iter().map(|(name, _)| name.to_string_lossy()).collect();
        assert_eq!(first, ["PATH", "TOKEN", "TMPDIR"]);
        assert_eq!(env.stripped, ["LD_X"]);
        assert_eq!(value(&env, "NODE_USE_ENV_PROXY"), "<unset>");
    }

    #[test]
    fn programs_that_look_elsewhere_are_told_of_the_proxy() {
        let hints = Hints { port: 3128, fence: Some("/usr/local/bin/fence".into()) };
        let facts = EnvFacts { hints: Some(hints.clone()), ..facts() };
        let java = "-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=3128 -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=3128";
        let ssh = "ssh -o 'ProxyCommand=/usr/local/bin/fence connect %h %p'";
        let values = |env: &Environment| [NODE, JAVA, GIT].map(|name| value(env, name));
        let env = made(&[], &facts);
        assert_eq!(values(&env), ["1", java, ssh]);
        let shown: Vec<String> = env.changed().map(|(name, _)| name).collect();
        assert!([NODE, JAVA, GIT].iter().all(|name| shown.iter().any(|s| s == name)), "{shown:?}");
        // The caller's own stays; Java's options are added to, unless they speak of proxies.
        let own = made(&[(NODE, "0"), (JAVA, "-Xmx1g"), (GIT, "ssh -i key")], &facts);
        assert_eq!(values(&own), ["0", &format!("-Xmx1g {java}"), "ssh -i key"]);
        let own = made(&[(JAVA, "-DsocksProxyHost=x"), ("GIT_SSH", "/bin/myssh")], &facts);
        assert_eq!(values(&own), ["1", "-DsocksProxyHost=x", "<unset>"]);
        // A path that a shell or ssh would read otherwise, and a program that can't be seen inside.
        for fence in [Some("/opt/my fence/fence"), Some("/opt/%h/fence"), Some("/opt/a'b/fence"), None] {
            let hints = Hints { fence: fence.map(PathBuf::from), port: 3128 };
            assert_eq!(value(&made(&[], &EnvFacts { hints: Some(hints), ..facts.clone() }), GIT), "<unset>");
        }
        // Nothing can be reached: nothing is said.
        assert_eq!(values(&made(&[], &super::tests::facts())), ["<unset>"; 3]);
    }
}
