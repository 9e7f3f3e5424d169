//! Supervisors at a screen: a badge and its PIN, verified and throttled here and nowhere else.
//!
//! A screen's certificate cannot be more than an operator, so what a supervisor decides there needs a PIN that this station
//! verifies, for each act anew: there is no session to steal. Each try is counted on the disk before it is looked at, so
//! that pulling the plug wins no tries; wrong ones cost more and more time, and in the end the badge, until it gets
//! another PIN.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use secrecy::SecretString;
use tokio::{sync::Mutex, time::Instant};
use tracing::{info, warn};

mod hash;
mod tries;

pub use hash::{HashError, PinHash};
use tries::Tries;

/// Wrong PINs in a row that cost nothing but themselves: everybody mistypes.
const FREE: u32 = 3;
/// After these in a row the badge is locked: 1 in 100,000 guesses one of a million.
const LOCKED_AT: u32 = 10;
/// The pause after the first that costs; it doubles with each.
const PAUSE_FIRST: Duration = Duration::from_secs(5);
/// No pause is longer: who forgot a PIN stands there.
const PAUSE_MOST: Duration = Duration::from_secs(300);
/// The name of the file of tries, beside the journal's segments.
const TRIES: &str = "supervisor-tries";

/// Why a supervisor's word was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// Badge and PIN do not belong together. Whether the badge is known is not told.
    #[error("the badge or the PIN is wrong: enter it again")]
    Wrong,
    /// Too many wrong ones.
    #[error("too many wrong PINs: try again in {} s", .after.as_secs())]
    Wait {
        /// How long.
        after: Duration,
    },
    /// Far too many.
    #[error(
        "the badge is locked after {LOCKED_AT} wrong PINs: the administrator gives it another one with `station-agent pin`"
    )]
    Locked,
    /// Nobody can be one.
    #[error("this station knows no supervisors: name their file as `file` in [supervisors]")]
    Nobody,
    /// The try could not be counted, so it was not looked at.
    #[error("the try could not be counted on the disk: call the administrator")]
    Uncounted,
}

/// One whom the file names.
#[derive(Debug, Clone)]
struct Supervisor {
    badge: String,
    pin: PinHash,
}

/// All whom the file names, and their tries.
#[derive(Debug, Default)]
pub struct Supervisors {
    known: Vec<Supervisor>,
    /// One verification at a time: each takes a core for a while, and tries count one after the other.
    tries: Arc<Mutex<Tries>>,
}

/// The supervisors' file is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("could not read {}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Everybody may read it, and so guess at leisure.
    #[error("every user may read {path}; run `chmod 600 {path}`, and give each supervisor another PIN", path = .0.display())]
    WorldReadable(PathBuf),
    /// A line of it.
    #[error("line {line}: {message}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong and what to do.
        message: String,
    },
}

/// Reads the file: a line for each supervisor, the badge and what `station-agent pin` printed for it; `#` begins a comment.
///
/// # Errors
/// Names the first wrong line.
pub fn read(path: &Path) -> Result<Vec<(String, PinHash)>, FileError> {
    use std::os::unix::fs::MetadataExt as _;
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.mode() & 0o004 != 0 {
        return Err(FileError::WorldReadable(path.to_owned()));
    }
    let text = io::read_to_string(file).map_err(failed)?;
    let mut known: Vec<(String, PinHash)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |message: String| FileError::Line { line: number, message };
        let (badge, hash) = line
            .split_once(char::is_whitespace)
            .ok_or_else(|| wrong("write a badge and what `station-agent pin` printed for it".to_owned()))?;
        if known.iter().any(|(known, _)| known == badge) {
            return Err(wrong(format!("the badge {badge} stands there twice: remove one")));
        }
        let pin = PinHash::parse(hash.trim()).map_err(|error| wrong(error.to_string()))?;
        known.push((badge.to_owned(), pin));
    }
    Ok(known)
}

impl Supervisors {
    /// Those whom the file named, with what is known of their tries from the journal's directory.
    ///
    /// # Errors
    /// The file of tries cannot be read.
    pub fn new(known: Vec<(String, PinHash)>, journal: &Path) -> io::Result<Self> {
        let known: Vec<_> = known.into_iter().map(|(badge, pin)| Supervisor { badge, pin }).collect();
        let tries = if known.is_empty() { Tries::default() } else { Tries::open(journal.join(TRIES))? };
        Ok(Self { known, tries: Arc::new(Mutex::new(tries)) })
    }

    /// Whether badge and PIN belong together.
    ///
    /// # Errors
    /// They do not, or it is not their time.
    pub async fn verify(&self, badge: &str, pin: SecretString) -> Result<(), NotVerified> {
        let Some(first) = self.known.first() else { return Err(NotVerified::Nobody) };
        let known = self.known.iter().find(|supervisor| supervisor.badge == badge).cloned();
        // Somebody unknown is hashed as well, and throttled as one: time and answers tell nothing of who exists.
        let (name, hash) = match &known {
            Some(supervisor) => (supervisor.pin.fingerprint(), supervisor.pin.clone()),
            None => (String::new(), first.pin.clone()),
        };
        // Whoever hangs up does not stop the count: it goes on with its lock.
        let mut tries = Arc::clone(&self.tries).lock_owned().await;
        let verified = tokio::task::spawn_blocking(move || {
            tries.allowed(&name)?;
            tries.begin(&name).map_err(|error| {
                warn!(%error, "a supervisor's try could not be counted");
                NotVerified::Uncounted
            })?;
            if hash.verify(&pin) && known.is_some() {
                tries.forget(&name);
                return Ok(());
            }
            tries.pause(&name, Instant::now());
            Err(NotVerified::Wrong)
        });
        let verified = verified.await.unwrap_or(Err(NotVerified::Uncounted));
        match &verified {
            Ok(()) => info!(badge, "a supervisor's PIN was verified"),
            Err(error) => warn!(badge, %error, "a supervisor's PIN was not taken"),
        }
        verified
    }
}

#[cfg(test)]
mod tests;
