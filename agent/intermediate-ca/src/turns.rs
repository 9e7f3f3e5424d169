//! Whose turn it is. The CA works on some hundred requests at a time; beyond that callers take turns, call by call, so that
//! one that floods it with batches keeps nobody else waiting for more than one of them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::authority::BATCH_MAX;

/// Requests at work: enough that token and disk are shared by many, and a tenth of a second of a fast CA, so that nobody's
/// turn is long in coming.
const AT_WORK_MAX: usize = 4 * BATCH_MAX;

/// Requests of one caller that may wait: a station has one batch under way, and a restarted one another.
const WAITING_MAX: usize = 16 * BATCH_MAX;

/// Everybody's turns. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    at_work: usize,
    /// Those who wait, each once, in the order of their turns.
    order: VecDeque<Arc<str>>,
    waiting: BTreeMap<Arc<str>, VecDeque<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    requests: usize,
    go: oneshot::Sender<Turn>,
}

/// The right to have so many requests worked on, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    requests: usize,
}

/// A caller has as much waiting as one may.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Turns {
    /// Waits for the caller's turn with so many requests.
    pub(crate) async fn take(&self, caller: &Arc<str>, requests: usize) -> Result<Turn, TooMany> {
        let turn = {
            let mut state = self.lock();
            if state.order.is_empty() && state.at_work < AT_WORK_MAX {
                state.at_work += requests;
                return Ok(Turn { turns: self.clone(), requests });
            }
            let own = state.waiting.entry(caller.clone()).or_default();
            if own.iter().map(|waiting| waiting.requests).sum::<usize>() + requests > WAITING_MAX {
                return Err(TooMany);
            }
            let is_first = own.is_empty();
            let (go, turn) = oneshot::channel();
            own.push_back(Waiting { requests, go });
            if is_first {
                state.order.push_back(caller.clone());
            }
            turn
        };
        // A sender is dropped only with all turns.
        turn.await.map_err(|_| TooMany)
    }

    /// Requests at work, and requests that wait.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.at_work, state.waiting.values().flatten().map(|waiting| waiting.requests).sum())
    }

    /// How many calls of a caller wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self, caller: &str) -> usize {
        self.lock().waiting.get(caller).map_or(0, VecDeque::len)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two statements that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Who is next, once there is room.
    fn next(&mut self) -> Option<Waiting> {
        if self.at_work >= AT_WORK_MAX {
            return None;
        }
        let caller = self.order.pop_front()?;
        let own = self.waiting.get_mut(&caller)?;
        let next = own.pop_front()?;
        if own.is_empty() {
            self.waiting.remove(&caller);
        } else {
            self.order.push_back(caller);
        }
        self.at_work += next.requests;
        Some(next)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        state.at_work -= self.requests;
        let next: Vec<Waiting> = std::iter::from_fn(|| state.next()).collect();
        drop(state);
        for Waiting { requests, go } in next {
            // Who waited may have gone: then its turn comes back here, and is the next one's.
            let _ = go.send(Turn { turns: self.turns.clone(), requests });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    type Taking<'a> = Pin<Box<dyn Future<Output = Result<Turn, TooMany>> + 'a>>;

    fn look<'a>(taking: &mut Taking<'a>) -> Option<Result<Turn, TooMany>> {
        match taking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    /// While one caller has sixteen batches waiting, another's single request is next but for what is at work, and then they
    /// take turns.
    #[test]
    fn a_flood_keeps_nobody_waiting() {
        let turns = Turns::default();
        let [flood, other]: [Arc<str>; 2] = ["flood".into(), "other".into()];
        let mut taken: Vec<Taking<'_>> = (0..20).map(|_| Box::pin(turns.take(&flood, BATCH_MAX)) as _).collect();
        let mut at_work: VecDeque<Turn> = taken.iter_mut().filter_map(look).map(Result::unwrap).collect();
        assert_eq!(at_work.len(), 4);
        let mut late: [Taking<'_>; 2] = [Box::pin(turns.take(&other, 1)), Box::pin(turns.take(&other, 1))];
        assert!(late.iter_mut().all(|taking| look(taking).is_none()));
        // The flood was first in the order: a batch of it, then the other's first request.
        drop(at_work.pop_front());
        assert!(look(&mut late[0]).is_none());
        drop(at_work.pop_front());
        let first = look(&mut late[0]).expect("its turn").unwrap();
        assert!(look(&mut late[1]).is_none());
        let next: Vec<_> = taken[4..].iter_mut().filter_map(look).collect();
        assert_eq!(next.len(), 2, "batches of the flood, of sixteen");
        drop(first);
    }

    /// What a caller has waiting is bounded, and its bound is nobody else's.
    #[test]
    fn what_waits_is_bounded() {
        let turns = Turns::default();
        let [flood, other]: [Arc<str>; 2] = ["flood".into(), "other".into()];
        let mut taken: Vec<Taking<'_>> = (0..20).map(|_| Box::pin(turns.take(&flood, BATCH_MAX)) as _).collect();
        let _at_work: Vec<_> = taken.iter_mut().filter_map(look).collect();
        let mut beyond: Taking<'_> = Box::pin(turns.take(&flood, 1));
        assert!(matches!(look(&mut beyond), Some(Err(TooMany))));
        let mut patient: Taking<'_> = Box::pin(turns.take(&other, 1));
        assert!(look(&mut patient).is_none());
    }

    /// Who goes away while waiting leaves its place to the next.
    #[test]
    fn who_goes_leaves_its_place() {
        let turns = Turns::default();
        let [gone, other]: [Arc<str>; 2] = ["gone".into(), "other".into()];
        let mut whole: Taking<'_> = Box::pin(turns.take(&gone, AT_WORK_MAX));
        let turn = look(&mut whole).unwrap().unwrap();
        let mut waiting: Taking<'_> = Box::pin(turns.take(&gone, AT_WORK_MAX));
        assert!(look(&mut waiting).is_none());
        let mut patient: Taking<'_> = Box::pin(turns.take(&other, 1));
        assert!(look(&mut patient).is_none());
        drop(waiting);
        drop(turn);
        assert!(look(&mut patient).unwrap().is_ok());
    }
}
