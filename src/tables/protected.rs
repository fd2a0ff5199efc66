//! Names that make programs run code by themselves: read-only wherever the sandbox may write. Git's own names depend on
//! the repository: `probe::git`.

/// A protected name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protected {
    /// A file name, or for [`Where::Home`] a path below the home directory.
    pub name: &'static str,
    /// A directory with that name counts, nothing else; otherwise anything but a directory counts.
    pub directory: bool,
    /// Where it is looked for.
    pub place: Where,
    /// Something obeys it in the home directory without being told to: there it must not appear either.
    pub by_itself: bool,
    /// Who runs what it says.
    pub why: &'static str,
}

/// Where a name is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// In the home directory, in every writable directory and in what is below the working directory down to [`DEPTH`].
    Everywhere,
    /// In the home directory only.
    Home,
}

/// How many directories below the working directory a name is looked for.
pub const DEPTH: usize = 3;

/// Not looked into for these names: what packages bring runs anyway, and what counts in `.git` is known by name.
pub const SKIPPED: &[&str] = &["node_modules", ".git"];

/// All of them.
pub const PROTECTED: &[Protected] = &[
    start_up(".gitconfig", "git obeys its aliases, pagers and fsmonitor"),
    file(".gitmodules", "git clones what it names"),
    start_up(".bashrc", "bash runs it"),
    start_up(".bash_profile", "bash runs it at login"),
    start_up(".zshrc", "zsh runs it"),
    start_up(".zprofile", "zsh runs it at login"),
    start_up(".profile", "every login shell runs it"),
    file(".ripgreprc", "rg obeys it, --pre runs a program"),
    file(".mcp.json", "agents start the servers it names"),
    directory(".vscode", "editors run its tasks and settings"),
    directory(".idea", "editors run its run configurations"),
    home_file(".zshenv", "every zsh runs it"),
    home_file(".zlogin", "zsh runs it at login"),
    home_file(".bash_login", "bash runs it at login where there is no .bash_profile"),
    home(".config/git", "git obeys it as it does ~/.gitconfig"),
    home(".config/autostart", "the desktop starts what it names"),
    home(".config/systemd/user", "the service manager starts what it names"),
    home(".config/fence", "fence itself obeys it where no other policy is named"),
    home_file(".fence.jsonc", "as .config/fence"),
    home_file(".fence.json", "as .config/fence"),
];

const fn file(name: &'static str, why: &'static str) -> Protected {
    Protected { name, directory: false, place: Where::Everywhere, by_itself: false, why }
}

const fn start_up(name: &'static str, why: &'static str) -> Protected {
    Protected { name, directory: false, place: Where::Everywhere, by_itself: true, why }
}

const fn directory(name: &'static str, why: &'static str) -> Protected {
    Protected { name, directory: true, place: Where::Everywhere, by_itself: false, why }
}

const fn home(name: &'static str, why: &'static str) -> Protected {
    Protected { name, directory: true, place: Where::Home, by_itself: true, why }
}

const fn home_file(name: &'static str, why: &'static str) -> Protected {
    Protected { name, directory: false, place: Where::Home, by_itself: true, why }
}

/// The names that are protected in one kind of place.
pub fn names(place: Where) -> impl Iterator<Item = &'static str> {
    PROTECTED.iter().filter(move |row| row.place == place).map(|row| row.name)
}
