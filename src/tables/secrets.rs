//! Places in the home directory that hold keys, tokens and passwords: `fence learn` lets nobody read them.

/// Relative to the home directory.
pub const SECRETS: [&str; 22] = [
    // Keys
    ".ssh",
    ".gnupg",
    ".local/share/keyrings",
    ".password-store",
    ".config/sops",
    // Cloud and cluster credentials
    ".aws",
    ".azure",
    ".config/gcloud",
    ".config/doctl",
    ".oci",
    ".kube",
    ".docker/config.json",
    ".terraform.d/credentials.tfrc.json",
    // Tokens and passwords of tools
    ".netrc",
    ".git-credentials",
    ".config/git/credentials",
    ".config/gh",
    ".config/hub",
    ".pypirc",
    ".cargo/credentials.toml",
    ".pgpass",
    ".my.cnf",
];
