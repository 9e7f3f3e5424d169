//! Cuts tiles from the journal's entries.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{LogError, files::Unsynced};
use crate::{
    Hash, Journal,
    tree::{
        Hasher, TILE_WIDTH, Tree,
        checkpoint::Checkpoint,
        leaf_hash,
        tile::{Kind, Tile, TileNodes, push_entry},
    },
};

/// Entries of one piece of work, after which its files are synced unless all of it is wanted at once: some 2 MiB, so 10 ms of
/// hashing and as much of the disk.
const PIECE: u64 = 16 * TILE_WIDTH;

/// What stands in the tiles so far, and what is next.
pub(super) struct Cutter {
    directory: PathBuf,
    tree: Tree,
    hasher: Hasher,
    /// The entries of the unfinished bundle.
    bundle: Vec<u8>,
    unsynced: Unsynced,
    /// Tiles that are full now: their partial ones can go when a checkpoint covers the full.
    filled: Vec<Tile>,
}

impl Cutter {
    /// Goes on from a checkpoint: from its tiles, or when they are not what it covers, from the journal's entries.
    pub(super) fn open(directory: &Path, journal: &Journal, checkpoint: &Checkpoint) -> Result<Self, LogError> {
        let mut nodes = TileNodes::new(directory, checkpoint.size);
        match nodes.unfinished().map(|unfinished| Tree::resume(checkpoint.size, unfinished)) {
            Ok(tree) if tree.root() == checkpoint.root => Self::resume(directory, journal, tree),
            outcome => {
                let wrong = outcome.err().map_or_else(|| "they do not give its root".to_owned(), |e| e.to_string());
                tracing::warn!(wrong, "the tiles do not bear out the checkpoint; they are cut anew from the journal");
                let mut cutter = Self::new(directory, Tree::default(), Vec::new());
                cutter.cut(journal, checkpoint.size, None)?;
                let root = cutter.tree.root();
                if cutter.tree.size() == checkpoint.size && root == checkpoint.root {
                    Ok(cutter)
                } else {
                    Err(LogError::Altered { directory: directory.to_owned(), size: checkpoint.size, index: None })
                }
            }
        }
    }

    fn new(directory: &Path, tree: Tree, bundle: Vec<u8>) -> Self {
        let unsynced = Unsynced::new(directory);
        let directory = directory.to_owned();
        Self { directory, tree, hasher: Hasher::default(), bundle, unsynced, filled: Vec::new() }
    }

    /// The entries of the unfinished bundle must be those whose hashes the tiles hold.
    fn resume(directory: &Path, journal: &Journal, tree: Tree) -> Result<Self, LogError> {
        let from = tree.size() / TILE_WIDTH * TILE_WIDTH;
        let known: &[Hash] = tree.unfinished().first().map_or(&[], Vec::as_slice);
        let mut bundle = Vec::new();
        for (index, entry) in (from..).zip(journal.read(from..tree.size())?) {
            if known.get((index - from) as usize) != Some(&leaf_hash(&entry)) {
                let (directory, size) = (directory.to_owned(), tree.size());
                return Err(LogError::Altered { directory, size, index: Some(index) });
            }
            push_entry(&mut bundle, &entry);
        }
        Ok(Self::new(directory, tree, bundle))
    }

    /// Cuts full tiles from what is synced, up to the entry `end`: for as long as it is to go on, which is asked after each
    /// piece; with `None` all at once.
    pub(super) fn cut(
        &mut self,
        journal: &Journal,
        end: u64,
        mut goes_on: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<(), LogError> {
        let end = end.min(journal.synced());
        while self.tree.size() < end {
            let from = self.tree.size();
            journal.visit(from..end.min(from + PIECE), &mut |entry| self.push(entry))?;
            if let Some(goes_on) = &mut goes_on {
                self.unsynced.sync_files()?;
                if !goes_on() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, entry: &[u8]) -> Result<(), LogError> {
        push_entry(&mut self.bundle, entry);
        let leaf = self.hasher.leaf(entry);
        let (unsynced, filled) = (&mut self.unsynced, &mut self.filled);
        self.tree.push(leaf, |level, number, hashes| {
            let tile = Tile { kind: Kind::Hashes(level), number, width: TILE_WIDTH };
            filled.push(tile);
            unsynced.write(&tile.path(), hashes.as_flattened())
        })?;
        if self.tree.size().is_multiple_of(TILE_WIDTH) {
            let tile = Tile { kind: Kind::Entries, number: self.tree.size() / TILE_WIDTH - 1, width: TILE_WIDTH };
            self.unsynced.write(&tile.path(), &self.bundle)?;
            self.filled.push(tile);
            self.bundle.clear();
        }
        Ok(())
    }

    pub(super) fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Writes the partial tiles and syncs all tiles; then this root can be signed.
    pub(super) fn settle(&mut self) -> Result<Hash, LogError> {
        let size = self.tree.size();
        for (level, hashes) in (0..).zip(self.tree.unfinished()) {
            if !hashes.is_empty() {
                let kind = Kind::Hashes(level);
                let tile = Tile { kind, number: Tile::counts(kind, size).0, width: hashes.len() as u64 };
                self.unsynced.write(&tile.path(), hashes.as_flattened())?;
            }
        }
        let (number, width) = Tile::counts(Kind::Entries, size);
        if width > 0 {
            self.unsynced.write(&Tile { kind: Kind::Entries, number, width }.path(), &self.bundle)?;
        }
        self.unsynced.sync()?;
        Ok(self.tree.root())
    }

    /// Removes partial tiles that a full one stands in for, now that a checkpoint covers it.
    pub(super) fn prune(&mut self) {
        for tile in self.filled.drain(..) {
            // What cannot be removed is not wrong, only more than is needed.
            let _ = fs::remove_dir_all(self.directory.join(tile.path() + ".p"));
        }
    }
}
