//! Parent and child file → one: what a child can change is decided by the type of the setting.

use super::fields::{FIELDS, File, Slot};

/// The parent with the child on top; `extends` is used up.
pub fn merge(mut parent: File, mut child: File) -> File {
    for field in &FIELDS {
        match field.slot {
            Slot::Switch(slot) => *slot(&mut parent) |= *slot(&mut child),
            Slot::Choice(slot) => replace(slot(&mut parent), slot(&mut child)),
            Slot::Number(slot) => replace(slot(&mut parent), slot(&mut child)),
            Slot::Text(slot) => replace(slot(&mut parent), slot(&mut child)),
            Slot::Numbers(slot) => append(slot(&mut parent), slot(&mut child)),
            Slot::Texts(slot) => append(slot(&mut parent), slot(&mut child)),
        }
    }
    parent.extends.clear();
    let filesystem = &mut parent.policy.filesystem;
    filesystem.default_deny_read |= filesystem.strict_deny_read;
    parent
}

/// The child's value when it is set.
fn replace<T: Default + PartialEq>(parent: &mut T, child: &mut T) {
    if *child != T::default() {
        *parent = std::mem::take(child);
    }
}

/// The parent's entries, then the child's. Repeated ones are dropped only where two lists meet: one list alone stays as written.
fn append<T: PartialEq>(parent: &mut Vec<T>, child: &mut Vec<T>) {
    let meet = !parent.is_empty() && !child.is_empty();
    let all = std::mem::take(parent).into_iter().chain(std::mem::take(child));
    for item in all {
        if !meet || !parent.contains(&item) {
            parent.push(item);
        }
    }
}
