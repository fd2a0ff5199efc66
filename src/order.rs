//! Lists in ascending order. The standard library's sorts are 4 KB of code for each type; a heap's is a tenth of that, and no list
//! here is sorted often.

use std::collections::BinaryHeap;
use std::mem::take;

/// Sorts a list.
pub fn sort<T: Ord>(list: &mut Vec<T>) {
    *list = BinaryHeap::from(take(list)).into_sorted_vec();
}

/// Sorts a list and keeps one of each.
pub fn set<T: Ord>(list: &mut Vec<T>) {
    sort(list);
    list.dedup();
}

#[cfg(test)]
mod tests {
    #[test]
    fn ascending_and_once() {
        let mut list = vec![3, 1, 2, 3, 1];
        super::set(&mut list);
        assert_eq!(list, [1, 2, 3]);
    }
}
