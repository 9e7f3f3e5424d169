//! How long a busy TPM is waited for.

use std::time::Duration;

/// The sum of all pauses, before a caller hears of it. A TPM that tests itself or limits its NV writes is done within seconds; the
/// shortest deadline of a worker is 30 s.
const IN_ALL: Duration = Duration::from_secs(5);
/// libtss2 has sent a command five times already, without a pause, when it tells of TPM_RC_RETRY.
const FIRST: Duration = Duration::from_millis(10);
const MOST: Duration = Duration::from_millis(500);

/// Pauses that grow, until patience ends.
#[derive(Debug)]
pub(super) struct Patience {
    left: Duration,
    next: Duration,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { left: IN_ALL, next: FIRST }
    }

    /// Waits, and says that it is worth trying again; false at once when it is not.
    pub(super) fn wait(&mut self) -> bool {
        let Some(left) = self.left.checked_sub(self.next) else { return false };
        self.left = left;
        std::thread::sleep(self.next);
        self.next = (self.next * 2).min(MOST);
        true
    }
}
