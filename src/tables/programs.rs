//! Programs and the places where they are looked for, each list with its reason.

/// Searched besides PATH: what a program finds that sets a PATH of its own.
pub const DIRECTORIES: [&str; 5] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"];

/// Commands that nearly every script needs: a file that is one of these under another name is not hidden to deny that name.
pub const CRITICAL: [&str; 39] = [
    "cat", "head", "tail", "echo", "sort", "wc", "cut", "tr", "uniq", "[", "basename", "cp", "date",
    "dirname", "env", "false", "id", "ls", "mkdir", "mktemp", "mv", "printf", "pwd", "readlink", "realpath",
    "rmdir", "tee", "test", "touch", "true", "uname", "whoami", "grep", "sed", "awk", "find", "xargs", "sh",
    "bash",
];

/// Programs that are many: the word after their own name says which, `busybox dd`.
pub const MULTICALL: [&str; 4] = ["busybox", "toybox", "coreutils", "sbase-box"];

/// How the file names of dynamic loaders begin: as a command, a loader runs the program that its arguments name.
pub const LOADERS: [&str; 6] = ["ld-linux", "ld-musl-", "ld64.so", "ld.so", "ld-2.", "ld-uClibc"];

/// Options of a dynamic loader that take the next word as their value.
pub const LOADER_VALUES: [&str; 8] = [
    "--library-path",
    "--preload",
    "--audit",
    "--inhibit-rpath",
    "--argv0",
    "--glibc-hwcaps-prepend",
    "--glibc-hwcaps-mask",
    "--enable-hwcaps",
];
