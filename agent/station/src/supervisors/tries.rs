//! Wrong PINs in a row, on the disk before each is looked at: `<fingerprint of the hash> <count>`, a line each.

use std::{collections::HashMap, fs, io, path::PathBuf};

use service::file;
use tokio::time::Instant;

use super::{FREE, LOCKED_AT, NotVerified, PAUSE_FIRST, PAUSE_MOST};

/// Tries by the fingerprint of the PIN's hash; the empty one stands for everybody who is unknown, and is in memory alone.
#[derive(Debug, Default)]
pub(super) struct Tries {
    file: PathBuf,
    counts: HashMap<String, u32>,
    /// Not before.
    pauses: HashMap<String, Instant>,
}

impl Tries {
    pub(super) fn open(file: PathBuf) -> io::Result<Self> {
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let counts: HashMap<String, u32> = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)))
            .collect();
        let mut tries = Self { file, counts, pauses: HashMap::new() };
        // How long it was down nobody knows: a pause begins anew.
        let names: Vec<String> = tries.counts.keys().cloned().collect();
        names.iter().for_each(|name| tries.pause(name, Instant::now()));
        Ok(tries)
    }

    /// Whether it may be tried now.
    pub(super) fn allowed(&self, name: &str) -> Result<(), NotVerified> {
        // Everybody unknown together is slowed and never locked: else one stranger would hide another's mistake.
        if !name.is_empty() && self.count(name) >= LOCKED_AT {
            return Err(NotVerified::Locked);
        }
        let left = self.pauses.get(name).map(|until| until.saturating_duration_since(Instant::now()));
        match left.filter(|left| !left.is_zero()) {
            Some(after) => Err(NotVerified::Wait { after }),
            None => Ok(()),
        }
    }

    /// Counts a try, on the disk.
    pub(super) fn begin(&mut self, name: &str) -> io::Result<()> {
        *self.counts.entry(name.to_owned()).or_default() += 1;
        self.keep()
    }

    /// It was right: nothing is held against it.
    pub(super) fn forget(&mut self, name: &str) {
        self.counts.remove(name);
        self.pauses.remove(name);
        // A count that stays is one try less, and no more than that.
        if let Err(error) = self.keep() {
            tracing::warn!(%error, "a supervisor's tries could not be taken back");
        }
    }

    /// It was wrong: the next one waits.
    pub(super) fn pause(&mut self, name: &str, now: Instant) {
        let costly = self.count(name).saturating_sub(FREE);
        if costly > 0 {
            let pause = PAUSE_FIRST.saturating_mul(1 << (costly - 1).min(16)).min(PAUSE_MOST);
            self.pauses.insert(name.to_owned(), now + pause);
        }
    }

    fn count(&self, name: &str) -> u32 {
        self.counts.get(name).copied().unwrap_or_default()
    }

    fn keep(&self) -> io::Result<()> {
        let mut lines: Vec<_> = self.counts.iter().filter(|(name, _)| !name.is_empty()).collect();
        lines.sort();
        let text: String = lines.iter().map(|(name, count)| format!("{name} {count}\n")).collect();
        file::replace(&self.file, text.as_bytes())
    }
}
