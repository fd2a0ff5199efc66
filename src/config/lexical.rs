//! Paths cleaned as text: `.`, `..` and repeated slashes go, links are not looked at.

use std::path::{Component, Path, PathBuf};

/// `path` without `.`, `x/..` and repeated slashes; `/..` is `/`, and an empty result is `.`.
pub fn clean(path: &Path) -> PathBuf {
    let mut out: Vec<Component<'_>> = Vec::new();
    for component in path.components() {
        match (component, out.last()) {
            (Component::CurDir, _) => {}
            (Component::ParentDir, Some(Component::RootDir)) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => _ = out.pop(),
            (component, _) => out.push(component),
        }
    }
    if out.is_empty() { PathBuf::from(".") } else { out.iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_text() {
        let rows = [
            ("/dev/../etc", "/etc"),
            ("/a//b/./c/", "/a/b/c"),
            ("/..", "/"),
            ("", "."),
            ("a/../..", ".."),
            ("../x", "../x"),
            ("/dev/", "/dev"),
        ];
        for (path, expected) in rows {
            assert_eq!(clean(Path::new(path)), Path::new(expected), "{path}");
        }
    }
}
