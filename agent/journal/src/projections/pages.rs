//! Rows in pages. sled keeps some six hundred octets in memory for every dozen of its entries, however small they are: so an
//! entry of ours is not a row but a page of rows that follow each other, and memory hardly grows with the journal's age.

use std::{io, ops::Bound};

use super::{
    Row,
    overlay::{Range, Staged},
};

/// A page is cut in two once its rows take more.
const PAGE_BYTES: usize = 1024;

/// The key of the entry about the rows, before all pages: a full key begins with its tree's name, which is never empty.
pub(super) const META: &[u8] = &[0];

/// The pages on one sled. A page's key is that of its first row or a lesser one, and greater than all rows of the page before.
#[derive(Clone)]
pub(super) struct Pages(pub(super) sled::Db);

impl Pages {
    /// The row's value.
    pub(super) fn get(&self, key: &[u8]) -> sled::Result<Option<Vec<u8>>> {
        let Some((_, page)) = self.page_of(key)? else { return Ok(None) };
        for row in PageRows(&page) {
            match row? {
                (found, value) if found == key => return Ok(Some(value.to_vec())),
                _ => {}
            }
        }
        Ok(None)
    }

    /// All rows of a range, ascending. Rows that are written meanwhile may be missing or not.
    pub(super) fn ascending(&self, range: Range) -> sled::Result<impl Iterator<Item = sled::Result<Row>>> {
        let pages = self.pages(&range)?;
        Ok(rows(pages, range, |page| page, |row, last| row > last))
    }

    /// The same, descending.
    pub(super) fn descending(&self, range: Range) -> sled::Result<impl Iterator<Item = sled::Result<Row>>> {
        let pages = self.pages(&range)?.rev();
        let turned = |mut page: Vec<Row>| {
            page.reverse();
            page
        };
        Ok(rows(pages, range, turned, |row, last| row < last))
    }

    /// Puts the pages that these rows change into `batch`, and shows each row as it was and as it will be.
    pub(super) fn stage(
        &self,
        rows: &Staged,
        batch: &mut sled::Batch,
        mut show: impl FnMut(&[u8], Option<&[u8]>, Option<&[u8]>),
    ) -> sled::Result<()> {
        let mut rows = rows.iter().peekable();
        while let Some((key, _)) = rows.peek() {
            let found = self.page_of(key)?;
            let first = found.as_ref().map_or(key.as_slice(), |(first, _)| first).to_vec();
            let next = self.0.get_gt(&first)?.map(|(next, _)| next);
            let old = found.as_ref().map_or(Ok(Vec::new()), |(_, page)| PageRows(page).collect())?;
            let mut new = Vec::with_capacity(old.len() + 1);
            let mut rest = old.iter().copied().peekable();
            while let Some((key, value)) =
                rows.next_if(|(key, _)| next.as_ref().is_none_or(|next| key.as_slice() < next.as_ref()))
            {
                while let Some(before) = rest.next_if(|(old, _)| *old < key.as_slice()) {
                    new.push(before);
                }
                let was = rest.next_if(|(old, _)| *old == key.as_slice()).map(|(_, value)| value);
                show(key, was, value.as_deref());
                new.extend(value.as_deref().map(|value| (key.as_slice(), value)));
            }
            new.extend(rest);
            if new != old {
                write(batch, &first, &new);
            }
        }
        Ok(())
    }

    /// The page that has the row when there is one.
    fn page_of(&self, key: &[u8]) -> sled::Result<Option<(sled::IVec, sled::IVec)>> {
        // The least key that is greater.
        let after = [key, &[0]].concat();
        Ok(self.0.get_lt(after)?.filter(|(first, _)| first != META))
    }

    /// The pages that have rows of a range.
    fn pages(&self, (lower, upper): &Range) -> sled::Result<sled::Iter> {
        let from = match lower {
            Bound::Included(lower) | Bound::Excluded(lower) => {
                self.page_of(lower)?.map_or_else(|| lower.clone(), |(first, _)| first.to_vec())
            }
            Bound::Unbounded => [META, &[0]].concat(),
        };
        Ok(self.0.range((Bound::Included(from), upper.clone())))
    }
}

