//! Who works at which browser: badges as they were scanned, pseudonyms all of them. The names behind them, for the screen
//! alone, stand in a file apart from every record; what is taken out of it is forgotten at once.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tracing::warn;

use crate::guard::Visitor;

/// A browser is not a person: after so long without a scan whoever comes next scans a badge of their own.
pub const IDLE_DEFAULT: Duration = Duration::from_secs(30 * 60);
/// More browsers than this never stand around one station.
const KEPT_MOST: usize = 256;

/// Whether badges are needed, and how they are shown.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether nothing is started before a badge was scanned.
    pub required: bool,
    /// A browser that scans nothing for so long is nobody's any more.
    pub idle: Duration,
    /// TOML, `badge = "name"`: read each time, so that erasing a line erases the name.
    pub names: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { required: false, idle: IDLE_DEFAULT, names: None }
    }
}

/// The badges that are signed in.
#[derive(Debug, Clone, Default)]
pub struct Operators {
    settings: Settings,
    signed_in: Arc<Mutex<HashMap<Visitor, (String, Instant)>>>,
}

impl Operators {
    /// Nobody yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, signed_in: Arc::default() }
    }

    /// Whether nothing is started before a badge was scanned.
    #[must_use]
    pub fn required(&self) -> bool {
        self.settings.required
    }

    /// A badge was scanned at a browser.
    pub fn sign_in(&self, visitor: &Visitor, badge: &str) {
        let mut signed_in = self.lock();
        if signed_in.len() >= KEPT_MOST && !signed_in.contains_key(visitor) {
            let oldest = signed_in.iter().min_by_key(|(_, (_, seen))| *seen).map(|(visitor, _)| visitor.clone());
            signed_in.retain(|visitor, _| Some(visitor) != oldest.as_ref());
        }
        signed_in.insert(visitor.clone(), (badge.to_owned(), Instant::now()));
    }

    /// Whoever worked at a browser left it.
    pub fn sign_out(&self, visitor: &Visitor) {
        self.lock().remove(visitor);
    }

    /// The badge at a browser; empty when nobody is signed in, or for too long.
    #[must_use]
    pub fn badge(&self, visitor: &Visitor) -> String {
        let mut signed_in = self.lock();
        signed_in.retain(|_, (_, seen)| seen.elapsed() < self.settings.idle);
        signed_in.get(visitor).map(|(badge, _)| badge.clone()).unwrap_or_default()
    }

    /// As [`badge`](Self::badge), and it goes on working.
    #[must_use]
    pub fn at_work(&self, visitor: &Visitor) -> String {
        let badge = self.badge(visitor);
        if let Some((_, seen)) = self.lock().get_mut(visitor) {
            *seen = Instant::now();
        }
        badge
    }

    /// What the screen calls a badge: its name, while there is one.
    #[must_use]
    pub fn shown(&self, badge: &str) -> String {
        let Some(file) = self.settings.names.as_ref().filter(|_| !badge.is_empty()) else { return badge.to_owned() };
        let read = fs::read_to_string(file).map_err(|error| error.to_string());
        let names = read.and_then(|text| toml::from_str::<HashMap<String, String>>(&text).map_err(|e| e.to_string()));
        match names {
            Ok(names) => names.get(badge).cloned().unwrap_or_else(|| badge.to_owned()),
            Err(error) => {
                warn!(file = %file.display(), error, "could not read the names behind badges: badges are shown instead");
                badge.to_owned()
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Visitor, (String, Instant)>> {
        self.signed_in.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signs in at one browser; expects the badge there alone, the name from the file, and the badge again once it is erased.
    #[test]
    fn a_name_is_forgotten_when_it_is_erased() {
        let directory = tempfile::tempdir().unwrap();
        let names = directory.path().join("names.toml");
        fs::write(&names, "B-1 = \"Ada\"\n").unwrap();
        let operators = Operators::new(Settings { names: Some(names.clone()), ..Settings::default() });
        let (here, there) = (Visitor::new().unwrap(), Visitor::new().unwrap());
        operators.sign_in(&here, "B-1");
        assert_eq!((operators.at_work(&here).as_str(), operators.badge(&there).as_str()), ("B-1", ""));
        assert_eq!(operators.shown("B-1"), "Ada");
        fs::write(&names, "").unwrap();
        assert_eq!(operators.shown("B-1"), "B-1");
        operators.sign_out(&here);
        assert_eq!(operators.badge(&here), "");
    }

    /// With no time at all to be idle, a badge does not last.
    #[test]
    fn an_idle_browser_is_nobodys() {
        let operators = Operators::new(Settings { idle: Duration::ZERO, ..Settings::default() });
        let here = Visitor::new().unwrap();
        operators.sign_in(&here, "B-1");
        assert_eq!(operators.at_work(&here), "");
    }
}
