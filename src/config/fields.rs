//! The one table of settings: reading, merging and printing all walk it, so a key is named once.

use super::Policy;
use crate::text::distance;

/// One configuration file as a value. A switch that is off, an empty text, a zero and an empty list mean unset:
/// merging can't tell them apart either.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// `extends`: template, file or `@base`; empty: nothing.
    pub extends: String,
    /// What the file says itself.
    pub policy: Policy,
}

/// Type of a setting and where it lives. The type also decides how a child file changes its parent's value.
#[derive(Clone, Copy, Debug)]
pub enum Slot {
    /// `true` or `false`; once on, a child can't turn it off.
    Switch(fn(&mut File) -> &mut bool),
    /// `true`, `false` or unset; the child wins when set.
    Choice(fn(&mut File) -> &mut Option<bool>),
    /// A whole number; the child wins unless 0.
    Number(fn(&mut File) -> &mut i64),
    /// Text; the child wins unless empty.
    Text(fn(&mut File) -> &mut String),
    /// Whole numbers; the child's follow the parent's.
    Numbers(fn(&mut File) -> &mut Vec<i64>),
    /// Texts; the child's follow the parent's.
    Texts(fn(&mut File) -> &mut Vec<String>),
}

impl Slot {
    /// What a file must hold here, for messages.
    pub fn expected(&self) -> &'static str {
        match self {
            Slot::Switch(_) | Slot::Choice(_) => "true or false",
            Slot::Number(_) => "a whole number",
            Slot::Text(_) => "a string",
            Slot::Numbers(_) => "a list of whole numbers",
            Slot::Texts(_) => "a list of strings",
        }
    }
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Key path, sections joined by dots.
    pub path: &'static str,
    /// Type and place.
    pub slot: Slot,
}

const fn row(path: &'static str, slot: Slot) -> Field {
    Field { path, slot }
}

/// Every setting, in the order in which `config show` prints them.
pub static FIELDS: [Field; 38] = [
    row("extends", Slot::Text(|f| &mut f.extends)),
    row("allowPty", Slot::Switch(|f| &mut f.policy.allow_pty)),
    row("forceNewSession", Slot::Choice(|f| &mut f.policy.force_new_session)),
    row("network.allowedDomains", Slot::Texts(|f| &mut f.policy.network.allowed_domains)),
    row("network.deniedDomains", Slot::Texts(|f| &mut f.policy.network.denied_domains)),
    row("network.allowUnixSockets", Slot::Texts(|f| &mut f.policy.network.allow_unix_sockets)),
    row("network.allowAllUnixSockets", Slot::Switch(|f| &mut f.policy.network.allow_all_unix_sockets)),
    row("network.allowLocalBinding", Slot::Switch(|f| &mut f.policy.network.allow_local_binding)),
    row("network.allowLocalOutbound", Slot::Choice(|f| &mut f.policy.network.allow_local_outbound)),
    row(
        "network.allowLocalOutboundPorts",
        Slot::Numbers(|f| &mut f.policy.network.allow_local_outbound_ports),
    ),
    row("network.httpProxyPort", Slot::Number(|f| &mut f.policy.network.http_proxy_port)),
    row("network.socksProxyPort", Slot::Number(|f| &mut f.policy.network.socks_proxy_port)),
    row("network.upstreamProxy", Slot::Text(|f| &mut f.policy.network.upstream_proxy)),
    row("network.defaultAction", Slot::Text(|f| &mut f.policy.network.default_action)),
    row("filesystem.defaultDenyRead", Slot::Switch(|f| &mut f.policy.filesystem.default_deny_read)),
    row("filesystem.strictDenyRead", Slot::Switch(|f| &mut f.policy.filesystem.strict_deny_read)),
    row("filesystem.wslInterop", Slot::Choice(|f| &mut f.policy.filesystem.wsl_interop)),
    row("filesystem.allowRead", Slot::Texts(|f| &mut f.policy.filesystem.allow_read)),
    row("filesystem.allowExecute", Slot::Texts(|f| &mut f.policy.filesystem.allow_execute)),
    row("filesystem.denyRead", Slot::Texts(|f| &mut f.policy.filesystem.deny_read)),
    row("filesystem.allowWrite", Slot::Texts(|f| &mut f.policy.filesystem.allow_write)),
    row("filesystem.denyWrite", Slot::Texts(|f| &mut f.policy.filesystem.deny_write)),
    row("filesystem.allowGitConfig", Slot::Switch(|f| &mut f.policy.filesystem.allow_git_config)),
    row("devices.mode", Slot::Text(|f| &mut f.policy.devices.mode)),
    row("devices.allow", Slot::Texts(|f| &mut f.policy.devices.allow)),
    row("macos.mach.lookup", Slot::Texts(|f| &mut f.policy.macos.lookup)),
    row("macos.mach.register", Slot::Texts(|f| &mut f.policy.macos.register)),
    row("command.deny", Slot::Texts(|f| &mut f.policy.command.deny)),
    row("command.allow", Slot::Texts(|f| &mut f.policy.command.allow)),
    row("command.useDefaults", Slot::Choice(|f| &mut f.policy.command.use_defaults)),
    row(
        "command.acceptSharedBinaryCannotRuntimeDeny",
        Slot::Texts(|f| &mut f.policy.command.accept_shared_binary_cannot_runtime_deny),
    ),
    row("command.runtimeExecPolicy", Slot::Text(|f| &mut f.policy.command.runtime_exec_policy)),
    row("ssh.allowedHosts", Slot::Texts(|f| &mut f.policy.ssh.allowed_hosts)),
    row("ssh.deniedHosts", Slot::Texts(|f| &mut f.policy.ssh.denied_hosts)),
    row("ssh.allowedCommands", Slot::Texts(|f| &mut f.policy.ssh.allowed_commands)),
    row("ssh.deniedCommands", Slot::Texts(|f| &mut f.policy.ssh.denied_commands)),
    row("ssh.allowAllCommands", Slot::Switch(|f| &mut f.policy.ssh.allow_all_commands)),
    row("ssh.inheritDeny", Slot::Switch(|f| &mut f.policy.ssh.inherit_deny)),
];

