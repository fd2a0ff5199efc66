//! A map in ascending order of its keys, and a set. The standard library's trees are 3 KB of code for each type; this is a
//! tenth of that, with the same order and nearly the same cost.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::path::{Path, PathBuf};
use std::slice;

/// Most entries of a chunk: what an insertion moves at most.
const FULL: usize = 256;

/// Entries in order, cut into chunks so that an insertion moves few of them. No chunk is empty.
#[derive(Clone)]
pub struct Map<K, V> {
    chunks: Vec<Vec<(K, V)>>,
}

/// Keys alone.
pub type Set<K> = Map<K, ()>;

/// The entries of a map, or those from a key on.
pub struct Iter<'a, K, V> {
    chunks: slice::Iter<'a, Vec<(K, V)>>,
    chunk: slice::Iter<'a, (K, V)>,
}

/// Where a key is, or where it belongs: chunk and index in it.
type Place = (usize, usize);

/// What a key can be: its order is `Ord`'s, found in a quicker way where there is one.
pub trait Key: Ord {
    /// The order of two keys.
    fn order(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

/// The standard library takes both paths apart; that was a third of a launch's own time. Mostly a byte decides.
impl Key for Path {
    fn order(&self, other: &Path) -> Ordering {
        let (this, that) = (self.as_os_str().as_encoded_bytes(), other.as_os_str().as_encoded_bytes());
        let part = |byte: Option<&u8>| byte.is_some_and(|byte| !matches!(byte, b'/' | b'.'));
        match this.iter().zip(that).position(|(a, b)| a != b) {
            None if this.len() == that.len() => Ordering::Equal,
            // In the same place of the same component, or at the beginning of two.
            Some(at) if part(this.get(at)) && part(that.get(at)) => this[at].cmp(&that[at]),
            _ => self.cmp(other),
        }
    }
}

impl Key for PathBuf {
    fn order(&self, other: &PathBuf) -> Ordering {
        self.as_path().order(other)
    }
}

impl Key for String {}
impl Key for str {}
impl<T: Ord> Key for Vec<T> {}
impl<T: Ord> Key for [T] {}
impl<T: Ord> Key for Box<[T]> {}
impl Key for u32 {}
impl Key for u64 {}
impl<A: Ord, B: Ord> Key for (A, B) {}

impl<K, V> Map<K, V> {
    /// Nothing.
    pub const fn new() -> Map<K, V> {
        Map { chunks: Vec::new() }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// All entries.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter { chunks: self.chunks.iter(), chunk: [].iter() }
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// All values, to change them.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.chunks.iter_mut().flatten().map(|(_, value)| value)
    }

    /// All keys, without the map.
    pub fn into_keys(self) -> impl Iterator<Item = K> {
        self.chunks.into_iter().flatten().map(|(key, _)| key)
    }
}

impl<K: Key, V> Map<K, V> {
    fn find<Q: Key + ?Sized>(&self, key: &Q) -> Result<Place, Place>
    where
        K: Borrow<Q>,
    {
        let after = self.chunks.partition_point(|chunk| chunk[0].0.borrow().order(key).is_le());
        let at = after.saturating_sub(1);
        let Some(chunk) = self.chunks.get(at) else { return Err((0, 0)) };
        match chunk.binary_search_by(|(known, _)| known.borrow().order(key)) {
            Ok(index) => Ok((at, index)),
            Err(index) => Err((at, index)),
        }
    }

    /// The value of a key.
    pub fn get<Q: Key + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let (at, index) = self.find(key).ok()?;
        Some(&self.chunks[at][index].1)
    }

    /// The value of a key, to change it.
    pub fn get_mut<Q: Key + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let (at, index) = self.find(key).ok()?;
        Some(&mut self.chunks[at][index].1)
    }

    /// Whether the key is there.
    pub fn contains_key<Q: Key + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.find(key).is_ok()
    }

    /// The entries of greater keys than this one.
    pub fn after<Q: Key + ?Sized>(&self, key: &Q) -> Iter<'_, K, V>
    where
        K: Borrow<Q>,
    {
        let (at, index) = match self.find(key) {
            Ok((at, index)) => (at, index + 1),
            Err(place) => place,
        };
        let mut chunks = self.chunks.get(at..).unwrap_or_default().iter();
        let chunk = chunks.next().and_then(|chunk| chunk.get(index..)).unwrap_or_default().iter();
        Iter { chunks, chunk }
    }

    /// The value of a key, which gets this one when it is new.
    pub fn get_or_insert(&mut self, key: K, value: V) -> &mut V {
        let (at, index) = match self.find(&key) {
            Ok(place) => place,
            Err(place) => self.put(place, (key, value)),
        };
        &mut self.chunks[at][index].1
    }

    /// Sets the value of a key; whether the key is new.
    pub fn insert(&mut self, key: K, value: V) -> bool {
        match self.find(&key) {
            Ok((at, index)) => {
                self.chunks[at][index].1 = value;
                false
            }
            Err(place) => {
                self.put(place, (key, value));
                true
            }
        }
    }

    /// Puts an entry at its place; the place that it has then.
    fn put(&mut self, (mut at, mut index): Place, entry: (K, V)) -> Place {
        if self.chunks.is_empty() {
            self.chunks.push(Vec::new());
        }
        if self.chunks[at].len() == FULL {
            let upper = self.chunks[at].split_off(FULL / 2);
            self.chunks.insert(at + 1, upper);
            if index > FULL / 2 {
                (at, index) = (at + 1, index - FULL / 2);
            }
        }
        self.chunks[at].insert(index, entry);
        (at, index)
    }

    /// Keeps the entries that `keep` says yes to.
    pub fn retain(&mut self, keep: impl Fn(&K, &V) -> bool) {
        self.chunks.iter_mut().for_each(|chunk| chunk.retain(|(key, value)| keep(key, value)));
        self.chunks.retain(|chunk| !chunk.is_empty());
    }

    /// Takes an entry out.
    pub fn remove<Q: Key + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (at, index) = self.find(key).ok()?;
        let (_, value) = self.chunks[at].remove(index);
        if self.chunks[at].is_empty() {
            self.chunks.remove(at);
        }
        Some(value)
    }
}

