//! Small projections over the harness's records, and what befalls their files.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use journal::{Journal, JournalOptions, Projection, Projections, Row, Rows};

use crate::{
    Broken,
    chance::Chance,
    records::record,
    said,
    writer::{ORIGIN, with_causes},
};

/// An opening may wait half a minute for a sled that hangs, and then rebuilds.
pub const PATIENCE: Duration = Duration::from_secs(60);
const TREES: [&str; 2] = ["last", "places"];
/// Rows of the tree `last`.
const RESIDUES: u64 = 97;

/// Where each record is, by its bytes 16 to 24; and of each residue of the index modulo 97, how many there are and
/// which came last.
#[derive(Debug, Clone, Copy, Default)]
pub struct Places;

impl Projection for Places {
    const VERSION: u32 = 1;

    fn apply(&self, index: u64, entry: &[u8], rows: &mut Rows<'_>) -> Result<(), String> {
        let name = entry.get(16..24).ok_or("a record of less than 24 bytes")?;
        rows.put("places", name, index.to_be_bytes().to_vec());
        let residue = (index % RESIDUES).to_be_bytes();
        let count = rows.get("last", &residue).and_then(|row| row.first_chunk().copied()).map_or(0, u64::from_be_bytes);
        rows.put("last", &residue, [(count + 1).to_be_bytes(), index.to_be_bytes()].concat());
        Ok(())
    }
}

/// Opens projections in `directory` and compares their rows with those of a rebuild from nothing. Returns whether they
/// were rebuilt.
///
/// # Errors
/// Projections that do not open, take too long, or differ.
pub fn open_and_compare<P: Projection + Copy>(
    journal: &Journal,
    directory: &Path,
    projection: P,
) -> Result<bool, Broken> {
    let started = Instant::now();
    let mut first = None;
    let mut progress = |done, _| first = first.or(Some(done));
    let opened = Projections::open(journal, directory, projection, &mut progress).map_err(with_causes)?;
    let took = started.elapsed();
    if took > PATIENCE {
        return Err(format!("opening the projections took {took:?}"));
    }
    let found = all_rows(&opened)?;
    opened.close().map_err(with_causes)?;
    let fresh = tempfile::tempdir().map_err(said("could not make a directory"))?;
    let rebuilt = Projections::open(journal, fresh.path(), projection, &mut |_, _| {}).map_err(with_causes)?;
    let expected = all_rows(&rebuilt)?;
    rebuilt.close().map_err(with_causes)?;
    match found == expected {
        true => Ok(first == Some(0) && !expected.is_empty()),
        false => Err(format!("the projections in {} are not those of a rebuild", directory.display())),
    }
}

fn all_rows<P: Projection>(projections: &Projections<P>) -> Result<Vec<Row>, Broken> {
    let mut rows = Vec::new();
    for tree in TREES {
        rows.extend(projections.scan(tree, b"", None, false, usize::MAX).map_err(with_causes)?);
    }
    Ok(rows)
}

/// What befell how many projections.
#[derive(Debug, Clone, Copy, Default)]
pub struct Befell {
    /// Cases.
    pub cases: u64,
    /// Of them, those in which the rows were rebuilt. In the others the damage did not matter.
    pub rebuilt: u64,
    /// The longest opening.
    pub longest: Duration,
}

impl fmt::Display for Befell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rebuilt={} longest={:.1}s", self.cases, self.rebuilt, self.longest.as_secs_f32())
    }
}

/// Damages the files of closed projections over and over, in ways that follow from `seed`, and compares what opens.
///
/// # Errors
/// The first case that broke a promise, with its seed.
pub fn damage_and_compare(seed: u64, cases: u64) -> Result<Befell, Broken> {
    let place = tempfile::tempdir().map_err(said("could not make a directory"))?;
    let options =
        JournalOptions { segment_bytes: 128 * 1024, ..JournalOptions::new(place.path().join("journal"), ORIGIN) };
    let (journal, _) = Journal::open(&options).map_err(with_causes)?;
    let sound = place.path().join("sound");
    let rows = Projections::open(&journal, &sound, Places, &mut |_, _| {}).map_err(with_causes)?;
    for first in (0..1000).step_by(50) {
        let entries = (first..first + 50).map(|index| record(seed, 0, index)).collect();
        rows.append(entries).and_then(|appended| appended.wait()).map_err(with_causes)?;
    }
    rows.close().map_err(with_causes)?;
    drop(rows);
    let mut befell = Befell::default();
    for case in seed..seed + cases {
        let damaged = place.path().join("damaged");
        copy_tree(&sound, &damaged).map_err(said("could not copy the projections"))?;
        let done = Damage::choose(case, &damaged).and_then(|damage| damage.inflict());
        let done = done.map_err(said("could not damage the projections"))?;
        let started = Instant::now();
        let rebuilt = open_and_compare(&journal, &damaged, Places)
            .map_err(|broken| format!("{broken} (projections damaged with seed {case}: {done})"))?;
        befell.cases += 1;
        befell.rebuilt += u64::from(rebuilt);
        befell.longest = befell.longest.max(started.elapsed());
        fs::remove_dir_all(&damaged).map_err(said("could not remove the copy"))?;
    }
    Ok(befell)
}

/// One thing done to one file, or to all.
struct Damage {
    chance: Chance,
    file: PathBuf,
    directory: PathBuf,
}

impl Damage {
    fn choose(seed: u64, directory: &Path) -> io::Result<Self> {
        let mut chance = Chance::new(seed);
        let files = files(directory)?;
        let file = files[chance.below(files.len() as u64) as usize].clone();
        Ok(Self { chance, file, directory: directory.to_owned() })
    }

    /// Does it; returns what was done.
    fn inflict(mut self) -> io::Result<String> {
        let mut bytes = fs::read(&self.file)?;
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last as u64 + 1);
        let at = self.chance.below(used) as usize;
        let words = match self.chance.below(9) {
            0 => {
                fs::remove_dir_all(&self.directory)?;
                return Ok("everything deleted".to_owned());
            }
            1 => {
                fs::remove_file(&self.file)?;
                return Ok(format!("{} deleted", self.file.display()));
            }
            2 => {
                bytes.truncate(at);
                format!("cut at {at}")
            }
            3 => {
                bytes.clear();
                "emptied".to_owned()
            }
            4 => {
                bytes.fill(0);
                "zeroed".to_owned()
            }
            5 => {
                bytes.iter_mut().for_each(|byte| *byte = self.chance.bits() as u8);
                "garbage throughout".to_owned()
            }
            6 => {
                let end = bytes.len().min(at + 1 + self.chance.below(5000) as usize);
                bytes[at..end].iter_mut().for_each(|byte| *byte = self.chance.bits() as u8);
                format!("garbage from {at} to {end}")
            }
            7 => {
                for _ in 0..1 + self.chance.below(20) {
                    let at = self.chance.below(used) as usize;
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << self.chance.below(8);
                    }
                }
                "bits flipped".to_owned()
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.chance.below(8);
                }
                format!("a bit flipped at {at}")
            }
        };
        fs::write(&self.file, bytes)?;
        Ok(format!("{}: {words}", self.file.display()))
    }
}

fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    found.sort();
    Ok(found)
}

/// Copies a directory with all that is in it.
///
/// # Errors
/// As the file system.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path.file_name() else { continue };
        if path.is_dir() { copy_tree(&path, &to.join(name))? } else { fs::copy(&path, to.join(name)).map(drop)? }
    }
    Ok(())
}