/// What a key of an object stands for.
#[derive(Clone, Copy, Debug)]
pub enum Member {
    /// A setting.
    Field(&'static Field),
    /// An object of settings, by its whole path.
    Section(&'static str),
}

impl Member {
    /// Key path.
    pub fn path(&self) -> &'static str {
        match self {
            Member::Field(field) => field.path,
            Member::Section(path) => path,
        }
    }
}

/// The members of the section `section` (empty: the top level) in the table's order; a section comes once per setting in it.
pub fn members(section: &str) -> impl Iterator<Item = (&'static str, Member)> {
    let depth = if section.is_empty() { 0 } else { section.len() + 1 };
    let inside = move |path: &str, section: &str| {
        depth == 0 || (path.starts_with(section) && path.as_bytes().get(section.len()) == Some(&b'.'))
    };
    let section = section.to_string();
    FIELDS.iter().filter(move |field| inside(field.path, &section)).map(move |field| {
        let rest = &field.path[depth..];
        match rest.find('.') {
            Some(dot) => (&rest[..dot], Member::Section(&field.path[..depth + dot])),
            None => (rest, Member::Field(field)),
        }
    })
}

/// The member that a file means by `name`: case does not count.
pub fn member(section: &str, name: &str) -> Option<Member> {
    members(section).find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, member)| member)
}

/// What a misspelt `name` was probably meant to be: a near name in the same section, else the same name in another one.
pub fn nearest(section: &str, name: &str) -> Option<&'static str> {
    let wanted = name.to_ascii_lowercase();
    let near = members(section)
        .map(|(known, _)| (distance(&wanted, &known.to_ascii_lowercase()), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4);
    let same_elsewhere = || {
        let last = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
        FIELDS.iter().map(|field| field.path).find(|path| last(path).eq_ignore_ascii_case(name))
    };
    near.map(|(_, known)| known).or_else(same_elsewhere)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_without_regard_to_case() {
        let path = |section, name| member(section, name).map(|member| member.path());
        assert_eq!(path("", "NETWORK"), Some("network"));
        assert_eq!(path("network", "alloweddomains"), Some("network.allowedDomains"));
        assert_eq!(path("macos", "mach"), Some("macos.mach"));
        assert_eq!(path("macos.mach", "lookup"), Some("macos.mach.lookup"));
        assert_eq!(path("net", "work"), None);
        assert_eq!(path("", "allowedDomains"), None);
    }

    #[test]
    fn a_misspelt_key_has_a_neighbour() {
        assert_eq!(nearest("network", "alowedDomain"), Some("allowedDomains"));
        assert_eq!(nearest("", "filesytem"), Some("filesystem"));
        assert_eq!(nearest("", "denyRead"), Some("filesystem.denyRead"));
        assert_eq!(nearest("ssh", "quux"), None);
    }
}
