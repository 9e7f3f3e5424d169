//! Finds the records of the issuances that are asked for, without an index: a search for bytes first, so that few records
//! are taken apart. The journal is read once; only what stands before the record that names an issuance is looked for backwards
//! from there, a segment at a time, and that is seldom far.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use memchr::memmem::Finder;

use super::{Failed, Wanted, Words, bar, not};
use crate::Reader;

/// All records of the issuances that are wanted, in order.
pub(super) fn records(journal: &Path, words: &dyn Words, wanted: &Wanted) -> Result<Vec<(u64, Vec<u8>)>, Failed> {
    let needle = words.needle(wanted).map_err(Failed::Usage)?;
    let reader = Reader::open(journal).map_err(|error| not(&error))?;
    let bar = bar(reader.bytes(), false);
    let finder = Finder::new(&needle);
    let mut search =
        Search { words, wanted, issuances: BTreeSet::new(), headless: BTreeSet::new(), found: BTreeMap::new() };
    let mut named_last = 0;
    let read = reader.visit(|index, entry, done| {
        bar.set_position(done);
        let names = finder.find(entry).is_some() && words.names(entry, wanted);
        if names && search.is_new(entry) {
            named_last = index;
        }
        search.take(index, entry);
        true
    });
    read.map_err(|error| not(&error))?;
    for segment in (0..=reader.segment_of(named_last)).rev() {
        if search.headless.is_empty() {
            break;
        }
        let read = reader.visit_segment(segment, |index, entry| search.take_before(index, entry));
        read.map_err(|error| not(&error))?;
        search.forget_begun();
    }
    bar.finish_and_clear();
    Ok(search.found.into_iter().collect())
}

/// What was found so far.
struct Search<'a> {
    words: &'a dyn Words,
    wanted: &'a Wanted,
    /// The issuances that are wanted, as they stand in the entries.
    issuances: BTreeSet<Vec<u8>>,
    /// Those of them whose first record was not met.
    headless: BTreeSet<Vec<u8>>,
    found: BTreeMap<u64, Vec<u8>>,
}

impl Search<'_> {
    /// Notes the issuance of an entry that names it; whether it was not known.
    fn is_new(&mut self, entry: &[u8]) -> bool {
        let Some(issuance) = self.issuance(entry) else { return false };
        if !self.issuances.insert(issuance.clone()) {
            return false;
        }
        if !self.words.begins(entry, self.wanted) {
            self.headless.insert(issuance);
        }
        true
    }

    fn take(&mut self, index: u64, entry: &[u8]) {
        if self.belongs(&self.issuances, entry) {
            self.found.insert(index, entry.to_vec());
        }
    }

    /// The same for what stands before the record that named its issuance.
    fn take_before(&mut self, index: u64, entry: &[u8]) {
        if self.belongs(&self.headless, entry) {
            self.found.entry(index).or_insert_with(|| entry.to_vec());
        }
    }

    /// Leaves out the issuances whose first record is found.
    fn forget_begun(&mut self) {
        let begun: Vec<Vec<u8>> = self
            .found
            .values()
            .filter(|entry| self.words.begins(entry, self.wanted))
            .filter_map(|entry| self.issuance(entry))
            .collect();
        self.headless.retain(|issuance| !begun.contains(issuance));
    }

    fn belongs(&self, issuances: &BTreeSet<Vec<u8>>, entry: &[u8]) -> bool {
        let is_named = issuances.iter().any(|issuance| memchr::memmem::find(entry, issuance).is_some());
        is_named && self.issuance(entry).is_some_and(|issuance| issuances.contains(&issuance))
    }

    fn issuance(&self, entry: &[u8]) -> Option<Vec<u8>> {
        self.words.head(entry).ok()?.issuance.map(|(_, bytes)| bytes)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{Journal, JournalOptions, commands::Head};

    /// Entries `<issuance>/<word>`: the word `first` begins an issuance, and a number names it.
    struct Plain;

    fn parts(entry: &[u8]) -> (String, String) {
        let text = String::from_utf8(entry.to_vec()).unwrap();
        let (issuance, word) = text.trim_end_matches('.').split_once('/').unwrap();
        (issuance.to_owned(), word.to_owned())
    }

    impl Words for Plain {
        fn head(&self, entry: &[u8]) -> Result<Head, String> {
            let (issuance, kind) = parts(entry);
            let bytes = issuance.clone().into_bytes();
            Ok(Head { time_ms: 0, issuance: Some((issuance, bytes)), kind })
        }

        fn json(&self, _: &[u8]) -> Result<Value, String> {
            Ok(Value::Null)
        }

        fn sentence(&self, _: &[u8]) -> Result<String, String> {
            Ok(String::new())
        }

        fn needle(&self, wanted: &Wanted) -> Result<Vec<u8>, String> {
            match wanted {
                Wanted::CertificateSerial(text) | Wanted::DeviceSerial(text) => Ok(text.clone().into_bytes()),
            }
        }

        fn names(&self, entry: &[u8], wanted: &Wanted) -> bool {
            self.needle(wanted) == Ok(parts(entry).1.into_bytes())
        }

        fn begins(&self, entry: &[u8], _: &Wanted) -> bool {
            parts(entry).1 == "first"
        }

        fn certificate(&self, _: &[&[u8]]) -> Option<Vec<u8>> {
            None
        }
    }

    /// The records of one issuance, spread over many segments with others between, are all found and nothing else, whichever
    /// of them names it: the first, one in the middle, the last; and so are those of two that one word names.
    #[test]
    fn all_records_of_an_issuance_are_found() {
        let place = tempfile::tempdir().unwrap();
        let options =
            JournalOptions { segment_bytes: 64 * 1024, ..JournalOptions::new(place.path(), "factory.example/a") };
        let (journal, _) = Journal::open(&options).unwrap();
        let mut expected: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for (step, word) in ["first", "17", "23", "last"].into_iter().enumerate() {
            for issuance in ["one", "two"] {
                // What stands between fills a segment and more.
                let between = (0..40).map(|n| format!("other-{n}/{step}").into_bytes()).map(|mut entry| {
                    entry.resize(4000, b'.');
                    entry
                });
                let own = format!("{issuance}/{}", if issuance == "two" && word == "23" { "99" } else { word });
                let entries: Vec<Vec<u8>> = between.chain([own.into_bytes()]).collect();
                let count = entries.len() as u64;
                let first = journal.append(entries).unwrap();
                expected.entry(issuance).or_default().push(first.first_index() + count - 1);
                first.wait().unwrap();
            }
        }
        journal.close().unwrap();
        assert!(std::fs::read_dir(place.path()).unwrap().count() > 5, "it has several segments");
        let found = |word: &str| -> Vec<u64> {
            let wanted = Wanted::CertificateSerial(word.to_owned());
            let Ok(found) = records(place.path(), &Plain, &wanted) else { panic!("{word}") };
            found.into_iter().map(|(index, _)| index).collect()
        };
        assert_eq!(found("23"), expected["one"]);
        assert_eq!(found("99"), expected["two"]);
        let mut both = [expected["one"].clone(), expected["two"].clone()].concat();
        both.sort_unstable();
        for word in ["first", "17", "last"] {
            assert_eq!(found(word), both, "{word}");
        }
        assert_eq!(found("55"), [0; 0]);
    }
}
