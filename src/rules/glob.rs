//! Paths and glob patterns of the configuration: what they mean, made absolute, without looking at the file system.
//!
//! `*` and `?` do not cross `/` and match hidden names; `[a-z]`, `[!a-z]`, `[^a-z]`; `{a,b}` where the pattern is a glob
//! at all; `\` takes the meaning away; `**` as a whole component crosses directories, and at the end of a pattern it
//! means the directory itself.

use super::name::Name;
use crate::error::{Failure, Result};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// `{a,b}{c,d}…` multiplies; nobody writes more by hand.
const MOST_BRANCHES: usize = 512;

/// A configured entry is a pattern when it has one of `* ? [ ]`; braces alone are ordinary characters.
pub fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', ']'])
}

/// An entry without wildcards as an absolute path, cleaned lexically: `~` and `~/x` are the home directory, `~user` and
/// `$VAR` mean nothing, the rest is relative to `cwd`.
pub fn normalize(text: &str, cwd: &Path, home: Option<&Path>) -> PathBuf {
    let mut components = Vec::new();
    for component in split(text.as_bytes(), cwd, home) {
        push_clean(&mut components, component.0, |name| name.to_vec());
    }
    join(components.iter().map(Vec::as_slice))
}

/// The directories that a list has as `dir/**`.
pub fn trees(list: &[String], cwd: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let globs =
        list.iter().filter(|entry| is_glob(entry)).filter_map(|entry| Glob::parse(entry, cwd, home).ok());
    globs.filter_map(|glob| glob.tree()).collect()
}

/// A pattern, ready to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    branches: Vec<Branch>,
}

/// One way through the braces of a pattern: components from the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The components, `/` is none.
    pub steps: Vec<Step>,
    /// The pattern ended in `/**`: a directory with all that is in it.
    pub tree: bool,
    /// No symbolic link is followed and no kernel state searched for it; built-in rules only.
    pub plain: bool,
}

/// A component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// `**` stands before it: any directories may come between.
    pub deep: bool,
    /// The name wanted.
    pub name: Name,
}

impl Glob {
    /// Reads a pattern and makes it absolute as [`normalize`] does. A malformed one is an error: a deny rule that never
    /// matches would open the door.
    pub fn parse(text: &str, cwd: &Path, home: Option<&Path>) -> Result<Glob> {
        let wrong = |why| Failure::new(format!("{text:?} is not a valid pattern: {why}"));
        let mut branches = Vec::new();
        for plain in expand_braces(text.as_bytes()).map_err(wrong)? {
            let branch = Branch::parse(&plain, cwd, home).map_err(wrong)?;
            if !branches.contains(&branch) {
                branches.push(branch);
            }
        }
        Ok(Glob { branches })
    }

    /// Hidden names in the directories below `top`, down to `depth` levels; what is below a directory named as in `except`
    /// does not count. For built-in rules.
    pub fn hidden_below(top: &Path, depth: usize, except: &'static [&'static str]) -> Glob {
        let step = |name| Step { deep: false, name };
        let names = || top.as_os_str().as_bytes().split(|b| *b == b'/').filter(|name| !name.is_empty());
        let branch = |level| {
            let above = names().map(|name| step(Name::Literal(name.into())));
            let between = std::iter::repeat_n(step(Name::Except(except)), level);
            let hidden = step(Name::Affix(b".".as_slice().into(), Box::default()));
            Branch { steps: above.chain(between).chain([hidden]).collect(), tree: false, plain: true }
        };
        Glob { branches: (1..=depth).map(branch).collect() }
    }

    /// The ways through the braces.
    pub fn branches(&self) -> &[Branch] {
        &self.branches
    }

    /// Whether the pattern names this absolute path; `dir/**` names all in `dir` too.
    pub fn matches(&self, path: &Path) -> bool {
        self.branches.iter().any(|branch| {
            let (above, exact) = branch.reach(path);
            exact || (branch.tree && above)
        })
    }

    /// The directories of `dir/**`: no search finds them, and they count whether they exist or not.
    pub fn certain(&self) -> impl Iterator<Item = PathBuf> {
        self.branches.iter().filter_map(Branch::certain)
    }

    /// The directory of a pattern `dir/**` that has no other wildcard.
    pub fn tree(&self) -> Option<PathBuf> {
        match self.branches.as_slice() {
            [branch] => branch.certain(),
            _ => None,
        }
    }
}

