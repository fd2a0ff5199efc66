//! stub
use std::path::{Path, PathBuf};
pub fn is_glob(s: &str) -> bool {
    s.contains(['*', '?', '[', ']'])
}
pub fn normalize(entry: &str, cwd: &Path, home: Option<&Path>) -> PathBuf {
    if entry == "." {
        return cwd.to_path_buf();
    }
    if let (Some(rest), Some(home)) = (entry.strip_prefix("~/"), home) {
        return home.join(rest);
    }
    cwd.join(entry)
}
