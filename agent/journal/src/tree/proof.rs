//! Inclusion and consistency: made from hashes that somebody keeps, checked with nothing but the roots.
//! RFC 9162 §2.1.3 and §2.1.4.

use super::{Hash, node_hash, split};

/// Where the hashes of complete subtrees come from.
pub(crate) trait Nodes {
    type Error;

    /// The root over the 2^`level` leaves from `number` · 2^`level` on.
    fn node(&mut self, level: u32, number: u64) -> Result<Hash, Self::Error>;

    /// The root over the leaves `from..to`, as the tree divides them.
    fn range(&mut self, from: u64, to: u64) -> Result<Hash, Self::Error> {
        let size = to - from;
        if size.is_power_of_two() && from.is_multiple_of(size) {
            return self.node(size.trailing_zeros(), from / size);
        }
        let middle = from + split(size);
        Ok(node_hash(&self.range(from, middle)?, &self.range(middle, to)?))
    }
}

/// The inclusion proof of leaf `index` in the tree of `size` leaves (§2.1.3.1). `index` is below `size`.
pub(crate) fn inclusion<N: Nodes>(nodes: &mut N, index: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    let (mut from, mut to) = (0, size);
    let mut proof = Vec::new();
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            proof.push(nodes.range(middle, to)?);
            to = middle;
        } else {
            proof.push(nodes.range(from, middle)?);
            from = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The consistency proof between the trees of `old` and `new` leaves (§2.1.4.1). `old` is at most `new`; for no leaves,
/// or the same number, it is empty.
pub(crate) fn consistency<N: Nodes>(nodes: &mut N, old: u64, new: u64) -> Result<Vec<Hash>, N::Error> {
    let mut proof = Vec::new();
    if old == 0 || old == new {
        return Ok(proof);
    }
    let (mut from, mut to) = (0, new);
    // Whether the old tree is known by its root so far, so that it need not be said.
    let mut whole = true;
    while old != to {
        let middle = from + split(to - from);
        if old <= middle {
            proof.push(nodes.range(middle, to)?);
            to = middle;
        } else {
            proof.push(nodes.range(from, middle)?);
            from = middle;
            whole = false;
        }
    }
    if !whole {
        proof.push(nodes.range(from, to)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that `leaf` stands at `index` in the tree of `size` leaves and this `root` (§2.1.3.2).
#[must_use]
pub fn check_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut fn_, mut sn, mut hash) = (index, size - 1, *leaf);
    for step in proof {
        if sn == 0 {
            return false;
        }
        if fn_ & 1 == 1 || fn_ == sn {
            hash = node_hash(step, &hash);
            while fn_ & 1 == 0 && fn_ != 0 {
                (fn_, sn) = (fn_ >> 1, sn >> 1);
            }
        } else {
            hash = node_hash(&hash, step);
        }
        (fn_, sn) = (fn_ >> 1, sn >> 1);
    }
    sn == 0 && hash == *root
}

/// Whether `proof` shows that the tree of `new_size` leaves begins with the one of `old_size` (§2.1.4.2).
#[must_use]
pub fn check_consistency(old_size: u64, old_root: &Hash, new_size: u64, new_root: &Hash, proof: &[Hash]) -> bool {
    if old_size > new_size {
        return false;
    }
    if old_size == new_size {
        return proof.is_empty() && old_root == new_root;
    }
    if old_size == 0 {
        return proof.is_empty() && *old_root == super::empty_root();
    }
    let mut steps = proof.iter();
    // The old root itself begins the path when the old tree is a complete subtree of the new one.
    let first = if old_size.is_power_of_two() { Some(old_root) } else { steps.next() };
    let Some(first) = first else { return false };
    let (mut fn_, mut sn) = (old_size - 1, new_size - 1);
    while fn_ & 1 == 1 {
        (fn_, sn) = (fn_ >> 1, sn >> 1);
    }
    let (mut old, mut new) = (*first, *first);
    for step in steps {
        if sn == 0 {
            return false;
        }
        if fn_ & 1 == 1 || fn_ == sn {
            (old, new) = (node_hash(step, &old), node_hash(step, &new));
            while fn_ & 1 == 0 && fn_ != 0 {
                (fn_, sn) = (fn_ >> 1, sn >> 1);
            }
        } else {
            new = node_hash(&new, step);
        }
        (fn_, sn) = (fn_ >> 1, sn >> 1);
    }
    sn == 0 && old == *old_root && new == *new_root
}
