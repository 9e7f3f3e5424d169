//! Finds the records of the issuances that are asked for, without an index: the segments' bytes are searched first, which is as
//! fast as they can be read, and only segments that hold what is wanted are taken apart. The first round finds who is wanted,
//! the second all that is theirs, wherever it stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use indicatif::ProgressBar;
use memchr::memmem::Finder;

use super::{Failed, Wanted, Words, bar, not};
use crate::Reader;

/// All records of the issuances that are wanted, in order.
pub(super) fn records(journal: &Path, words: &dyn Words, wanted: &Wanted) -> Result<Vec<(u64, Vec<u8>)>, Failed> {
    let needle = words.needle(wanted).map_err(Failed::Usage)?;
    let reader = Reader::open(journal).map_err(|error| not(&error))?;
    let bar = bar(2 * reader.bytes(), false);
    let issuance = |entry: &[u8]| words.head(entry).ok()?.issuance.map(|(_, bytes)| bytes);
    let (mut issuances, mut found) = (BTreeSet::new(), BTreeMap::new());
    search(&reader, &[needle], &bar, |index, entry| {
        if words.names(entry, wanted) {
            match issuance(entry) {
                Some(whose) => drop(issuances.insert(whose)),
                None => drop(found.insert(index, entry.to_vec())),
            }
        }
    })?;
    if !issuances.is_empty() {
        let needles: Vec<Vec<u8>> = issuances.iter().cloned().collect();
        search(&reader, &needles, &bar, |index, entry| {
            if issuance(entry).is_some_and(|issuance| issuances.contains(&issuance)) {
                found.insert(index, entry.to_vec());
            }
        })?;
    }
    bar.finish_and_clear();
    Ok(found.into_iter().collect())
}

/// Shows every entry that holds one of these.
fn search(
    reader: &Reader,
    needles: &[Vec<u8>],
    bar: &ProgressBar,
    mut visit: impl FnMut(u64, &[u8]),
) -> Result<(), Failed> {
    let finders: Vec<Finder<'_>> = needles.iter().map(Finder::new).collect();
    let holds_one = |bytes: &[u8]| finders.iter().any(|finder| finder.find(bytes).is_some());
    let longest = needles.iter().map(Vec::len).max().unwrap_or_default();
    for segment in 0..reader.segments().len() {
        let (holds, bytes) = reader.segment_holds(segment, longest, &holds_one).map_err(|error| not(&error))?;
        if holds {
            let shown = reader.visit_segment(segment, |index, entry| {
                if holds_one(entry) {
                    visit(index, entry);
                }
            });
            shown.map_err(|error| not(&error))?;
        }
        bar.inc(bytes);
    }
    Ok(())
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