impl Branch {
    fn parse(text: &[u8], cwd: &Path, home: Option<&Path>) -> std::result::Result<Branch, &'static str> {
        let mut components: Vec<Option<Name>> = Vec::new();
        for (component, literal) in split(text, cwd, home) {
            let name = if literal {
                Some(Name::Literal(component.into()))
            } else if component == b"**" {
                None
            } else {
                Some(Name::parse(component)?)
            };
            push_clean(&mut components, component, |_| name);
        }
        let mut branch = Branch { steps: Vec::new(), tree: false, plain: false };
        for component in components {
            match component {
                None => branch.tree = true,
                Some(name) => {
                    branch.steps.push(Step { deep: branch.tree, name });
                    branch.tree = false;
                }
            }
        }
        Ok(branch)
    }

    /// The directory of `dir/**` (or the root), when there is nothing to search for.
    pub fn certain(&self) -> Option<PathBuf> {
        if !self.tree && !self.steps.is_empty() {
            return None;
        }
        let names = self.steps.iter().map(|step| match &step.name {
            Name::Literal(name) if !step.deep => Some(&**name),
            _ => None,
        });
        Some(join(names.collect::<Option<Vec<_>>>()?.into_iter()))
    }

    /// Whether (the path or one above it, the path itself) takes all steps.
    fn reach(&self, path: &Path) -> (bool, bool) {
        // One flag per number of steps taken: several ways through `**` at once.
        let mut taken = vec![false; self.steps.len() + 1];
        taken[0] = true;
        let mut above = self.steps.is_empty();
        for name in path.as_os_str().as_bytes().split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            let mut next = vec![false; taken.len()];
            for (i, step) in self.steps.iter().enumerate().filter(|(i, _)| taken[*i]) {
                next[i] |= step.deep;
                next[i + 1] |= step.name.matches(name);
            }
            taken = next;
            above |= taken[self.steps.len()];
        }
        (above, taken[self.steps.len()])
    }
}

/// The components of an entry from the root, and whether each is literal because it comes from `cwd` or `home`.
fn split<'a>(
    text: &'a [u8],
    cwd: &'a Path,
    home: Option<&'a Path>,
) -> impl Iterator<Item = (&'a [u8], bool)> {
    let (base, rest): (Option<&Path>, &[u8]) = match (text, home) {
        (b"~", Some(home)) => (Some(home), b""),
        ([b'~', b'/', rest @ ..], Some(home)) => (Some(home), rest),
        ([b'/', ..], _) => (None, text),
        _ => (Some(cwd), text),
    };
    let base = base.unwrap_or(Path::new("")).as_os_str().as_bytes();
    base.split(|b| *b == b'/').map(|c| (c, true)).chain(rest.split(|b| *b == b'/').map(|c| (c, false)))
}

/// Adds a component unless it is empty or `.`; `..` takes the one before away.
fn push_clean<T>(components: &mut Vec<T>, name: &[u8], make: impl FnOnce(&[u8]) -> T) {
    match name {
        b"" | b"." => {}
        b".." => _ = components.pop(),
        name => components.push(make(name)),
    }
}

fn join<'a>(names: impl Iterator<Item = &'a [u8]>) -> PathBuf {
    let mut path = OsString::from_vec(vec![b'/']);
    for (i, name) in names.enumerate() {
        if i > 0 {
            path.push("/");
        }
        path.push(OsStr::from_bytes(name));
    }
    path.into()
}

/// `a{b,c}d` → `abd`, `acd`; nested and repeated braces multiply.
fn expand_braces(text: &[u8]) -> std::result::Result<Vec<Vec<u8>>, &'static str> {
    let mut todo = vec![text.to_vec()];
    let mut done = Vec::new();
    while let Some(next) = todo.pop() {
        match first_braces(&next)? {
            None => done.push(next),
            Some((open, commas, close)) => {
                let mut start = open + 1;
                for end in commas.into_iter().chain([close]) {
                    todo.push([&next[..open], &next[start..end], &next[close + 1..]].concat());
                    start = end + 1;
                }
            }
        }
        if todo.len() + done.len() > MOST_BRANCHES {
            return Err("its braces make too many alternatives");
        }
    }
    done.reverse();
    Ok(done)
}

/// Where the first `{` is, its commas and its `}`.
type Braces = (usize, Vec<usize>, usize);

