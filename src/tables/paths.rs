//! Paths that mean something by themselves, each list with its reason.

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
