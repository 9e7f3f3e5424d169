//! The sessions with one token: one for what is done once, and for signatures as many as are of use.
//!
//! A login is the token's (PKCS#11 v3.1, 5.6.8): a session that is opened beside one that is logged in is logged in. What was
//! looked up in a session ends with it. A session that is lost is left out, and another one takes its work; only when none is
//! left is everything built anew.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    thread,
    time::{Duration, Instant},
};

use cryptoki::{
    context::Pkcs11 as Library,
    session::Session,
    slot::{Limit, Slot},
};
use issuance::{Fault, FaultKind, public_key::Hash};

use super::{
    Place,
    fault::{Failure, during},
    key::{self, SigningKey},
};

/// What a session of its own must have to do: a thread's start is some twentieth of a millisecond, and a token in this machine's
/// memory signs dozens of messages meanwhile, best in one session.
const WORTH: Duration = Duration::from_millis(2);

/// A token that gave no further session is asked for one again after this long: who has the others may need a while.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// So many as are wanted and the token allows; what it does not tell is no limit, and its answer to C_OpenSession is.
pub(super) fn allowed(wanted: NonZeroUsize, all: Limit, read_write: Limit) -> NonZeroUsize {
    let limits = [all, read_write].into_iter().filter_map(|limit| match limit {
        Limit::Max(most) => NonZeroUsize::new(usize::try_from(most).unwrap_or(usize::MAX)),
        Limit::Unavailable | Limit::Infinite => None,
    });
    limits.fold(wanted, NonZeroUsize::min)
}

/// How many sessions so many messages are worth, when each takes so long. Of a token that has not signed yet, nobody knows: one
/// for each.
fn of_use(messages: usize, each: Option<Duration>) -> usize {
    let worth = each.map_or(messages, |each| {
        let whole = each.as_micros().saturating_mul(messages as u128) / WORTH.as_micros();
        usize::try_from(whole).unwrap_or(usize::MAX).max(1)
    });
    worth.min(messages)
}

/// A session, and by CKA_ID what signed in it. A handle is worth nothing in another session, and ends with its object: then
/// the module says so, and the next session looks it up again.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) session: Session,
    pub(super) keys: BTreeMap<Vec<u8>, SigningKey>,
}

/// A message, and the place of its signature.
type Unsigned<'m> = (&'m Vec<u8>, &'m mut Option<Vec<u8>>);

