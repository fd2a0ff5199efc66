//! Finding the configuration file, reading it and what it extends, and merging them.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::fields::File;
use super::{Policy, file, lexical, merge, notice, templates};
use crate::error::{Failure, Result};

/// The most steps of `extends` that one run follows.
const MAX_STEPS: usize = 10;

/// What finding a configuration depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Env {
    /// The working directory, absolute.
    pub cwd: PathBuf,
    /// `$HOME`; no look-up in the password file: unset means no user file.
    pub home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`; a relative one does not count.
    pub xdg_config_home: Option<PathBuf>,
}

impl Env {
    /// As this process sees it.
    ///
    /// # Errors
    /// The working directory can't be told.
    pub fn of_process() -> Result<Env> {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cwd = std::env::current_dir().map_err(|e| failure("cannot tell the working directory", &e))?;
        Ok(Env { cwd, home: path("HOME"), xdg_config_home: path("XDG_CONFIG_HOME") })
    }

    /// Where `config init` writes the user's file.
    pub fn user_file(&self) -> Option<PathBuf> {
        Some(self.user_folder()?.join("fence.json"))
    }

    fn user_folder(&self) -> Option<PathBuf> {
        let xdg = self.xdg_config_home.clone().filter(|path| path.is_absolute());
        let base = xdg.or_else(|| Some(self.home.as_ref()?.join(".config")))?;
        Some(base.join("fence"))
    }

    /// The user's files, best first; the last two are where the file used to be.
    fn user_files(&self) -> Vec<PathBuf> {
        let here = self.user_folder().map(|folder| [folder.join("fence.jsonc"), folder.join("fence.json")]);
        let legacy = self.home.as_ref().map(|home| [home.join(".fence.jsonc"), home.join(".fence.json")]);
        here.into_iter().chain(legacy).flatten().collect()
    }

    fn found_user_file(&self) -> Option<PathBuf> {
        self.user_files().into_iter().find(|path| disk::is_file(path))
    }

    /// The nearest project file of the caller's own; one of somebody else (anybody can put a file into /tmp, above the
    /// caller's directory) is passed over with a warning.
    fn found_project_file(&self, warnings: &mut Vec<String>) -> Option<PathBuf> {
        let folders = self.cwd.ancestors();
        let files = folders.flat_map(|folder| [folder.join("fence.jsonc"), folder.join("fence.json")]);
        files.into_iter().filter(|path| disk::is_file(path)).find(|path| {
            let trusted = disk::is_trusted(path);
            if !trusted {
                let path = path.display();
                warnings
                    .push(format!("ignoring {path}: it belongs to another user; name it with -s to use it"));
            }
            trusted
        })
    }
}

/// Where the configuration began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `-s FILE`
    Settings(PathBuf),
    /// `-t NAME`
    Template(String),
    /// Found from the working directory upwards.
    Project(PathBuf),
    /// The user's own file.
    User(PathBuf),
    /// Nothing found; the path is where the user's file would be.
    Default(Option<PathBuf>),
}

/// A configuration ready for use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What holds: the merged settings, `strictDenyRead`'s implication drawn.
    pub policy: Policy,
    /// The merged settings as `config show` prints them.
    pub merged: File,
    /// Where they began.
    pub source: Source,
    /// For people: the source, then each step of `extends`.
    pub chain: Vec<String>,
    /// Every file that was read.
    pub file_paths: Vec<PathBuf>,
    /// What a tolerant reading let pass.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// One line about a project file that nobody named and that allows more than the default: it may have come
    /// with an untrusted repository.
    pub fn notice(&self) -> Option<String> {
        let Source::Project(path) = &self.source else { return None };
        let loose = notice::loosened(&self.policy);
        let path = path.display();
        (!loose.is_empty()).then(|| {
            format!(
                "using {path}, found here and not named by -s, which allows more than the default: {}",
                loose.join(", ")
            )
        })
    }
}

/// Finds, reads and merges the configuration. A template wins over a settings file.
///
/// # Errors
/// A named file or template that is not there, a file that can't be read or holds a mistake, `extends` that leads
/// nowhere, in a circle or too far.
pub fn load(
    settings: Option<&OsStr>,
    template: Option<&str>,
    env: &Env,
    allow_degraded: bool,
) -> Result<Loaded> {
    let mut warnings = Vec::new();
    let source = match (template, settings) {
        (Some(name), _) => Source::Template(name.strip_suffix(".json").unwrap_or(name).to_string()),
        (None, Some(path)) => Source::Settings(named(path, env)?),
        (None, None) => discover(env, &mut warnings),
    };
    let mut loader = Loader {
        env,
        tolerant: allow_degraded,
        chain: vec![],
        file_paths: vec![],
        real_paths: vec![],
        based: false,
        warnings,
        named: if let Source::Settings(path) = &source { Some(path.clone()) } else { None },
    };
    let root = loader.root(&source)?;
    let merged = loader.resolve(root)?;
    if let (Source::Project(path), Some(user), false) = (&source, env.found_user_file(), loader.based) {
        let (path, user) = (path.display(), user.display());
        loader.warnings.push(format!("using {path}, found here, instead of your own {user}"));
    }
    let mut policy = merged.policy.clone();
    policy.filesystem.default_deny_read |= policy.filesystem.strict_deny_read;
    let Loader { chain, file_paths, warnings, .. } = loader;
    Ok(Loaded { policy, merged, source, chain, file_paths, warnings })
}

/// The file that `-s` names, absolute.
fn named(settings: &OsStr, env: &Env) -> Result<PathBuf> {
    let path = lexical::clean(&env.cwd.join(settings));
    match disk::is_directory(&path) {
        Ok(false) => Ok(path),
        Ok(true) => Err(Failure::new(format!("settings path is a directory: {}", path.display()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(Failure::new(format!("settings file not found: {}", path.display())))
        }
        Err(e) => Err(failure(format!("cannot read settings file {}", path.display()), &e)),
    }
}

/// The nearest project file, else the user's.
fn discover(env: &Env, warnings: &mut Vec<String>) -> Source {
    let project = env.found_project_file(warnings).map(Source::Project);
    let user = || env.found_user_file().map(Source::User);
    project.or_else(user).unwrap_or_else(|| Source::Default(env.user_file()))
}

/// A file and the directory that its `extends` is relative to.
struct Layer {
    file: File,
    folder: PathBuf,
}

/// The words around a mistake in a file, by what the file is read for.
struct Wording {
    stage: String,
    syntax: String,
    content: String,
}

impl Wording {
    fn new(stage: String) -> Self {
        let (syntax, content) = ("invalid JSON in config file".into(), "invalid configuration".into());
        Wording { stage, syntax, content }
    }

    fn extends(name: &str) -> Self {
        Wording {
            stage: "failed to resolve extends".into(),
            syntax: format!("invalid JSON in extends file {name:?}"),
            content: format!("invalid configuration in extends file {name:?}"),
        }
    }
}

struct Loader<'e> {
    env: &'e Env,
    tolerant: bool,
    chain: Vec<String>,
    file_paths: Vec<PathBuf>,
    real_paths: Vec<PathBuf>,
    based: bool,
    warnings: Vec<String>,
    /// The file that `-s` names: it may be a pipe.
    named: Option<PathBuf>,
}

impl Loader<'_> {
    fn root(&mut self, source: &Source) -> Result<Layer> {
        let (label, path) = match source {
            Source::Template(name) => {
                let context =
                    |e| Failure::new(format!("failed to load template: {e}")).hint(templates::SEE_LIST);
                return self.template(name).map_err(context);
            }
            Source::Default(path) => {
                self.chain.push(no_file("builtin default", path.as_deref()));
                return Ok(Layer { file: File::default(), folder: self.env.cwd.clone() });
            }
            Source::Settings(path) => ("settings file", path),
            Source::Project(path) => ("project config", path),
            Source::User(path) => ("user config", path),
        };
        self.chain.push(format!("{label}: {}", path.display()));
        self.read(path, &Wording::new("failed to load config".into()))
    }

    /// Follows `extends` to its end, then merges back from there.
    fn resolve(&mut self, root: Layer) -> Result<File> {
        let mut folder = root.folder;
        let mut last = root.file;
        let mut children = Vec::new();
        while !last.extends.is_empty() {
            if children.len() == MAX_STEPS {
                return Err(extends_failure(format!("extends chain too deep (max {MAX_STEPS})")));
            }
            let parent = self.parent(&last.extends, &folder)?;
            folder = parent.folder;
            children.push(std::mem::replace(&mut last, parent.file));
        }
        Ok(children.into_iter().rev().fold(last, merge::merge))
    }

    fn parent(&mut self, name: &str, folder: &Path) -> Result<Layer> {
        if name == "@base" {
            self.base()
        } else if name.contains(['/', '\\']) || name.starts_with('.') {
            self.extended_file(name, folder)
        } else {
            self.template(name).map_err(extends_failure)
        }
    }

    fn base(&mut self) -> Result<Layer> {
        if std::mem::replace(&mut self.based, true) {
            return Err(circular("@base"));
        }
        let Some(path) = self.env.found_user_file() else {
            self.chain.push(no_file("@base builtin default", self.env.user_file().as_deref()));
            return Ok(Layer { file: File::default(), folder: self.env.cwd.clone() });
        };
        self.chain.push(format!("@base user config: {}", path.display()));
        if self.real_paths.contains(&disk::real(&path)) {
            return Err(circular("@base"));
        }
        self.read(&path, &Wording::new("failed to resolve extends: failed to load @base config".into()))
    }

    fn extended_file(&mut self, name: &str, folder: &Path) -> Result<Layer> {
        let path = lexical::clean(&folder.join(name));
        if self.real_paths.contains(&disk::real(&path)) {
            return Err(circular(name));
        }
        let own = self.env.user_files().contains(&path);
        self.chain.push(format!("{}: {}", if own { "user config" } else { "file" }, path.display()));
        if disk::is_missing(&path) {
            return Err(extends_failure(format!("extends file not found: {name:?}")));
        }
        let bytes = self.bytes(&path, "failed to resolve extends")?;
        if bytes.trim_ascii().is_empty() {
            return Err(extends_failure(format!("extends file is empty: {name:?}")));
        }
        self.layer(&path, &bytes, &Wording::extends(name))
    }

    fn template(&mut self, name: &str) -> Result<Layer> {
        let template = templates::find(name)?;
        let label = format!("builtin template: {}", template.name);
        let wording = Wording::new("failed to load a built-in template".into());
        let file = self.parse(&label, template.text.as_bytes(), &wording)?;
        self.chain.push(label);
        Ok(Layer { file, folder: self.env.cwd.clone() })
    }

    fn read(&mut self, path: &Path, wording: &Wording) -> Result<Layer> {
        let bytes = self.bytes(path, &wording.stage)?;
        self.layer(path, &bytes, wording)
    }

    fn bytes(&mut self, path: &Path, stage: &str) -> Result<Vec<u8>> {
        self.real_paths.push(disk::real(path));
        self.file_paths.push(path.to_path_buf());
        let named = self.named.as_deref() == Some(path);
        if !named && !disk::is_small_file(path) {
            return Err(Failure::new(format!("{stage}: {} is no file of at most 16 MiB", path.display())));
        }
        disk::read(path).map_err(|e| failure(format!("{stage}: cannot read {}", path.display()), &e))
    }

    fn layer(&mut self, path: &Path, bytes: &[u8], wording: &Wording) -> Result<Layer> {
        let file = self.parse(&path.display().to_string(), bytes, wording)?;
        let folder = path.parent().unwrap_or(Path::new("/")).to_path_buf();
        Ok(Layer { file, folder })
    }

    fn parse(&mut self, name: &str, bytes: &[u8], wording: &Wording) -> Result<File> {
        let read = file::read_bytes(name, bytes, self.tolerant).map_err(|mistake| {
            let message = mistake.message(&wording.syntax, &wording.content);
            Failure::new(format!("{}: {message}", wording.stage))
        })?;
        self.warnings.extend(read.warnings);
        Ok(read.file)
    }
}

fn no_file(what: &str, path: Option<&Path>) -> String {
    match path {
        Some(path) => format!("{what} (no config loaded from {})", path.display()),
        None => format!("{what} (no config loaded: HOME is not set)"),
    }
}

fn extends_failure(what: impl std::fmt::Display) -> Failure {
    Failure::new(format!("failed to resolve extends: {what}"))
}

fn circular(name: &str) -> Failure {
    extends_failure(format!("circular extends detected: {name:?}"))
}

fn failure(what: impl Into<String>, error: &io::Error) -> Failure {
    let failure = Failure::new(what);
    match error.raw_os_error() {
        Some(errno) => failure.errno(errno),
        None => failure,
    }
}

/// The policy that FENCE_CONFIG_JSON holds, for `--landlock-apply`; the default when it is not set.
///
/// # Errors
/// A mistake in it.
pub fn from_environment() -> Result<Policy> {
    let text = std::env::var_os("FENCE_CONFIG_JSON").unwrap_or_default();
    let read = file::read_bytes("FENCE_CONFIG_JSON", text.as_encoded_bytes(), false);
    let reading =
        read.map_err(|mistake| Failure::new(mistake.message("invalid JSON", "invalid configuration")))?;
    Ok(reading.file.policy)
}

/// Everything that looks at the disk.
mod disk {
    use std::path::{Path, PathBuf};
    use std::{fs, io};

    /// A regular file, or a link to one.
    pub(super) fn is_file(path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|data| data.is_file())
    }

    /// It belongs to the caller, to root, or to whoever called sudo.
    pub(super) fn is_trusted(path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        let own = rustix::process::geteuid().as_raw();
        let sudo = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok()).filter(|_| own == 0);
        fs::metadata(path).is_ok_and(|data| [Some(own), Some(0), sudo].contains(&Some(data.uid())))
    }

    /// What a file that nobody named may be: a device or a pipe could be read for ever.
    pub(super) fn is_small_file(path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|data| data.is_file() && data.len() <= 16 << 20)
    }

    pub(super) fn is_directory(path: &Path) -> io::Result<bool> {
        fs::metadata(path).map(|data| data.is_dir())
    }

    pub(super) fn is_missing(path: &Path) -> bool {
        fs::metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
    }

    pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    /// With links resolved, so that one file under two names is seen to be one.
    pub(super) fn real(path: &Path) -> PathBuf {
        fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
    }
}
