//! Why a host refuses namespaces: one errno has many causes, so what the host says about itself tells them apart.

/// What the host says about itself, as its files have it; empty: no such file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// The kernel's release.
    pub release: String,
    /// It is inside a sandbox of fence.
    pub in_fence: bool,
    /// The caller has CAP_SYS_ADMIN.
    pub admin: bool,
    /// The caller is root by number.
    pub root: bool,
    /// The caller is under a seccomp filter already.
    pub filtered: bool,
    /// `/` is a mount point; after a plain chroot it is not.
    pub root_is_mount: bool,
    /// The kernel is gVisor's.
    pub gvisor: bool,
    /// Under WSL.
    pub wsl: bool,
    /// Windows programs are registered there.
    pub wsl_interop: bool,
    /// `user.max_user_namespaces`
    pub most_user_namespaces: String,
    /// Debian's `kernel.unprivileged_userns_clone`
    pub debian_switch: String,
    /// Ubuntu's `kernel.apparmor_restrict_unprivileged_userns`
    pub apparmor_switch: String,
    /// The caller's AppArmor profile.
    pub apparmor: String,
    /// 1: SELinux enforces.
    pub selinux: String,
    /// `kernel.yama.ptrace_scope`
    pub yama: String,
    /// The kernel's lockdown.
    pub lockdown: String,
    /// `kernel.io_uring_disabled`
    pub io_uring: String,
    /// Which container this is, or `none`.
    pub container: String,
}

/// What stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An outer sandbox of fence.
    Fence,
    /// gVisor's kernel.
    Gvisor,
    /// `user.max_user_namespaces` is 0.
    None,
    /// A limit of namespaces is reached.
    Limit,
    /// Debian's switch.
    Debian,
    /// A plain chroot.
    Chroot,
    /// A container's seccomp profile.
    Seccomp,
    /// AppArmor's restriction of user namespaces.
    AppArmor,
    /// SELinux.
    Selinux,
    /// The kernel.
    Kernel,
    /// Nothing that is known here.
    Unknown,
}

const EPERM: i32 = 1;
const EACCES: i32 = 13;
const ENOSPC: i32 = 28;

/// Why this errno came. `made`: a user namespace could be made, and what failed came after that.
pub fn cause(system: &System, errno: i32, made: bool) -> Cause {
    let forbidden = errno == EPERM || errno == EACCES;
    if system.in_fence {
        Cause::Fence
    } else if system.gvisor {
        Cause::Gvisor
    } else if errno == ENOSPC {
        if system.most_user_namespaces == "0" { Cause::None } else { Cause::Limit }
    } else if !system.root_is_mount {
        Cause::Chroot
    } else if !forbidden {
        Cause::Kernel
    } else if made && system.apparmor_switch == "1" && !system.admin {
        Cause::AppArmor
    } else if !made && system.debian_switch == "0" && !system.admin {
        Cause::Debian
    } else if system.filtered {
        Cause::Seccomp
    } else if system.selinux == "1" {
        Cause::Selinux
    } else {
        Cause::Unknown
    }
}

impl Cause {
    /// The cause as a part of a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Cause::Fence => "this is inside a sandbox of fence, which lets nobody make another one",
            Cause::Gvisor => "gVisor has only some of the calls",
            Cause::None => "sysctl user.max_user_namespaces is 0",
            Cause::Limit => "a limit on namespaces (sysctl user.max_*_namespaces) is reached",
            Cause::Debian => "sysctl kernel.unprivileged_userns_clone is 0",
            Cause::Chroot => "the root directory is no mount point, as after a plain chroot",
            Cause::Seccomp => {
                "a seccomp filter around fence forbids it, as a container's default profile does"
            }
            Cause::AppArmor => {
                "AppArmor takes the rights of unprivileged user namespaces away \
                 (sysctl kernel.apparmor_restrict_unprivileged_userns is 1)"
            }
            Cause::Selinux => "SELinux enforces a policy that may forbid it",
            Cause::Kernel => "this kernel is too old for it or was built without it",
            Cause::Unknown => "a security module or a container forbids it",
        }
    }

    /// The way out, for who is root or is not.
    pub fn fix(self, root: bool) -> String {
        let takes_root = matches!(self, Cause::None | Cause::Limit | Cause::Debian | Cause::AppArmor);
        let who = if takes_root && !root { "as root: " } else { "" };
        let what = match self {
            Cause::Fence => "nothing is to be done: the outer sandbox holds",
            Cause::Gvisor => "run fence outside of it",
            Cause::None => "sysctl user.max_user_namespaces=10000",
            Cause::Limit => "raise it, to 10000 say",
            Cause::Debian => "sysctl kernel.unprivileged_userns_clone=1",
            Cause::Chroot => "bind-mount it on itself before the chroot, or enter it by pivot_root",
            Cause::Seccomp => {
                "run the container with --cap-add SYS_ADMIN or --security-opt seccomp=unconfined"
            }
            Cause::AppArmor => {
                "fence features --apparmor-profile >/etc/apparmor.d/fence && apparmor_parser -r /etc/apparmor.d/fence"
            }
            Cause::Selinux => {
                "ask who runs this host to allow user namespaces (ausearch -m avc shows the denial)"
            }
            Cause::Kernel => "Linux 3.8 has what is needed, with CONFIG_USER_NS and its kin",
            Cause::Unknown => "ask who runs this host to allow user namespaces",
        };
        format!("{who}{what}")
    }

    /// Both, as a hint.
    pub fn hint(self, root: bool) -> String {
        format!("{}; {}", self.text(), self.fix(root))
    }
}
