//! What the user allows: the merged result of all configuration files, field for field as the JSON schema names them.

/// The whole policy. `Policy::default()` is the original's default: nothing allowed, the network blocked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// `allowPty`: accepted; the terminal is always kept.
    pub allow_pty: bool,
    /// `forceNewSession`: start the command in its own session (no controlling terminal).
    pub force_new_session: Option<bool>,
    /// `network`
    pub network: Network,
    /// `filesystem`
    pub filesystem: Filesystem,
    /// `devices`
    pub devices: Devices,
    /// `macos`: kept for `config show`, without effect on Linux.
    pub macos: Macos,
    /// `command`
    pub command: Command,
    /// `ssh`
    pub ssh: Ssh,
}

/// `network`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// `allowedDomains`, host groups (`@npm`) already replaced by their hosts.
    pub allowed_domains: Vec<String>,
    /// `deniedDomains`, the same.
    pub denied_domains: Vec<String>,
    /// `allowUnixSockets`
    pub allow_unix_sockets: Vec<String>,
    /// `allowAllUnixSockets`
    pub allow_all_unix_sockets: bool,
    /// `allowLocalBinding`
    pub allow_local_binding: bool,
    /// `allowLocalOutbound`; unset: the value of `allow_local_binding`.
    pub allow_local_outbound: Option<bool>,
    /// `allowLocalOutboundPorts`, each 1–65535.
    pub allow_local_outbound_ports: Vec<i64>,
    /// `httpProxyPort`; 0: unset.
    pub http_proxy_port: i64,
    /// `socksProxyPort`; 0: unset.
    pub socks_proxy_port: i64,
    /// `upstreamProxy`; empty: unset.
    pub upstream_proxy: String,
    /// `defaultAction`: empty (unset), `deny` or `proxy`.
    pub default_action: String,
}

/// `filesystem`: paths and globs as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filesystem {
    /// `defaultDenyRead`
    pub default_deny_read: bool,
    /// `strictDenyRead`; implies `default_deny_read`.
    pub strict_deny_read: bool,
    /// `wslInterop`; unset: on where WSL's interop is registered.
    pub wsl_interop: Option<bool>,
    /// `allowRead`
    pub allow_read: Vec<String>,
    /// `allowExecute`
    pub allow_execute: Vec<String>,
    /// `denyRead`
    pub deny_read: Vec<String>,
    /// `allowWrite`
    pub allow_write: Vec<String>,
    /// `denyWrite`
    pub deny_write: Vec<String>,
    /// `allowGitConfig`: lifts the write protection of `.git/config`.
    pub allow_git_config: bool,
}

/// `devices`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// `mode`: empty (unset), `auto`, `minimal` or `host`.
    pub mode: String,
    /// `allow`: paths under /dev.
    pub allow: Vec<String>,
}

/// `macos.mach`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Macos {
    /// `lookup`
    pub lookup: Vec<String>,
    /// `register`
    pub register: Vec<String>,
}

/// `command`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// `deny`
    pub deny: Vec<String>,
    /// `allow`
    pub allow: Vec<String>,
    /// `useDefaults`; unset: true.
    pub use_defaults: Option<bool>,
    /// `acceptSharedBinaryCannotRuntimeDeny`
    pub accept_shared_binary_cannot_runtime_deny: Vec<String>,
    /// `runtimeExecPolicy`: empty (unset), `path` or `argv`.
    pub runtime_exec_policy: String,
}

/// `ssh`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ssh {
    /// `allowedHosts`
    pub allowed_hosts: Vec<String>,
    /// `deniedHosts`
    pub denied_hosts: Vec<String>,
    /// `allowedCommands`
    pub allowed_commands: Vec<String>,
    /// `deniedCommands`
    pub denied_commands: Vec<String>,
    /// `allowAllCommands`
    pub allow_all_commands: bool,
    /// `inheritDeny`
    pub inherit_deny: bool,
}
