//! What the host says about itself: the files that tell causes apart.

use super::mounts::root_is_a_mount;
use super::{features::in_child, host};
use crate::error::Failure;
use crate::facts::Facts;
use crate::features::cause::{System, cause};
use crate::plan::engine::has_admin;
use std::fs::read_to_string;
use std::path::Path;

/// Reads all of it.
pub(super) fn look(facts: &Facts) -> System {
    let gvisor = read("/proc/version").contains("gVisor");
    let release = host::release();
    System {
        in_fence: std::env::var_os("FENCE_SANDBOX").is_some(),
        admin: has_admin(facts),
        root: facts.uid == 0,
        filtered: read("/proc/self/status").lines().any(|line| line == "Seccomp:\t2"),
        root_is_mount: root_is_a_mount(),
        wsl: facts.wsl_interop || release.to_lowercase().contains("microsoft"),
        wsl_interop: facts.wsl_interop,
        most_user_namespaces: read("/proc/sys/user/max_user_namespaces"),
        debian_switch: read("/proc/sys/kernel/unprivileged_userns_clone"),
        apparmor_switch: read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        apparmor: read("/proc/self/attr/apparmor/current"),
        selinux: read("/sys/fs/selinux/enforce"),
        yama: read("/proc/sys/kernel/yama/ptrace_scope"),
        lockdown: read("/sys/kernel/security/lockdown"),
        io_uring: read("/proc/sys/kernel/io_uring_disabled"),
        container: container(gvisor),
        gvisor,
        release,
    }
}

/// A failure of an engine with the reason and the way out, where the kernel's errno does not say them.
pub(super) fn explain(failure: Failure, facts: &Facts) -> Failure {
    match failure.errno {
        Some(errno) if failure.hint.is_none() => {
            let made = in_child(libc::CLONE_NEWUSER as u64, &|| Ok(())).is_ok();
            failure.hint(cause(&look(facts), errno, made).hint(facts.uid == 0))
        }
        _ => failure,
    }
}

fn container(gvisor: bool) -> String {
    let there = |path: &str| Path::new(path).exists();
    match std::env::var("container") {
        _ if gvisor => "gVisor".into(),
        _ if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => "Kubernetes".into(),
        _ if there("/.dockerenv") => "Docker".into(),
        _ if there("/run/.containerenv") => "Podman".into(),
        Ok(kind) if !kind.is_empty() => kind,
        _ => "none".into(),
    }
}

fn read(path: &str) -> String {
    read_to_string(path).unwrap_or_default().trim().trim_end_matches('\0').to_string()
}
