//! What a policy allows beyond the default: a file that was only found may have come with an untrusted repository.

use super::Policy;

/// Key paths of the settings by which `policy` allows more than `Policy::default()` does.
pub fn loosened(policy: &Policy) -> Vec<&'static str> {
    let Policy { network, filesystem, devices, command, ssh, .. } = policy;
    let rows = [
        ("network.allowedDomains", !network.allowed_domains.is_empty()),
        ("network.allowUnixSockets", !network.allow_unix_sockets.is_empty()),
        ("network.allowAllUnixSockets", network.allow_all_unix_sockets),
        ("network.allowLocalBinding", network.allow_local_binding),
        ("network.allowLocalOutbound", network.allow_local_outbound == Some(true)),
        ("network.allowLocalOutboundPorts", !network.allow_local_outbound_ports.is_empty()),
        ("network.upstreamProxy", !network.upstream_proxy.is_empty()),
        ("filesystem.wslInterop", filesystem.wsl_interop == Some(true)),
        ("filesystem.allowWrite", !filesystem.allow_write.is_empty()),
        ("filesystem.allowGitConfig", filesystem.allow_git_config),
        ("devices.mode", devices.mode == "host"),
        ("devices.allow", !devices.allow.is_empty()),
        ("command.allow", !command.allow.is_empty()),
        ("command.useDefaults", command.use_defaults == Some(false)),
        ("ssh.allowedHosts", !ssh.allowed_hosts.is_empty()),
        ("ssh.allowAllCommands", ssh.allow_all_commands),
    ];
    rows.into_iter().filter(|(_, loose)| *loose).map(|(path, _)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_only_denies_is_not_loose() {
        let mut policy = Policy { allow_pty: true, ..Policy::default() };
        policy.filesystem.deny_read.push("~/.ssh".into());
        policy.filesystem.wsl_interop = Some(false);
        policy.command.use_defaults = Some(true);
        policy.devices.mode = "minimal".into();
        assert!(loosened(&policy).is_empty());
        policy.filesystem.allow_write.push(".".into());
        policy.command.use_defaults = Some(false);
        assert_eq!(loosened(&policy), ["filesystem.allowWrite", "command.useDefaults"]);
    }
}