/// Finds the first pair of braces that is neither escaped nor in a class.
fn first_braces(text: &[u8]) -> std::result::Result<Option<Braces>, &'static str> {
    let mut open = None;
    let mut commas = Vec::new();
    let mut depth = 0;
    let mut i = 0;
    while i < text.len() {
        match (text[i], open) {
            (b'\\', _) => i += 1,
            (b'[', _) => i = class_end(text, i),
            (b'{', _) => {
                depth += 1;
                open = open.or(Some(i));
            }
            (b'}', Some(open)) if depth == 1 => return Ok(Some((open, commas, i))),
            (b'}', Some(_)) => depth -= 1,
            (b',', Some(_)) if depth == 1 => commas.push(i),
            _ => {}
        }
        i += 1;
    }
    if open.is_some() { Err("a '{' without its '}' (write \\{ for the character itself)") } else { Ok(None) }
}

/// The index of the `]` that closes the class at `open`; `open` itself when nothing does.
fn class_end(text: &[u8], open: usize) -> usize {
    let mut i = open + 1 + usize::from(matches!(text.get(open + 1), Some(b'!' | b'^')));
    let first = i;
    while i < text.len() {
        match text[i] {
            b'\\' => i += 1,
            b']' if i > first => return i,
            _ => {}
        }
        i += 1;
    }
    open
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops on what it does not expect")]
mod tests {
    use super::*;

    const CWD: &str = "/w";

    fn parse(text: &str) -> Glob {
        Glob::parse(text, Path::new(CWD), Some(Path::new("/home/u"))).unwrap()
    }

    #[test]
    fn whole_paths() {
        let rows: &[(&str, &str, bool)] = &[
            ("**/*.key", "/w/a.key", true),
            ("**/*.key", "/w/a/b/.c.key", true),
            ("**/*.key", "/v/a.key", false),
            ("*.key", "/w/a/a.key", false),
            ("~/**/.env", "/home/u/p/.env", true),
            ("/a/**/b/**/c", "/a/x/b/c", true),
            ("/a/**/b/**/c", "/a/x/c", false),
            ("/a/**/b/**/c", "/a/b/b/y/c", true),
            ("sub/**", "/w/sub/deep/x", true),
            ("sub/**", "/w/sub", true),
            ("**/sub/**", "/w/a/sub/x", true),
            ("**", "/w/x", true),
            ("**", "/v", false),
            ("/**", "/anything", true),
            ("./a/../[bc]/*", "/w/c/x", true),
            ("{x,*}/{p,q}.rs", "/w/any/q.rs", true),
            ("src/{a/b,c}/*.rs", "/w/src/a/b/x.rs", true),
            ("{a,{b,c}}*", "/w/c1", true),
            ("\\{a,b\\}*", "/w/{a,b}x", true),
            ("[{]a,*", "/w/{a,b", true),
            ("a]{,2}", "/w/a]2", true),
        ];
        for (pattern, path, expected) in rows {
            assert_eq!(parse(pattern).matches(Path::new(path)), *expected, "{pattern} {path}");
        }
        assert!(!parse("**/*.d").matches(Path::new("/w/x.d/file")));
    }

    #[test]
    fn wildcards_in_the_working_directory_are_literal() {
        let glob = Glob::parse("*.rs", Path::new("/w/[a]{b,c}*"), None).unwrap();
        assert!(glob.matches(Path::new("/w/[a]{b,c}*/x.rs")));
        assert!(!glob.matches(Path::new("/w/ab/x.rs")));
        let no_home = Glob::parse("~/*.rs", Path::new("/w"), None).unwrap();
        assert!(no_home.matches(Path::new("/w/~/x.rs")));
    }

    #[test]
    fn malformed_patterns_are_errors() {
        let failure = Glob::parse("src/[ab", Path::new("/w"), None).unwrap_err();
        assert_eq!(
            failure.to_string(),
            "\"src/[ab\" is not a valid pattern: a '[' without its ']' (write \\[ for the character itself)"
        );
        assert!(Glob::parse("*.{a,b", Path::new("/w"), None).is_err());
        assert!(Glob::parse(&"{a,b}".repeat(12), Path::new("/w"), None).is_err());
    }

    #[test]
    fn directories_that_need_no_search() {
        assert_eq!(parse("missing/**").tree(), Some("/w/missing".into()));
        assert_eq!(parse("**").tree(), Some("/w".into()));
        assert_eq!(parse("/**").tree(), Some("/".into()));
        assert_eq!(parse("*/**").tree(), None);
        assert_eq!(parse("a\\[/x").tree(), None);
    }
}
