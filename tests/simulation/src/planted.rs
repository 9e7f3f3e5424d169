//! Bugs that are planted in the simulation's own adapters, to see that its rules find them.

/// Which bugs are planted. None, unless a feature or a test says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Planted {
    /// The place of a key is not looked at: it always seems empty, and what is there is replaced.
    pub generate_without_looking: bool,
    /// Nobody waits for the disk: neither who scanned, nor an act that cannot be undone, nor the CA.
    pub ack_before_sync: bool,
    /// What waits for the CA when the station starts is not sent any more.
    pub forget_queue_on_restart: bool,
    /// The CA makes another certificate each time it is asked for the same issuance.
    pub mint_again: bool,
}

impl Planted {
    /// What this build's features plant.
    #[must_use]
    pub fn by_features() -> Self {
        Self {
            generate_without_looking: cfg!(feature = "planted-generate-without-looking"),
            ack_before_sync: cfg!(feature = "planted-ack-before-sync"),
            forget_queue_on_restart: cfg!(feature = "planted-forget-queue-on-restart"),
            mint_again: cfg!(feature = "planted-mint-again"),
        }
    }
}
