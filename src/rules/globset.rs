//! All patterns of a run as one automaton over file names: a directory is in a *set* of states, a name leads to the set
//! of its children. Sets are made as they are met and numbered, so a walk carries one number per directory.

use super::glob::Glob;
use super::name::Name;
use crate::map::Map;

/// A set of states; [`NOTHING`] is the empty one.
pub type SetId = u32;

/// The set from which nothing can match.
pub const NOTHING: SetId = 0;

/// A place in a branch: the step that is wanted next.
type State = u32;

/// What a name does in a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Move {
    /// The set for what is in the directory of that name.
    pub all: SetId,
    /// The same without what `**` carries on and without built-in rules: only patterns that asked for this very name.
    pub named: SetId,
}

/// A pattern that a name completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Index of the pattern.
    pub glob: usize,
    /// Only a directory counts.
    pub tree: bool,
}

/// The automaton.
#[derive(Debug, Default)]
pub struct GlobSet {
    steps: Vec<FlatStep>,
    sets: Vec<Set>,
    numbers: Map<Box<[State]>, SetId>,
    /// All states of built-in rules.
    plain: SetId,
    /// States that the current name moves on; kept to allocate once.
    moved: Vec<State>,
}

#[derive(Debug)]
struct FlatStep {
    deep: bool,
    name: Name,
    /// What taking the step completes; the next state otherwise.
    last: Option<Hit>,
}

#[derive(Debug)]
struct Set {
    states: Box<[State]>,
    stay: SetId,
    tests: Tests,
}

/// One test of a name for all states of a set.
#[derive(Debug, Default)]
struct Tests {
    literals: Map<Box<[u8]>, Vec<State>>,
    prefixes: Vec<(Box<[u8]>, State)>,
    suffixes: Vec<(Box<[u8]>, State)>,
    others: Vec<State>,
    /// First bytes of the literals and prefixes.
    first: Bytes,
    /// Last bytes of the suffixes.
    last: Bytes,
    /// No state has a wildcard: the literals are all that can match.
    exact: bool,
}

/// A set of bytes: most names are turned away by it.
#[derive(Clone, Copy, Debug, Default)]
struct Bytes([u64; 4]);

impl Bytes {
    fn add(&mut self, byte: Option<&u8>) {
        if let Some(byte) = byte {
            self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
        }
    }

    fn has(&self, byte: Option<&u8>) -> bool {
        byte.is_some_and(|byte| self.0[usize::from(byte >> 6)] & (1 << (byte & 63)) != 0)
    }
}

