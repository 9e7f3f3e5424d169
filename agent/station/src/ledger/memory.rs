//! What the ledger keeps at hand, so that the journal is not read again: never more than it says, and always to be made
//! anew from the journal.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use issuance::{Issuance, IssuanceId, Timestamp};

/// Issuances kept whole, at some 5 KiB each. Four times the CA's largest batch, so that a batch is read once; a hundred
/// thousand that wait for the CA stay on the disk.
const RECENT_MOST: usize = 1024;

/// What is under the ledger's lock.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) recent: Recent,
    pub(super) queue: Queue,
    /// Issuances in which a supervisor is to decide whether they are submitted again.
    pub(super) doubts: HashSet<IssuanceId>,
}

/// The issuances that were changed or asked for of late, as they stand.
#[derive(Default)]
pub(super) struct Recent {
    issuances: HashMap<IssuanceId, Issuance>,
    /// In the order in which they came; the oldest leaves first.
    order: VecDeque<IssuanceId>,
}

impl Recent {
    pub(super) fn get(&self, id: IssuanceId) -> Option<&Issuance> {
        self.issuances.get(&id)
    }

    pub(super) fn put(&mut self, issuance: Issuance) {
        let id = issuance.id;
        if self.issuances.insert(id, issuance).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > RECENT_MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.issuances.remove(&oldest);
        }
    }
}

/// A submission without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Whose.
    pub issuance: IssuanceId,
    /// Since when.
    pub since: Timestamp,
}

/// Submissions without an answer, in the order of their records.
#[derive(Default)]
pub(super) struct Queue {
    waiting: BTreeMap<u64, Waiting>,
    /// Where each stands: an answer must not search a hundred thousand.
    places: HashMap<IssuanceId, u64>,
}

impl Queue {
    pub(super) fn put(&mut self, index: u64, waiting: Waiting) {
        self.places.insert(waiting.issuance, index);
        self.waiting.insert(index, waiting);
    }

    pub(super) fn remove(&mut self, issuance: IssuanceId) {
        if let Some(index) = self.places.remove(&issuance) {
            self.waiting.remove(&index);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn contains(&self, issuance: IssuanceId) -> bool {
        self.places.contains_key(&issuance)
    }

    pub(super) fn since(&self, issuance: IssuanceId) -> Option<Timestamp> {
        let index = self.places.get(&issuance)?;
        self.waiting.get(index).map(|waiting| waiting.since)
    }

    pub(super) fn oldest(&self) -> Option<&Waiting> {
        self.waiting.values().next()
    }

    /// Those whose record has an index below `end`.
    pub(super) fn until(&self, end: u64) -> impl Iterator<Item = &Waiting> {
        self.waiting.range(..end).map(|(_, waiting)| waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn id(number: u128) -> IssuanceId {
        IssuanceId::from_uuid(Uuid::from_u128(number))
    }

    /// The queue keeps the order of the records, whoever is answered first.
    #[test]
    fn the_queue_keeps_its_order() {
        let mut queue = Queue::default();
        for number in [5, 3, 9] {
            queue.put(number, Waiting { issuance: id(number.into()), since: Timestamp(0) });
        }
        let all = |queue: &Queue, end| queue.until(end).map(|waiting| waiting.issuance).collect::<Vec<_>>();
        assert_eq!(all(&queue, 9), [id(3), id(5)]);
        queue.remove(id(3));
        queue.remove(id(3));
        assert_eq!((all(&queue, 10), queue.len()), (vec![id(5), id(9)], 2));
        assert_eq!(queue.oldest().map(|waiting| waiting.issuance), Some(id(5)));
        assert!(queue.contains(id(9)) && !queue.contains(id(3)));
    }
}