/// A page anew, in as many as it takes; none without rows.
fn write(batch: &mut sled::Batch, first: &[u8], rows: &[(&[u8], &[u8])]) {
    if rows.is_empty() {
        batch.remove(first);
        return;
    }
    let all: usize = rows.iter().map(|(key, value)| 8 + key.len() + value.len()).sum();
    let each = all / all.div_ceil(PAGE_BYTES);
    let (mut page, mut of) = (Vec::with_capacity(each), first);
    for (key, value) in rows {
        if page.len() >= each {
            batch.insert(of, std::mem::take(&mut page));
            of = key;
        }
        for part in [key, value] {
            page.extend_from_slice(&(part.len() as u32).to_be_bytes());
        }
        page.extend_from_slice(key);
        page.extend_from_slice(value);
    }
    batch.insert(of, page);
}

/// The rows of a page: of each the lengths of key and value, 4 octets each, then key and value.
pub(super) struct PageRows<'a>(pub(super) &'a [u8]);

impl<'a> PageRows<'a> {
    fn take(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let (lengths, rest) = self.0.split_first_chunk::<8>()?;
        let [key, value] = [0, 4].map(|at| {
            let [a, b, c, d] = [lengths[at], lengths[at + 1], lengths[at + 2], lengths[at + 3]];
            u32::from_be_bytes([a, b, c, d]) as usize
        });
        let (key, rest) = rest.split_at_checked(key)?;
        let (value, rest) = rest.split_at_checked(value)?;
        self.0 = rest;
        Some((key, value))
    }
}

impl<'a> Iterator for PageRows<'a> {
    type Item = sled::Result<(&'a [u8], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let row = self.take();
        if row.is_none() {
            self.0 = &[];
        }
        Some(
            row.ok_or_else(|| sled::Error::Io(io::Error::new(io::ErrorKind::InvalidData, "a page of rows is damaged"))),
        )
    }
}

