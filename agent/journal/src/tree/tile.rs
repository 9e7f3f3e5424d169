//! Tiles as C2SP tlog-tiles has them: their paths, their bytes, and hashes read from them.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use super::{Hash, TILE_HEIGHT, TILE_WIDTH, proof::Nodes, root_of};
use crate::audit::bounded::{self, TILE_MOST};

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Hashes of a level.
    Hashes(u8),
    /// The entries themselves, each behind its length.
    Entries,
}

/// One tile: full, or with fewer than 256 hashes or entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Tile {
    pub(crate) kind: Kind,
    pub(crate) number: u64,
    /// 1 to 256.
    pub(crate) width: u64,
}

impl Tile {
    /// Below the log's directory, such as `tile/0/x001/234.p/17`.
    pub(crate) fn path(&self) -> String {
        let kind = match self.kind {
            Kind::Hashes(level) => level.to_string(),
            Kind::Entries => "entries".to_owned(),
        };
        let mut number = format!("{:03}", self.number % 1000);
        let mut rest = self.number / 1000;
        while rest > 0 {
            number = format!("x{:03}/{number}", rest % 1000);
            rest /= 1000;
        }
        match self.width {
            TILE_WIDTH => format!("tile/{kind}/{number}"),
            width => format!("tile/{kind}/{number}.p/{width}"),
        }
    }

    /// The tiles of one level in a tree of `size` leaves: how many are full, and how wide the one after them is.
    pub(crate) fn counts(kind: Kind, size: u64) -> (u64, u64) {
        let hashes = match kind {
            Kind::Hashes(level) => size.checked_shr(u32::from(level) * TILE_HEIGHT).unwrap_or(0),
            Kind::Entries => size,
        };
        (hashes / TILE_WIDTH, hashes % TILE_WIDTH)
    }
}

/// Hashes of a tree of `size` leaves, read from the tiles in a directory.
#[derive(Debug)]
pub(crate) struct TileNodes {
    directory: PathBuf,
    size: u64,
    /// A proof meets the same tiles again and again.
    seen: HashMap<(u8, u64), Vec<Hash>>,
}

/// A tile that is not there, or not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("the tile {} {wrong}", path.display())]
pub(crate) struct TileError {
    pub(crate) path: PathBuf,
    pub(crate) wrong: String,
}

impl TileNodes {
    pub(crate) fn new(directory: &Path, size: u64) -> Self {
        Self { directory: directory.to_owned(), size, seen: HashMap::new() }
    }

    /// The hashes of a tile, as far as the tree of this size has them.
    pub(crate) fn hashes(&mut self, level: u8, number: u64) -> Result<&[Hash], TileError> {
        if !self.seen.contains_key(&(level, number)) {
            let (full, rest) = Tile::counts(Kind::Hashes(level), self.size);
            let width = if number < full { TILE_WIDTH } else { rest };
            let bytes = read(&self.directory, Tile { kind: Kind::Hashes(level), number, width }, 32)?;
            let hashes = bytes.chunks_exact(32).filter_map(|hash| hash.first_chunk().copied()).collect();
            self.seen.insert((level, number), hashes);
        }
        Ok(self.seen.get(&(level, number)).map_or(&[], Vec::as_slice))
    }

    /// The unfinished tiles of every level, as [`super::Tree::resume`] takes them.
    pub(crate) fn unfinished(&mut self) -> Result<Vec<Vec<Hash>>, TileError> {
        let mut levels = Vec::new();
        for level in 0.. {
            let (full, rest) = Tile::counts(Kind::Hashes(level), self.size);
            if full == 0 && rest == 0 {
                break;
            }
            levels.push(if rest == 0 { Vec::new() } else { self.hashes(level, full)?.to_vec() });
        }
        Ok(levels)
    }
}

impl Nodes for TileNodes {
    type Error = TileError;

    fn node(&mut self, level: u32, number: u64) -> Result<Hash, TileError> {
        let (tile_level, height) = ((level / TILE_HEIGHT) as u8, level % TILE_HEIGHT);
        let first = number << height;
        let directory = self.directory.clone();
        let hashes = self.hashes(tile_level, first / TILE_WIDTH)?;
        let from = (first % TILE_WIDTH) as usize;
        hashes.get(from..from + (1 << height)).and_then(root_of).ok_or_else(|| TileError {
            path: directory,
            wrong: format!("of level {tile_level} with the node {number} of level {level} is too short"),
        })
    }
}

/// Reads a tile, or the full one where a partial one is gone: C2SP lets a log remove those. `unit` is what one of its
/// hashes takes, or 0 for entries.
pub(crate) fn read(directory: &Path, tile: Tile, unit: usize) -> Result<Vec<u8>, TileError> {
    let path = directory.join(tile.path());
    let failed = |error: io::Error| TileError { path: path.clone(), wrong: format!("could not be read: {error}") };
    let mut bytes = match bounded::read(&path, TILE_MOST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && tile.width < TILE_WIDTH => {
            let full = directory.join(Tile { width: TILE_WIDTH, ..tile }.path());
            bounded::read(&full, TILE_MOST).map_err(|_| failed(error))?
        }
        read => read.map_err(failed)?,
    };
    let wanted = unit * tile.width as usize;
    if bytes.len() < wanted {
        return Err(TileError { path, wrong: format!("has {} bytes where {wanted} belong", bytes.len()) });
    }
    if unit > 0 {
        bytes.truncate(wanted);
    }
    Ok(bytes)
}

/// Appends an entry as a bundle has it.
pub(crate) fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) {
    // An entry has at most 65,535 bytes.
    bundle.extend_from_slice(&(entry.len() as u16).to_be_bytes());
    bundle.extend_from_slice(entry);
}
