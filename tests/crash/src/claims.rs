//! What a writer said was acknowledged.

use std::{
    fs, io,
    ops::Range,
    path::Path,
    sync::{Mutex, PoisonError},
};

use crate::{Broken, said};

/// Says lines on a stream, each with one write, so that a kill leaves no half of one before another.
pub struct Told<W>(Mutex<W>);

impl<W: io::Write> Told<W> {
    /// Says lines on `out`.
    pub fn new(out: W) -> Self {
        Self(Mutex::new(out))
    }

    /// Records `range` of this run are on the disk.
    ///
    /// # Errors
    /// As the stream.
    pub fn acknowledged(&self, range: &Range<u64>) -> io::Result<()> {
        self.line(&format!("acknowledged {} {}\n", range.start, range.end))
    }

    /// The journal is open, with so many records.
    ///
    /// # Errors
    /// As the stream.
    pub fn opened(&self, records: u64) -> io::Result<()> {
        self.line(&format!("opened {records}\n"))
    }

    fn line(&self, line: &str) -> io::Result<()> {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.write_all(line.as_bytes())?;
        out.flush()
    }
}

/// Everything that must be found, over all runs on one journal.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    /// Records that an opening found: it syncs what it finds before it says so.
    pub kept: u64,
    /// The newest run.
    pub run: u64,
    /// Acknowledged ranges, with their run.
    pub acknowledged: Vec<(Range<u64>, u64)>,
}

impl Claims {
    /// Adds what run `run` said in the file `told`. Returns how many records were acknowledged.
    ///
    /// # Errors
    /// A file that cannot be read or does not hold such lines.
    pub fn add(&mut self, told: &Path, run: u64) -> Result<u64, Broken> {
        let text = fs::read_to_string(told).map_err(said(format!("could not read {}", told.display())))?;
        let mut records = 0;
        self.run = self.run.max(run);
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let number = |word: Option<&str>| word.and_then(|word| word.parse::<u64>().ok());
            let mut words = line.split(' ');
            match (words.next(), number(words.next()), number(words.next())) {
                (Some("opened"), Some(found), None) => self.kept = self.kept.max(found),
                (Some("acknowledged"), Some(start), Some(end)) => {
                    records += end - start;
                    self.acknowledged.push((start..end, run));
                }
                _ => return Err(format!("the writer said {line:?}")),
            }
        }
        Ok(records)
    }

    /// Index after the last record that must be there.
    pub fn end(&self) -> u64 {
        self.acknowledged.iter().map(|(range, _)| range.end).max().unwrap_or(0).max(self.kept)
    }
}
