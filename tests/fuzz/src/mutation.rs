//! Mutations that are the same in every run: what `make test` does where there is no libFuzzer.

/// SplitMix64: a few lines, and the same numbers for the same seed everywhere.
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        // A usize has at most 64 bits.
        (self.next() % bound as u64) as usize
    }
}

/// An input, changed in one to four places; `other` is another seed of the door.
#[must_use]
pub fn mutated(input: &[u8], other: &[u8], octets_most: usize, numbers: &mut Numbers) -> Vec<u8> {
    /// What parsers stumble over: the ends of ranges, and lengths that say too much.
    const WORTH_TRYING: [u8; 8] = [0x00, 0x01, 0x7F, 0x80, 0x81, 0x84, 0xFE, 0xFF];
    let mut changed = input.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(changed.len() + 1);
        let end = (at + 1 + numbers.below(8)).min(changed.len());
        match numbers.below(7) {
            0 => changed.truncate(at),
            1 => drop(changed.drain(at..end)),
            2 => changed.insert(at, WORTH_TRYING[numbers.below(WORTH_TRYING.len())]),
            3 => changed.iter_mut().skip(at).take(1).for_each(|octet| *octet = WORTH_TRYING[numbers.below(8)]),
            4 => changed.iter_mut().skip(at).take(1).for_each(|octet| *octet ^= 1 << numbers.below(8)),
            5 => {
                let repeated = changed[at..end].to_vec();
                changed.splice(at..at, repeated);
            }
            _ if other.is_empty() => {}
            _ => {
                let from = numbers.below(other.len());
                let until = (from + 1 + numbers.below(64)).min(other.len());
                changed.splice(at..end, other[from..until].iter().copied());
            }
        }
    }
    changed.truncate(octets_most);
    changed
}
