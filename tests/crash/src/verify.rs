//! What is found after a crash, held against what was claimed.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use journal::Journal;

use crate::{
    Broken,
    claims::Claims,
    process::is_segment,
    records,
    rows::{self, Places},
    said,
    writer::{JOURNAL, ROWS, Writer, with_causes},
};

/// Records are read in pieces of so many.
const PIECE: u64 = 512;

/// A journal that kept its promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sound {
    /// Records in it.
    pub records: u64,
    /// A tail had been torn: it was cut, and that was said.
    pub torn: bool,
}

/// Opens what `writer` left behind, twice, and checks: every acknowledged record is there as it was written, and none
/// that nobody wrote; what was cut was said, and is cut for good; the projections open and equal a rebuild.
///
/// # Errors
/// The first promise that was broken.
pub fn verify(writer: &Writer, claims: &Claims) -> Result<Sound, Broken> {
    let checked = catch_unwind(AssertUnwindSafe(|| {
        let sound = open_and_check(writer, claims)?;
        if writer.rows {
            let (journal, _) = Journal::open(&writer.options()).map_err(with_causes)?;
            rows::open_and_compare(&journal, &writer.directory.join(ROWS), Places)?;
            journal.close().map_err(with_causes)?;
        }
        let kept = Claims { kept: sound.records, ..claims.clone() };
        match open_and_check(writer, &kept)? {
            again if again == (Sound { torn: false, ..sound }) => Ok(sound),
            again => Err(format!("after {sound:?}, opening again found {again:?}")),
        }
    }));
    checked.unwrap_or_else(|_| Err("verifying panicked".to_owned()))
}

fn open_and_check(writer: &Writer, claims: &Claims) -> Result<Sound, Broken> {
    let before = Last::read(&writer.directory.join(JOURNAL))?;
    let (journal, recovery) = Journal::open(&writer.options()).map_err(with_causes)?;
    if recovery.records < claims.end() {
        return Err(format!("{} records of {} acknowledged ones are there", recovery.records, claims.end()));
    }
    let runs = read_all(writer.seed, &journal, recovery.records)?;
    for (range, run) in &claims.acknowledged {
        if let Some(index) = range.clone().find(|index| runs[*index as usize] != *run) {
            return Err(format!("record {index} was acknowledged in run {run}, not in {}", runs[index as usize]));
        }
    }
    if runs.iter().any(|run| *run > claims.run) || !runs.is_sorted() {
        return Err("there are records of a run that had not begun, or of an earlier one behind a later".to_owned());
    }
    journal.close().map_err(with_causes)?;
    let torn = before.is_some_and(|before| before.was_cut());
    match (&recovery.torn, torn) {
        (Some(_), true) | (None, false) => Ok(Sound { records: recovery.records, torn }),
        (None, true) => Err("bytes of the last segment were cut, and nothing was said".to_owned()),
        (Some(torn), false) => Err(format!("nothing was cut, but it was said: {torn}")),
    }
}

/// The run of every record.
fn read_all(seed: u64, journal: &Journal, records: u64) -> Result<Vec<u64>, Broken> {
    let mut runs = Vec::with_capacity(records as usize);
    while (runs.len() as u64) < records {
        let first = runs.len() as u64;
        let entries = journal.read(first..records.min(first + PIECE)).map_err(with_causes)?;
        if entries.is_empty() {
            return Err(format!("{records} records were said to be there, {first} are"));
        }
        for (index, entry) in (first..).zip(&entries) {
            runs.push(records::check(seed, index, entry)?);
        }
    }
    match journal.read(records..u64::MAX).map_err(with_causes)?.len() {
        0 => Ok(runs),
        more => Err(format!("{records} records were said to be there, and {more} more are")),
    }
}

/// The last segment as it stood before the opening.
struct Last {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Last {
    fn read(directory: &Path) -> Result<Option<Self>, Broken> {
        let Ok(names) = fs::read_dir(directory) else { return Ok(None) };
        let paths = names.flatten().map(|entry| entry.path());
        let Some(path) = paths.filter(|path| is_segment(path)).max() else {
            return Ok(None);
        };
        let bytes = fs::read(&path).map_err(said(format!("could not read {}", path.display())))?;
        Ok(Some(Self { path, bytes }))
    }

    /// Whether the opening took anything away.
    fn was_cut(&self) -> bool {
        // A segment that is gone was cut whole.
        fs::read(&self.path).unwrap_or_default() != self.bytes
    }
}
