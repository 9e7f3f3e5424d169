//! Wrong passwords, counted by user and address, so that nobody guesses on and on.
//!
//! Who sent a few wrong ones is not listened to for a while, and twice as long after the next: also with the right one,
//! else the pause would tell which it is. Another address is not kept waiting, for then anybody could lock a line out;
//! nor is a client certificate.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use issuance::public_key::sha256;

/// A password that was just changed, and a client that repeats itself.
const FREE_OF_USER: u32 = 5;
/// A line of devices behind one address, each with a user of its own.
const FREE_OF_ADDRESS: u32 = 50;
/// The first pause. A password has 16 characters or more: what is to be slowed down is a machine's guessing.
const PAUSE_FIRST: Duration = Duration::from_secs(30);
/// The longest one: a person who put things right does not wait longer.
const PAUSE_MOST: Duration = Duration::from_secs(15 * 60);
/// Who has sent none for so long begins anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);
/// Some hundred bytes each; beyond, whoever was quiet longest is forgotten.
const KEPT_MAX: usize = 4_096;

/// Whose attempts are counted: an address, and a user there by the SHA-256 of what was sent, or all of them.
type Who = (IpAddr, Option<[u8; 32]>);

#[derive(Debug)]
struct Wrong {
    count: u32,
    last: Instant,
    /// Before this, nothing is listened to.
    until: Instant,
}

/// Who sent wrong passwords.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<HashMap<Who, Wrong>>);

impl Attempts {
    /// Whether a password is looked at; the error is how long it will not be.
    pub(super) fn admit(&self, address: IpAddr, user: &[u8], now: Instant) -> Result<(), Duration> {
        let kept = self.lock();
        let wait = |who| kept.get(&who).map_or(Duration::ZERO, |wrong| wrong.until.saturating_duration_since(now));
        let [address, user] = whose(address, user).map(wait);
        match address.max(user) {
            Duration::ZERO => Ok(()),
            wait => Err(wait),
        }
    }

    /// Takes down a wrong password.
    pub(super) fn wrong(&self, address: IpAddr, user: &[u8], now: Instant) {
        let mut kept = self.lock();
        for (who, free) in whose(address, user).into_iter().zip([FREE_OF_ADDRESS, FREE_OF_USER]) {
            if kept.len() >= KEPT_MAX && !kept.contains_key(&who) {
                kept.retain(|_, wrong| now.duration_since(wrong.last) < FORGOTTEN_AFTER);
                let quietest = kept.iter().min_by_key(|(_, wrong)| wrong.last).map(|(who, _)| *who);
                if let Some(quietest) = quietest.filter(|_| kept.len() >= KEPT_MAX) {
                    kept.remove(&quietest);
                }
            }
            let wrong = kept.entry(who).or_insert(Wrong { count: 0, last: now, until: now });
            if now.duration_since(wrong.last) >= FORGOTTEN_AFTER {
                wrong.count = 0;
            }
            (wrong.count, wrong.last) = (wrong.count.saturating_add(1), now);
            if let Some(beyond) = wrong.count.checked_sub(free) {
                wrong.until = now + PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(beyond)).min(PAUSE_MOST);
            }
        }
    }

    /// The right password: the user's wrong ones are forgotten, not those that the address sent for others.
    pub(super) fn right(&self, address: IpAddr, user: &[u8]) {
        self.lock().remove(&whose(address, user)[1]);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Who, Wrong>> {
        // The map is whole after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address alone, and the user there.
fn whose(address: IpAddr, user: &[u8]) -> [Who; 2] {
    let address = match address.to_canonical() {
        // Who has one address of IPv6 has its whole /64.
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    };
    [(address, None), (address, Some(sha256(user)))]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five wrong ones are answered, then there is a pause, then a longer one; another address, and later another user,
    /// are none the worse. What was sent is told the time, so that the test waits for nothing.
    #[test]
    fn wrong_passwords_make_pauses() {
        let attempts = Attempts::default();
        let [here, there]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let start = Instant::now();
        for _ in 0..FREE_OF_USER {
            assert_eq!(attempts.admit(here, b"line", start), Ok(()));
            attempts.wrong(here, b"line", start);
        }
        assert_eq!(attempts.admit(here, b"line", start), Err(PAUSE_FIRST));
        assert_eq!(attempts.admit(there, b"line", start), Ok(()));
        assert_eq!(attempts.admit(here, b"other", start), Ok(()));
        let later = start + PAUSE_FIRST;
        assert_eq!(attempts.admit(here, b"line", later), Ok(()));
        attempts.wrong(here, b"line", later);
        assert_eq!(attempts.admit(here, b"line", later), Err(2 * PAUSE_FIRST));
        let much_later = later + FORGOTTEN_AFTER;
        attempts.wrong(here, b"line", much_later);
        assert_eq!(attempts.admit(here, b"line", much_later), Ok(()), "it began anew");
        for _ in 0..60 {
            attempts.wrong(there, b"line", start);
        }
        assert_eq!(attempts.admit(there, b"line", start), Err(PAUSE_MOST), "no pause is longer");
        attempts.right(here, b"line");
        assert_eq!(attempts.admit(here, b"line", start), Ok(()));
    }

    /// A machine that tries user after user is kept waiting as well; its neighbours in the /64 are it.
    #[test]
    fn an_address_that_tries_many_users_waits() {
        let attempts = Attempts::default();
        let [here, beside, there]: [IpAddr; 3] =
            ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"].map(|text| text.parse().unwrap());
        let start = Instant::now();
        for number in 0..FREE_OF_ADDRESS {
            attempts.wrong(here, &number.to_be_bytes(), start);
        }
        assert_eq!(attempts.admit(beside, b"line", start), Err(PAUSE_FIRST));
        assert_eq!(attempts.admit(there, b"line", start), Ok(()));
    }

    /// However many users and addresses are tried, so many are kept and no more: whoever was quiet longest is forgotten.
    #[test]
    fn what_is_kept_is_bounded() {
        let attempts = Attempts::default();
        let start = Instant::now();
        let tried = KEPT_MAX as u32 / 2 + 100;
        for number in 0..tried {
            let address = std::net::Ipv4Addr::from_bits(number);
            attempts.wrong(address.into(), b"line", start + Duration::from_millis(number.into()));
        }
        let kept = attempts.lock();
        assert!(kept.len() <= KEPT_MAX, "{}", kept.len());
        let is_kept = |number: u32| kept.contains_key(&(std::net::Ipv4Addr::from_bits(number).into(), None));
        assert!(!is_kept(0) && is_kept(tried - 1));
    }
}