/// The rows of pages that are within the range. One that was cut after it was read comes twice: `is_next` tells.
fn rows(
    pages: impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>,
    range: Range,
    turned: impl Fn(Vec<Row>) -> Vec<Row>,
    is_next: impl Fn(&[u8], &[u8]) -> bool,
) -> impl Iterator<Item = sled::Result<Row>> {
    let mut last = None::<Vec<u8>>;
    let read = move |page: sled::Result<(sled::IVec, sled::IVec)>| -> sled::Result<Vec<Row>> {
        let (_, page) = page?;
        let mut found = Vec::new();
        for row in PageRows(&page) {
            let (key, value) = row?;
            let within = std::ops::RangeBounds::<[u8]>::contains(
                &(range.0.as_ref().map(Vec::as_slice), range.1.as_ref().map(Vec::as_slice)),
                key,
            );
            if within && last.as_deref().is_none_or(|last| is_next(key, last)) {
                found.push((key.to_vec(), value.to_vec()));
            }
        }
        let found = turned(found);
        if let Some((key, _)) = found.last() {
            last = Some(key.clone());
        }
        Ok(found)
    };
    pages.map(read).flat_map(|page| match page {
        Ok(rows) => rows.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use proptest::prelude::*;

    use super::*;

    type Changes = Vec<(u16, Option<u8>)>;

    fn staged(changes: &Changes) -> Staged {
        let row = |(key, length): &(u16, Option<u8>)| {
            // Long and short ones, so that keys and pages are of many sizes.
            let key = format!("tree\0{}{key}", "k".repeat(usize::from(key % 5) * 9)).into_bytes();
            (key, length.map(|length| Arc::from(vec![length; usize::from(length) * 3])))
        };
        changes.iter().map(row).collect()
    }

    fn written(pages: &Pages, changes: &Staged) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let (mut batch, mut before) = (sled::Batch::default(), Vec::new());
        batch.insert(META, "about the rows");
        pages.stage(changes, &mut batch, |key, old, _| before.push((key.to_vec(), old.map(<[u8]>::to_vec)))).unwrap();
        pages.0.apply_batch(batch).unwrap();
        before
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Batches of rows made, replaced and removed in any order leave what a sorted map has: row by row, in both
        /// directions and between any bounds; each batch is shown what was there.
        #[test]
        fn pages_hold_what_a_map_holds(
            batches in prop::collection::vec(
                prop::collection::vec((0u16..400, prop::option::weighted(0.7, any::<u8>())), 1..120), 1..12),
            bounds in prop::collection::vec((0u16..400, 0u16..400, any::<bool>()), 4),
        ) {
            let pages = Pages(sled::Config::new().temporary(true).open().unwrap());
            let mut expected = BTreeMap::new();
            for batch in &batches {
                let batch = staged(batch);
                for (key, old) in written(&pages, &batch) {
                    prop_assert_eq!(old.as_ref(), expected.get(&key));
                }
                for (key, value) in &batch {
                    match value {
                        Some(value) => drop(expected.insert(key.clone(), value.to_vec())),
                        None => drop(expected.remove(key)),
                    }
                }
            }
            for key in staged(&(0..400).map(|key| (key, None)).collect()).into_keys() {
                let found = pages.get(&key).unwrap();
                prop_assert_eq!(found.as_ref(), expected.get(&key));
            }
            for (lower, upper, excluded) in bounds {
                let keys: Vec<_> = staged(&vec![(lower, None), (upper, None)]).into_keys().collect();
                let (lower, upper) = (keys[0].clone(), keys[keys.len() - 1].clone());
                let lower = if excluded { Bound::Excluded(lower) } else { Bound::Included(lower) };
                let range = (lower, Bound::Included(upper));
                if range.0 == Bound::Excluded(keys[keys.len() - 1].clone()) {
                    continue;
                }
                let mut rows: Vec<Row> =
                    expected.range(range.clone()).map(|(key, value)| (key.clone(), value.clone())).collect();
                let up: Vec<Row> = pages.ascending(range.clone()).unwrap().map(Result::unwrap).collect();
                prop_assert_eq!(&up, &rows);
                rows.reverse();
                let down: Vec<Row> = pages.descending(range).unwrap().map(Result::unwrap).collect();
                prop_assert_eq!(down, rows);
            }
            let entries = pages.0.iter().skip(1).map(Result::unwrap).collect::<Vec<_>>();
            prop_assert!(entries.iter().all(|(_, page)| !page.is_empty()));
        }
    }

    /// A thousand small rows take some fifty entries of sled's, appended one by one or at random.
    #[test]
    fn rows_share_entries() {
        for step in [1u32, 733] {
            let pages = Pages(sled::Config::new().temporary(true).open().unwrap());
            for number in 0..1000 {
                let key = format!("tree\0{:06}", number * step % 1000).into_bytes();
                written(&pages, &Staged::from([(key, Some(Arc::from(&b"0123456789abcdef"[..])))]));
            }
            let entries = pages.0.len() - 1;
            assert!((35..=80).contains(&entries), "{entries}");
        }
    }

    /// A page that was cut in the middle is an error, not fewer rows.
    #[test]
    fn a_damaged_page_is_told() {
        let pages = Pages(sled::Config::new().temporary(true).open().unwrap());
        written(&pages, &staged(&vec![(1, Some(9)), (2, Some(9))]));
        let (key, page) = pages.0.last().unwrap().unwrap();
        for length in 1..page.len() {
            pages.0.insert(&key, &page[..length]).unwrap();
            let all = (Bound::Included(vec![1]), Bound::Excluded(vec![255]));
            let read: sled::Result<Vec<Row>> = pages.ascending(all).unwrap().collect();
            // Between two rows it is whole: the checksum over all rows tells.
            assert!(read.is_err() || read.unwrap().len() == 1, "{length}");
        }
    }
}
