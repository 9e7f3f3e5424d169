//! How long a busy TPM is waited for.

use std::time::{Duration, Instant};

/// In all, before a caller hears of it. A TPM that tests itself or limits its NV writes is done within seconds; the
/// shortest deadline of a worker is 30 s.
const IN_ALL: Duration = Duration::from_secs(5);
/// libtss2 has sent a command five times already, without a pause, when it tells of TPM_RC_RETRY.
const FIRST: Duration = Duration::from_millis(10);
const MOST: Duration = Duration::from_millis(500);

/// Pauses that grow, until patience ends.
#[derive(Debug)]
pub(super) struct Patience {
    end: Instant,
    next: Duration,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { end: Instant::now() + IN_ALL, next: FIRST }
    }

    /// Waits, and says that it is worth trying again; false at once when it is not.
    pub(super) fn wait(&mut self) -> bool {
        if Instant::now() + self.next > self.end {
            return false;
        }
        std::thread::sleep(self.next);
        self.next = (self.next * 2).min(MOST);
        true
    }
}
