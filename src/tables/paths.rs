//! Paths that mean something by themselves, each list with its reason.

/// Files that programs run or obey by themselves; kept read-only in the working directory, the home directory and every
/// writable directory.
pub const PROTECTED_FILES: &[&str] = &[
    ".gitconfig",
    ".gitmodules",
    ".bashrc",
    ".bash_profile",
    ".zshrc",
    ".zprofile",
    ".profile",
    ".ripgreprc",
    ".mcp.json",
];

/// Directories whose files editors run by themselves.
pub const PROTECTED_DIRECTORIES: &[&str] = &[".vscode", ".idea"];

/// Directories of the home directory from which git, the desktop and the service manager start programs.
pub const HOME_DIRECTORIES: &[&str] = &[".config/git", ".config/autostart", ".config/systemd/user"];

/// Readable under `defaultDenyRead` without being named: what a program needs to start.
pub const DEFAULT_READ: &[&str] =
    &["/bin", "/sbin", "/usr", "/lib", "/lib64", "/etc", "/sys", "/opt", "/usr/local", "/nix", "/snap"];

/// The same below the home directory: tool chains that people install for themselves.
pub const DEFAULT_READ_HOME: &[&str] = &[
    ".nvm",
    ".fnm",
    ".volta",
    ".n",
    ".pyenv",
    ".local/pipx",
    ".rbenv",
    ".rvm",
    ".cargo/bin",
    ".rustup",
    "go/bin",
    ".go",
    ".local/bin",
    "bin",
    ".bun/bin",
    ".deno/bin",
];
