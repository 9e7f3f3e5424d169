//! Compares a log's tiles with what the journal's entries give.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::bounded::{self, TILE_MOST};
use crate::{
    Hash,
    tree::{
        TILE_WIDTH,
        tile::{Kind, Tile, push_entry},
    },
};

/// A tile that is not what the entries give.
pub(super) struct Difference {
    pub(super) path: PathBuf,
    pub(super) wrong: String,
    /// The first record whose hash or entry differs there, when it is a tile of the lowest level or of entries.
    pub(super) record: Option<u64>,
    /// Whether the checkpoint covers all of it: what is behind it is cut anew after a crash.
    pub(super) covered: bool,
}

/// The tiles of one log.
pub(super) struct Tiles {
    directory: PathBuf,
    /// How many entries the checkpoint covers: their tiles must be there.
    covered: u64,
    /// Whether more may stand there than was read.
    live: bool,
    /// The bundle so far, and where each of its entries ends.
    bundle: Vec<u8>,
    ends: Vec<usize>,
    number: u64,
    seen: HashSet<PathBuf>,
    missing: Vec<PathBuf>,
}

impl Tiles {
    pub(super) fn new(directory: &Path, covered: u64, live: bool) -> Self {
        let directory = directory.to_owned();
        let (bundle, ends, seen, missing) = (Vec::new(), Vec::new(), HashSet::new(), Vec::new());
        Self { directory, covered, live, bundle, ends, number: 0, seen, missing }
    }

    pub(super) fn entry(&mut self, entry: &[u8]) {
        push_entry(&mut self.bundle, entry);
        self.ends.push(self.bundle.len());
    }

    pub(super) fn bundle_is_full(&self) -> bool {
        self.ends.len() as u64 == TILE_WIDTH
    }

    /// The bundle so far, which ends here.
    pub(super) fn bundle(&mut self) -> Vec<Difference> {
        let (bundle, ends) = (std::mem::take(&mut self.bundle), std::mem::take(&mut self.ends));
        let number = self.number;
        self.number += 1;
        self.compare(Kind::Entries, number, &bundle, &ends)
    }

    pub(super) fn hashes(&mut self, level: u8, number: u64, hashes: &[Hash]) -> Vec<Difference> {
        let ends: Vec<usize> = (1..=hashes.len()).map(|count| count * 32).collect();
        self.compare(Kind::Hashes(level), number, hashes.as_flattened(), &ends)
    }

    /// The unfinished tile of a level, in a tree of `size` leaves.
    pub(super) fn unfinished(&mut self, level: u8, size: u64, hashes: &[Hash]) -> Vec<Difference> {
        let (number, _) = Tile::counts(Kind::Hashes(level), size);
        self.hashes(level, number, hashes)
    }

    /// Compares every file of one tile with what it should hold: `content`, whose n-th unit ends at `ends[n - 1]`.
    fn compare(&mut self, kind: Kind, number: u64, content: &[u8], ends: &[usize]) -> Vec<Difference> {
        let width = ends.len() as u64;
        let full = Tile { kind, number, width: TILE_WIDTH };
        let mut differences = Vec::new();
        let mut widths = partial_widths(&self.directory.join(full.path() + ".p"));
        if self.directory.join(full.path()).exists() {
            widths.push(TILE_WIDTH);
        }
        let (fulls, rest) = Tile::counts(kind, self.covered);
        let needed = if number < fulls {
            TILE_WIDTH
        } else if number == fulls {
            rest
        } else {
            0
        };
        if needed > 0 && !widths.contains(&needed) && !widths.contains(&TILE_WIDTH) {
            self.missing.push(self.directory.join(Tile { width: needed, ..full }.path()));
        }
        for stands in widths {
            let path = self.directory.join(Tile { width: stands, ..full }.path());
            self.seen.insert(path.clone());
            let known = stands.min(width);
            let expected =
                known.checked_sub(1).and_then(|last| ends.get(last as usize)).map_or(&[][..], |end| &content[..*end]);
            let found = bounded::read(&path, TILE_MOST).unwrap_or_default();
            let is_longer = stands > width;
            let agrees = if is_longer { self.live && found.starts_with(expected) } else { found == expected };
            if !agrees {
                let at =
                    found.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(found.len().min(expected.len()));
                let unit = ends.partition_point(|end| *end <= at) as u64;
                let lowest = matches!(kind, Kind::Entries | Kind::Hashes(0));
                let record = (lowest && unit < known).then_some(number * TILE_WIDTH + unit);
                let wrong = if is_longer && found.starts_with(expected) {
                    "holds more than the journal has".to_owned()
                } else {
                    format!("was changed: byte {at} is not what the journal's records give")
                };
                let level = if let Kind::Hashes(level) = kind { u32::from(level) } else { 0 };
                let end = TILE_WIDTH.saturating_pow(level).saturating_mul(number * TILE_WIDTH + stands);
                differences.push(Difference { path, wrong, record, covered: end <= self.covered });
            }
        }
        differences
    }

    pub(super) fn compared(&self) -> u64 {
        self.seen.len() as u64
    }

    /// What is missing, what does not belong there, and what a crash left, when everything in a tree of `size` leaves was
    /// compared.
    pub(super) fn rest(&mut self, size: u64) -> (Vec<PathBuf>, Vec<PathBuf>, Vec<PathBuf>) {
        let mut missing = std::mem::take(&mut self.missing);
        // What the checkpoint covers and the journal does not have was never compared.
        for kind in (0..8).map(Kind::Hashes).chain([Kind::Entries]) {
            let ((fulls, rest), (had, more)) = (Tile::counts(kind, self.covered), Tile::counts(kind, size));
            let compared = had + u64::from(more > 0);
            let tiles = (compared..fulls)
                .map(|number| (number, TILE_WIDTH))
                .chain((rest > 0 && fulls >= compared).then_some((fulls, rest)));
            let paths = tiles.map(|(number, width)| self.directory.join(Tile { kind, number, width }.path()));
            missing.extend(paths.filter(|path| !path.exists()));
        }
        let (mut strange, mut passing) = (Vec::new(), Vec::new());
        let mut waiting = vec![self.directory.join("tile")];
        while let Some(path) = waiting.pop() {
            let Ok(entries) = fs::read_dir(&path) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    waiting.push(path);
                } else if path.extension().is_some_and(|ending| ending == "new") {
                    passing.push(path);
                } else if !self.seen.contains(&path) && !self.live {
                    strange.push(path);
                }
            }
        }
        strange.sort();
        (missing, strange, passing)
    }
}

/// The widths of the partial tiles in a directory.
fn partial_widths(directory: &Path) -> Vec<u64> {
    let names = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>).unwrap_or_default();
    let widths = names.iter().filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.parse().ok().filter(|width: &u64| width.to_string() == name && (1..TILE_WIDTH).contains(width))
    });
    widths.collect()
}
