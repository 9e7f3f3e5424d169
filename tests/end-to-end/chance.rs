//! Random moments that can be had again: the seed is told when a test fails.

use std::{
    env,
    hash::{BuildHasher as _, Hasher as _, RandomState},
};

/// A xorshift generator (Marsaglia 2003), seeded from `END_TO_END_SEED` or at random.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new() -> Self {
        let seed = env::var("END_TO_END_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        println!("END_TO_END_SEED={seed}");
        Self(seed.max(1))
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound
    }
}
