//! Finds the records of the issuances that are asked for, without an index: a search for bytes first, so that few records
//! are taken apart.

use std::{collections::BTreeSet, path::Path};

use memchr::memmem::Finder;

use super::{Failed, Wanted, Words, bar, not};
use crate::Reader;

/// All records of the issuances that are wanted, in order.
pub(super) fn records(journal: &Path, words: &dyn Words, wanted: &Wanted) -> Result<Vec<(u64, Vec<u8>)>, Failed> {
    let needle = words.needle(wanted).map_err(Failed::Usage)?;
    let reader = Reader::open(journal).map_err(|error| not(&error))?;
    let bar = bar(2 * reader.bytes(), false);
    let mut issuances: BTreeSet<Vec<u8>> = BTreeSet::new();
    let finder = Finder::new(&needle);
    let first = reader.visit(|_, entry, done| {
        bar.set_position(done);
        if finder.find(entry).is_some()
            && words.names(entry, wanted)
            && let Ok(head) = words.head(entry)
        {
            issuances.extend(head.issuance.map(|(_, bytes)| bytes));
        }
        true
    });
    first.map_err(|error| not(&error))?;
    let finders: Vec<Finder<'_>> = issuances.iter().map(Finder::new).collect();
    let mut found = Vec::new();
    if !finders.is_empty() {
        let second = reader.visit(|index, entry, done| {
            bar.set_position(reader.bytes() + done);
            let is_named = finders.iter().any(|finder| finder.find(entry).is_some());
            let belongs = |head: super::Head| head.issuance.is_some_and(|(_, bytes)| issuances.contains(&bytes));
            if is_named && words.head(entry).is_ok_and(belongs) {
                found.push((index, entry.to_vec()));
            }
            true
        });
        second.map_err(|error| not(&error))?;
    }
    bar.finish_and_clear();
    Ok(found)
}