impl GlobSet {
    /// Builds the automaton, and the set in which the root directory is. Directories that are certain are left out: there
    /// is nothing to search for.
    pub fn new<'a>(globs: impl IntoIterator<Item = &'a Glob>) -> (GlobSet, SetId) {
        let mut this = GlobSet::default();
        let (mut start, mut plain) = (Vec::new(), Vec::new());
        this.intern(Vec::new());
        for (glob, branch) in
            globs.into_iter().enumerate().flat_map(|(i, g)| g.branches().iter().map(move |b| (i, b)))
        {
            let steps = branch.steps.len();
            if branch.certain().is_some() {
                continue;
            }
            let first = this.steps.len() as State;
            start.push(first);
            plain.extend((first..first + steps as State).filter(|_| branch.plain));
            this.steps.extend(branch.steps.iter().enumerate().map(|(i, step)| FlatStep {
                deep: step.deep,
                name: step.name.clone(),
                last: (i + 1 == steps).then_some(Hit { glob, tree: branch.tree }),
            }));
        }
        this.plain = this.intern(plain);
        let start = this.intern(start);
        (this, start)
    }

    /// What `name` does in `set`: adds the patterns it completes to `hits`, and finds the sets below it when
    /// `directory` says that it may have something below.
    pub fn step(&mut self, set: SetId, name: &[u8], directory: bool, hits: &mut Vec<Hit>) -> Move {
        let Set { stay, tests, .. } = &self.sets[set as usize];
        let stay = *stay;
        self.moved.clear();
        tests.run(name, directory, &self.steps, &mut self.moved);
        if self.moved.is_empty() {
            return Move { all: stay, named: NOTHING };
        }
        let mut next = Vec::new();
        for &state in &self.moved {
            match self.steps[state as usize].last {
                Some(hit) => hits.push(hit),
                None => next.push(state + 1),
            }
        }
        if next.is_empty() || !directory {
            return Move { all: stay, named: NOTHING };
        }
        let next = self.intern(next);
        Move { all: self.union(stay, next), named: self.followed(next) }
    }

    /// The states that go on where a symbolic link leads.
    pub fn followed(&mut self, set: SetId) -> SetId {
        self.without(set, self.plain)
    }

    /// Only names that the set asks for literally can match: such a directory need not be read.
    pub fn exact(&self, set: SetId) -> bool {
        self.sets[set as usize].tests.exact
    }

    /// The names that states of this set ask for literally.
    pub fn literal_names(&self, set: SetId) -> Vec<Box<[u8]>> {
        self.sets[set as usize].tests.literals.keys().cloned().collect()
    }

    /// The states of both.
    pub fn union(&mut self, a: SetId, b: SetId) -> SetId {
        if a == b || b == NOTHING {
            return a;
        }
        if a == NOTHING {
            return b;
        }
        let both = [&*self.sets[a as usize].states, &*self.sets[b as usize].states].concat();
        self.intern(both)
    }

    /// The states of `a` that are not in `b`. What matches below a directory is the union over its states, so a
    /// directory that was walked with `b` needs only these.
    pub fn without(&mut self, a: SetId, b: SetId) -> SetId {
        if a == NOTHING || b == NOTHING {
            return a;
        }
        let known = &self.sets[b as usize].states;
        let states = self.sets[a as usize]
            .states
            .iter()
            .filter(|s| known.binary_search(s).is_err())
            .copied()
            .collect();
        self.intern(states)
    }

    fn intern(&mut self, mut states: Vec<State>) -> SetId {
        crate::order::set(&mut states);
        if let Some(number) = self.numbers.get(&*states) {
            return *number;
        }
        let number = self.sets.len() as SetId;
        let mut tests = Tests { exact: true, ..Tests::default() };
        for &state in &states {
            tests.add(state, &self.steps[state as usize]);
        }
        let states: Box<[State]> = states.into();
        self.numbers.insert(states.clone(), number);
        let stay: Vec<State> = states.iter().copied().filter(|s| self.steps[*s as usize].deep).collect();
        let all_stay = stay.len() == states.len();
        self.sets.push(Set { states, stay: number, tests });
        if !all_stay {
            self.sets[number as usize].stay = self.intern(stay);
        }
        number
    }
}

impl Tests {
    fn add(&mut self, state: State, step: &FlatStep) {
        self.exact &= !step.deep && matches!(step.name, Name::Literal(_));
        match &step.name {
            Name::Literal(name) => {
                self.first.add(name.first());
                self.literals.get_or_insert(name.clone(), Vec::new()).push(state);
            }
            Name::Affix(prefix, _) if !prefix.is_empty() => {
                self.first.add(prefix.first());
                self.prefixes.push((prefix.clone(), state));
            }
            Name::Affix(_, suffix) if !suffix.is_empty() => {
                self.last.add(suffix.last());
                self.suffixes.push((suffix.clone(), state));
            }
            _ => self.others.push(state),
        }
    }

