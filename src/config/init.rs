//! `fence config init`: the text of a first configuration file, and putting it on disk without ever leaving half of it.

use crate::json::Json;
use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

const HEADER: &str = "\
// fence configuration. Comments and trailing commas are fine here.
// It adds to what \"extends\" names: lists add up, and what is switched on there stays on.
// See what results with:  fence config show
// See what a run would do: fence plan -- COMMAND
// Built-in templates to extend: fence --list-templates
";

const MINIMAL_HEADER: &str = "\
// fence configuration. Comments and trailing commas are fine here.
// Nothing is allowed yet: no network, no writes outside the private /tmp.
// See what results with: fence config show
";

/// Sections and their lists in a scaffold.
const SCAFFOLD: [(&str, &[&str]); 4] = [
    ("network", &["allowedDomains", "deniedDomains"]),
    ("filesystem", &["allowRead", "allowExecute", "denyRead", "allowWrite", "denyWrite"]),
    ("command", &["deny", "allow"]),
    ("ssh", &["allowedHosts", "deniedHosts", "allowedCommands", "deniedCommands"]),
];

/// The new file's JSON: extending `template` when there is one, with empty lists to fill in for a scaffold.
pub fn document(template: Option<&str>, scaffold: bool) -> String {
    let mut members = Vec::new();
    if let Some(name) = template {
        members.push(("extends".to_string(), Json::str(name)));
    }
    if scaffold {
        members.extend(SCAFFOLD.map(|(section, lists)| {
            let lists = lists.iter().map(|list| (list.to_string(), Json::List(vec![])));
            (section.to_string(), Json::Object(lists.collect()))
        }));
    }
    Json::Object(members).pretty() + "\n"
}

/// The lines above it.
pub fn header(template: Option<&str>) -> &'static str {
    if template.is_some() { HEADER } else { MINIMAL_HEADER }
}

/// Where a file is to be written, held from the moment it was found on: who can change the way to it later, as a sandboxed
/// command can, does not send the file elsewhere.
pub struct Place {
    folder: OwnedFd,
    name: OsString,
}

impl Place {
    /// Finds it, making its directories (0750). A link is followed, so that a file kept elsewhere stays there.
    ///
    /// # Errors
    /// Whatever the kernel says.
    pub fn find(path: &Path) -> io::Result<Place> {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder, flags, Mode::empty())?;
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        Ok(Place { folder, name: name.to_owned() })
    }

    /// Writes a private file (0600) in one step. A link that stands there by now is replaced.
    ///
    /// # Errors
    /// Whatever the kernel says.
    pub fn write(&self, text: &str) -> io::Result<()> {
        let mut draft = self.name.clone();
        draft.push(format!(".{}.new", std::process::id()));
        let written = self
            .write_draft(&draft, text)
            .and_then(|()| Ok(renameat(&self.folder, &draft, &self.folder, &self.name)?));
        if written.is_err() {
            _ = unlinkat(&self.folder, &draft, AtFlags::empty());
        }
        written
    }

    fn write_draft(&self, draft: &OsStr, text: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.folder, draft, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }
}

/// Finds the place and writes there.
///
/// # Errors
/// Whatever the kernel says.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    Place::find(path)?.write(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::file::read;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_written_can_be_read() {
        for (template, scaffold) in [(Some("code"), false), (Some("code"), true), (None, false), (None, true)]
        {
            let text = header(template).to_string() + &document(template, scaffold);
            let reading = read("f", &text, false).unwrap();
            assert_eq!(reading.file.extends, template.unwrap_or_default());
        }
        assert_eq!(document(None, false), "{}\n");
        assert_eq!(document(Some("code"), false), "{\n  \"extends\": \"code\"\n}\n");
    }

    #[test]
    fn what_is_put_in_the_way_later_does_not_lead_elsewhere() {
        let root = std::env::temp_dir().join(format!("fence-place-{}", std::process::id()));
        let (file, other) = (root.join("a/fence.json"), root.join("other"));
        let place = Place::find(&file).unwrap();
        fs::write(&other, "mine").unwrap();
        std::os::unix::fs::symlink(&other, &file).unwrap();
        place.write("1").unwrap();
        assert_eq!(
            (fs::read_to_string(&file).unwrap(), fs::read_to_string(&other).unwrap()),
            ("1".into(), "mine".into())
        );
        fs::rename(root.join("a"), root.join("b")).unwrap();
        fs::create_dir(root.join("c")).unwrap();
        std::os::unix::fs::symlink(root.join("c"), root.join("a")).unwrap();
        place.write("2").unwrap();
        assert_eq!(fs::read_to_string(root.join("b/fence.json")).unwrap(), "2");
        assert_eq!(fs::read_dir(root.join("c")).unwrap().count(), 0);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn the_file_is_private_and_a_link_stays_a_link() {
        let root = std::env::temp_dir().join(format!("fence-init-{}", std::process::id()));
        let (file, link) = (root.join("a/b/fence.json"), root.join("link"));
        write(&file, "1").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, "2").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "2");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(&root.join("a")) & !0o750), (0o600, 0));
        assert_eq!(fs::read_dir(root.join("a/b")).unwrap().count(), 1);
        fs::remove_dir_all(root).unwrap();
    }
}
