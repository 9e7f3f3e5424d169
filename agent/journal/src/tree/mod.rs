//! The Merkle tree over the entries (RFC 9162 §2.1, which keeps RFC 6962's hashes) and what is said about it: proofs,
//! tiles (C2SP tlog-tiles), checkpoints (C2SP tlog-checkpoint) in signed notes (C2SP signed-note), and cosignatures
//! (C2SP tlog-cosignature). Nothing here writes.

pub(crate) mod checkpoint;
pub(crate) mod note;
pub(crate) mod proof;
pub(crate) mod tile;

#[cfg(test)]
mod tests;

/// A SHA-256: of an entry, of two subtrees, or of a whole tree.
pub type Hash = [u8; 32];

/// Hashes in a full tile, and entries in a full bundle.
pub(crate) const TILE_WIDTH: u64 = 256;
/// Levels of the tree in one level of tiles.
pub(crate) const TILE_HEIGHT: u32 = 8;

/// The hash of an entry: SHA-256(0x00 ‖ entry).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hasher::default().leaf(entry)
}

/// Keeps its buffer between leaves.
#[derive(Debug, Default)]
pub(crate) struct Hasher(Vec<u8>);

impl Hasher {
    pub(crate) fn leaf(&mut self, entry: &[u8]) -> Hash {
        // One call with a copied buffer is faster than two updates of a context, which aws-lc allocates.
        self.0.clear();
        self.0.push(0);
        self.0.extend_from_slice(entry);
        crate::sha256(&self.0)
    }
}

/// The hash of two subtrees: SHA-256(0x01 ‖ left ‖ right).
pub(crate) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    crate::sha256(&bytes)
}

/// The root of the empty tree: SHA-256 of nothing.
pub(crate) fn empty_root() -> Hash {
    crate::sha256(&[])
}

/// The root over subtrees of one size, the last of which may be smaller; `None` for none.
pub(crate) fn root_of(hashes: &[Hash]) -> Option<Hash> {
    match hashes {
        [] => None,
        [only] => Some(*only),
        _ => {
            let (left, right) = hashes.split_at(split(hashes.len() as u64) as usize);
            Some(node_hash(&root_of(left)?, &root_of(right)?))
        }
    }
}

/// The largest power of two below `size`, which is at least 2.
pub(crate) fn split(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

/// A tree that grows leaf by leaf. It keeps what stands in the last, unfinished tile of each level: at most 255 hashes
/// for each, a few dozen KB.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    levels: Vec<Vec<Hash>>,
    size: u64,
}

impl Tree {
    /// A tree of `size` leaves whose unfinished tiles are these, the lowest level first.
    pub(crate) fn resume(size: u64, levels: Vec<Vec<Hash>>) -> Self {
        Self { levels, size }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The unfinished tiles, the lowest level first.
    pub(crate) fn unfinished(&self) -> &[Vec<Hash>] {
        &self.levels
    }

    /// Adds a leaf; `finished` is told each tile that is full by it: its level, its number and its hashes.
    pub(crate) fn push<E>(
        &mut self,
        leaf: Hash,
        mut finished: impl FnMut(u8, u64, &[Hash]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.size += 1;
        let (mut hash, mut level, mut count) = (leaf, 0, self.size);
        loop {
            if self.levels.len() == level {
                self.levels.push(Vec::with_capacity(TILE_WIDTH as usize));
            }
            let tile = &mut self.levels[level];
            tile.push(hash);
            count /= TILE_WIDTH;
            let Some(root) = (tile.len() as u64 == TILE_WIDTH).then(|| root_of(tile)).flatten() else { return Ok(()) };
            // A level has a number of its own kind: 8 of them hold more than 2^64 leaves.
            finished(level as u8, count - 1, tile)?;
            tile.clear();
            (hash, level) = (root, level + 1);
        }
    }

    /// The root over all leaves so far.
    pub(crate) fn root(&self) -> Hash {
        let mut right: Option<Hash> = None;
        for level in &self.levels {
            // What is right of a level's tile is smaller than one of its subtrees, and its last.
            right =
                if right.is_none() { root_of(level) } else { root_of(&[level.as_slice(), right.as_slice()].concat()) };
        }
        right.unwrap_or_else(empty_root)
    }
}