    /// Adds the states that `name` moves on. What leads to more is left out where nothing is below.
    fn run(&self, name: &[u8], directory: bool, steps: &[FlatStep], moved: &mut Vec<State>) {
        if self.first.has(name.first()) {
            moved.extend(self.literals.get(name).into_iter().flatten());
            let fits = |(prefix, state): &&(Box<[u8]>, State)| {
                name.starts_with(prefix) && steps[*state as usize].name.matches(name)
            };
            moved.extend(self.prefixes.iter().filter(fits).map(|(_, state)| state));
        }
        if self.last.has(name.last()) {
            moved.extend(self.suffixes.iter().filter(|(s, _)| name.ends_with(s)).map(|(_, state)| state));
        }
        let counts = |step: &FlatStep| (directory || step.last.is_some()) && step.name.matches(name);
        moved.extend(self.others.iter().filter(|state| counts(&steps[**state as usize])));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops on what it does not expect")]
mod tests {
    use super::*;
    use std::path::Path;

    /// Fixed seed: a failure can be repeated.
    struct Xorshift(u64);

    impl Xorshift {
        fn below(&mut self, n: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % n as u64) as usize
        }

        fn text(&mut self, pieces: &[&str], most: usize) -> String {
            (0..=self.below(most)).map(|_| pieces[self.below(pieces.len())]).collect()
        }
    }

    /// Which patterns the automaton takes `path` for, stepping name by name as a walk does.
    fn walked(set: &mut GlobSet, start: SetId, path: &str, count: usize) -> Vec<bool> {
        let mut found = vec![false; count];
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        let mut at = start;
        for (i, name) in names.iter().enumerate() {
            let mut hits = Vec::new();
            at = set.step(at, name.as_bytes(), true, &mut hits).all;
            for hit in hits {
                found[hit.glob] |= hit.tree || i + 1 == names.len();
            }
        }
        found
    }

    #[test]
    fn the_automaton_agrees_with_the_matcher() {
        let pieces =
            ["a", "b", "ab", ".", "*", "?", "[ab]", "[!a]", "/", "/", "/**/", "**/", "{a,b/a}", "\\*"];
        let names = ["a", "b", "c", "ab", ".", "*", "/", "/"];
        let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
        let mut matched = 0;
        for _ in 0..1500 {
            let texts: Vec<String> = (0..8).map(|_| format!("/{}", random.text(&pieces, 7))).collect();
            let globs: Vec<Glob> =
                texts.iter().map(|t| Glob::parse(t, Path::new("/w"), None).unwrap()).collect();
            let (mut set, start) = GlobSet::new(&globs);
            for _ in 0..20 {
                let path = format!("/{}", random.text(&names, 9));
                let clean = crate::rules::glob::normalize(&path, Path::new("/w"), None);
                let clean = clean.to_str().unwrap();
                let found = walked(&mut set, start, clean, globs.len());
                for (i, glob) in globs.iter().enumerate() {
                    let certain = glob.branches().iter().any(|branch| {
                        branch.certain().is_some_and(|dir| {
                            if branch.tree {
                                Path::new(clean).starts_with(&dir)
                            } else {
                                Path::new(clean) == dir
                            }
                        })
                    });
                    assert_eq!(found[i] || certain, glob.matches(Path::new(clean)), "{} {clean}", texts[i]);
                    matched += usize::from(found[i]);
                }
            }
        }
        assert!(matched > 5000, "the inputs are too unlike: {matched}");
    }

    #[test]
    fn literal_prefixes_are_not_searched() {
        let globs = [Glob::parse("/a/b/*.c", Path::new("/"), None).unwrap()];
        let (mut set, start) = GlobSet::new(&globs);
        assert!(set.exact(start));
        assert_eq!(set.literal_names(start), [b"a".as_slice().into()]);
        let below = set.step(start, b"a", true, &mut Vec::new());
        assert!(set.exact(below.all));
        let last = set.step(below.all, b"b", true, &mut Vec::new());
        assert!(!set.exact(last.all));
    }

    #[test]
    fn built_in_rules_do_not_follow() {
        let globs = [
            Glob::parse("/w/*/x", Path::new("/"), None).unwrap(),
            Glob::hidden_below(Path::new("/w"), 2, &["skip"]),
        ];
        let (mut set, start) = GlobSet::new(&globs);
        assert_eq!(walked(&mut set, start, "/w/a/.x", 2), [false, true]);
        assert_eq!(walked(&mut set, start, "/w/a/b/.x", 2), [false, true]);
        for path in ["/w/.x", "/w/a/b/c/.x", "/w/skip/.x", "/w/a/skip/.x", "/v/a/.x"] {
            assert_eq!(walked(&mut set, start, path, 2), [false, false], "{path}");
        }
        let top = set.step(start, b"w", true, &mut Vec::new()).all;
        let below = set.step(top, b"a", true, &mut Vec::new());
        assert_ne!(below.all, below.named);
        assert_eq!(set.followed(below.all), below.named);
        let only = set.step(top, b"skip", true, &mut Vec::new());
        assert_eq!(only.all, only.named);
    }

    #[test]
    fn a_directory_seen_again_needs_only_the_rest() {
        let globs = ["/**/x", "/**/y"].map(|t| Glob::parse(t, Path::new("/"), None).unwrap());
        let (mut set, start) = GlobSet::new(&globs);
        assert_eq!(set.without(start, start), NOTHING);
        assert_eq!(set.without(start, NOTHING), start);
        let one = set.intern(vec![0]);
        let other = set.without(start, one);
        assert_eq!(set.union(one, other), start);
    }
}