/// Signs them in one session, and tells what the quickest took: the others may have waited for the processor.
fn sign_all(
    signer: &mut Signer,
    place: Place<'_>,
    hash: Option<Hash>,
    part: &mut [Unsigned<'_>],
) -> Result<Option<Duration>, Failure> {
    let mut quickest = None;
    for (message, signature) in part {
        let began = Instant::now();
        **signature = Some(key::sign(signer, place, hash, message)?);
        let took = began.elapsed();
        quickest = Some(quickest.map_or(took, |quickest: Duration| quickest.min(took)));
    }
    Ok(quickest)
}

/// All of them.
#[derive(Debug)]
pub(super) struct Sessions {
    library: Library,
    slot: Slot,
    most: NonZeroUsize,
    /// Not asked for another one before this.
    enough_until: Option<Instant>,
    /// What the quickest signature of the last visit took.
    each: Option<Duration>,
    signers: Vec<Signer>,
}

impl Sessions {
    /// Begins with one that is logged in.
    pub(super) fn new(library: Library, slot: Slot, first: Session, most: NonZeroUsize) -> Self {
        let first = Signer { session: first, keys: BTreeMap::new() };
        Self { library, slot, most, enough_until: None, each: None, signers: vec![first] }
    }

    /// Runs `act` in a session; in another one, when that was lost, as long as there is one.
    pub(super) fn run<T>(&mut self, mut act: impl FnMut(&Session) -> Result<T, Failure>) -> Result<T, Failure> {
        loop {
            let Some(signer) = self.signers.first() else { return Err(none_left().into()) };
            match act(&signer.session) {
                Err(failure) if failure.is_of_a_lost_session() && self.signers.len() > 1 => {
                    drop(self.signers.remove(0));
                }
                other => return other,
            }
        }
    }

    /// Signs each message, in order, shared among as many sessions as are of use and to be had; with this hash or the key's own.
    pub(super) fn sign(
        &mut self,
        place: Place<'_>,
        hash: Option<Hash>,
        messages: &[Vec<u8>],
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let sessions = of_use(messages.len(), self.each).min(self.most.get());
        self.grow(sessions);
        let mut signed: Vec<Option<Vec<u8>>> = vec![None; messages.len()];
        loop {
            let left: Vec<Unsigned<'_>> =
                messages.iter().zip(&mut signed).filter(|(_, signature)| signature.is_none()).collect();
            if left.is_empty() {
                return Ok(signed.into_iter().flatten().collect());
            }
            self.share(place, hash, left, sessions)?;
        }
    }

    /// Has so many sessions sign their shares. What a lost one left is for the others; none left is an error.
    fn share(
        &mut self,
        place: Place<'_>,
        hash: Option<Hash>,
        mut left: Vec<Unsigned<'_>>,
        sessions: usize,
    ) -> Result<(), Failure> {
        let each = left.len().div_ceil(sessions.clamp(1, self.signers.len().max(1)));
        let outcomes: Vec<Result<Option<Duration>, Failure>> = thread::scope(|scope| {
            let mut parts = self.signers.iter_mut().zip(left.chunks_mut(each));
            let own = parts.next();
            let others: Vec<_> =
                parts.map(|(signer, part)| scope.spawn(move || sign_all(signer, place, hash, part))).collect();
            let own = own.map_or(Ok(None), |(signer, part)| sign_all(signer, place, hash, part));
            let others = others.into_iter().map(|other| other.join().unwrap_or_else(|_| Err(broken_off().into())));
            std::iter::once(own).chain(others).collect()
        });
        if let Some(quickest) = outcomes.iter().flatten().flatten().min() {
            self.each = Some(*quickest);
        }
        let (mut lost, mut told) = (none_left().into(), None);
        // From the last, so that those before it keep their places.
        for (number, outcome) in outcomes.into_iter().enumerate().rev() {
            match outcome {
                Err(failure) if failure.is_of_a_lost_session() && number < self.signers.len() => {
                    drop(self.signers.remove(number));
                    lost = failure;
                }
                Err(failure) => told = Some(failure),
                Ok(_) => {}
            }
        }
        if self.signers.is_empty() { Err(lost) } else { told.map_or(Ok(()), Err) }
    }

    /// Opens what is missing of so many. A token that gives no more is worked with as it is.
    fn grow(&mut self, wanted: usize) {
        if self.signers.is_empty() || self.enough_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.enough_until = None;
        while self.signers.len() < wanted {
            match self.library.open_rw_session(self.slot) {
                Ok(session) => self.signers.push(Signer { session, keys: BTreeMap::new() }),
                Err(error) => {
                    let fault = during("could not open another session")(error);
                    tracing::info!(%fault, sessions = self.signers.len(), "signing goes on with the sessions there are");
                    self.enough_until = Some(Instant::now() + ASK_AGAIN);
                    return;
                }
            }
        }
    }
}

fn none_left() -> Fault {
    Fault::new(FaultKind::SessionLost, "no session with the token is left")
}

fn broken_off() -> Fault {
    Fault::new(FaultKind::WorkerCrashed, "a signing session was broken off")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token in memory signs a few dozen messages in one session, a hundred and more in several; one that is a network away has
    /// a session for each message; of one that has not signed yet, the slower is believed.
    #[test]
    fn sessions_are_for_what_takes_long() {
        let (fast, slow) = (Some(Duration::from_micros(60)), Some(Duration::from_millis(5)));
        for (messages, each, expected) in
            [(1, fast, 1), (32, fast, 1), (128, fast, 3), (1, slow, 1), (7, slow, 7), (7, None, 7), (0, fast, 0)]
        {
            assert_eq!(of_use(messages, each), expected, "{messages} of {each:?}");
        }
    }

    /// The least of what is wanted and what the token allows; a limit that is not told, or that is nonsense, is none.
    #[test]
    fn a_token_bounds_its_sessions() {
        let four = NonZeroUsize::new(4).unwrap();
        for (all, read_write, expected) in [
            (Limit::Infinite, Limit::Unavailable, 4),
            (Limit::Max(100), Limit::Max(3), 3),
            (Limit::Max(1), Limit::Infinite, 1),
            (Limit::Max(u64::MAX), Limit::Max(0), 4),
        ] {
            assert_eq!(allowed(four, all, read_write).get(), expected, "{all:?} {read_write:?}");
        }
    }
}