impl<K: Key> Set<K> {
    /// Adds a key; whether it is new.
    pub fn add(&mut self, key: K) -> bool {
        self.insert(key, ())
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.chunk.next() {
                return Some((key, value));
            }
            self.chunk = self.chunks.next()?.iter();
        }
    }
}

impl<'a, K, V> IntoIterator for &'a Map<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<K: Key, V> FromIterator<(K, V)> for Map<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Map<K, V> {
        let mut map = Map::new();
        entries.into_iter().for_each(|(key, value)| _ = map.insert(key, value));
        map
    }
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Map<K, V> {
        Map::new()
    }
}

/// How the entries are cut into chunks is nobody's business.
impl<K: PartialEq, V: PartialEq> PartialEq for Map<K, V> {
    fn eq(&self, other: &Map<K, V>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<K: Eq, V: Eq> Eq for Map<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Numbers that look random and are the same in each run.
    fn numbers() -> impl Iterator<Item = u32> {
        std::iter::successors(Some(1_u32), |n| Some(n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)))
            .map(|n| n >> 16)
    }

    #[track_caller]
    fn same(map: &Map<u32, u32>, tree: &BTreeMap<u32, u32>) {
        assert!(map.iter().eq(tree.iter()), "{map:?}\n{tree:?}");
        assert_eq!((map.len(), map.is_empty()), (tree.len(), tree.is_empty()));
        assert!(map.chunks.iter().all(|chunk| (1..=FULL).contains(&chunk.len())));
    }

    #[test]
    fn does_what_the_standard_librarys_tree_does() {
        let (mut map, mut tree) = (Map::new(), BTreeMap::new());
        for (turn, n) in numbers().take(20_000).enumerate() {
            let (key, value) = (n % 3000, n);
            // Grows for the first half and shrinks for the second.
            match (n >> 12, turn < 10_000) {
                (0..3, true) | (0..15, false) => assert_eq!(map.remove(&key), tree.remove(&key)),
                (3, _) => assert_eq!(map.get_or_insert(key, value), tree.entry(key).or_insert(value)),
                _ => assert_eq!(map.insert(key, value), tree.insert(key, value).is_none()),
            }
            assert_eq!(map.get(&n), tree.get(&n));
            assert_eq!(map.get_mut(&key), tree.get_mut(&key));
            assert_eq!(map.contains_key(&value), tree.contains_key(&value));
            if turn % 97 == 0 {
                same(&map, &tree);
                let greater = (std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded);
                assert!(map.after(&key).eq(tree.range(greater)));
            }
        }
        for key in 0..3000 {
            assert_eq!(map.remove(&key), tree.remove(&key));
        }
        same(&map, &tree);
    }

    #[test]
    fn paths_have_the_standard_librarys_order() {
        let pieces = ["/", "a", "ab", ".", "..", "-", "/b", "//", "é", "/.git", "\u{1}", "0"];
        let path = |n: u32| -> PathBuf {
            [n, n / 12, n / 144].map(|n| pieces[n as usize % pieces.len()]).concat().into()
        };
        for (a, b) in numbers().zip(numbers().skip(1)).take(50_000) {
            let (a, b) = (path(a), path(b));
            assert_eq!(a.order(&b), a.cmp(&b), "{a:?} {b:?}");
            let (a, b) = (Path::new("/same").join(&a), Path::new("/same").join(&b));
            assert_eq!(a.order(&b), a.cmp(&b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn order_of_arrival_makes_no_difference() {
        let up: Map<u32, u32> = (0..1000).map(|n| (n, n)).collect();
        let down: Map<u32, u32> = (0..1000).rev().map(|n| (n, n)).collect();
        assert_ne!(up.chunks, down.chunks);
        assert_eq!(up, down);
        assert!(up.keys().eq(down.values()));
        assert!(up.clone().into_keys().eq(0..1000));
    }

    #[test]
    fn values_change_in_place() {
        let mut map: Map<u32, u32> = (0..1000).map(|n| (n, 1)).collect();
        map.values_mut().for_each(|value| *value += 1);
        assert!(map.values().all(|value| *value == 2));
        assert_eq!(*map.get_or_insert(7, 0), 2);
    }

    #[test]
    fn a_set_takes_each_key_once() {
        let mut set = Set::new();
        let names = ["a", "b"].map(String::from);
        assert!(set.add("b".to_string()) && set.add("a".to_string()) && !set.add("b".to_string()));
        assert!(set.keys().eq(&names));
        assert!(set.contains_key("a") && !set.contains_key("c"));
    }
}
