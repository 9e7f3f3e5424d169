//! Records whose content follows from a seed, the run that wrote them, and their index.

use crate::{Broken, chance::Chance};

/// Bytes of the shortest record.
pub const SHORTEST: u64 = 100;
/// Bytes of the longest record.
pub const LONGEST: u64 = 2000;
const HEAD: usize = 16;

/// The record that run `run` writes at `index`: run, index, then 84 to 1984 bytes that follow from all three.
pub fn record(seed: u64, run: u64, index: u64) -> Vec<u8> {
    let mut chance = Chance::new(seed ^ run.rotate_left(32) ^ index.rotate_left(8));
    let length = (SHORTEST + chance.below(LONGEST - SHORTEST + 1)) as usize;
    let mut bytes = Vec::with_capacity(length + 8);
    bytes.extend_from_slice(&run.to_be_bytes());
    bytes.extend_from_slice(&index.to_be_bytes());
    while bytes.len() < length {
        bytes.extend_from_slice(&chance.bits().to_be_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The run that wrote these bytes, when they are the record that it writes at `index`.
///
/// # Errors
/// Any other bytes, in words.
pub fn check(seed: u64, index: u64, bytes: &[u8]) -> Result<u64, Broken> {
    let run = bytes.first_chunk().map(|run| u64::from_be_bytes(*run));
    match run {
        Some(run) if bytes.len() > HEAD && bytes == record(seed, run, index) => Ok(run),
        _ => Err(format!("record {index} has {} bytes that nobody wrote there", bytes.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every record is recognised at its index, and neither at another nor with a flipped bit.
    #[test]
    fn a_record_is_itself_alone() {
        for index in 0..200 {
            let mut bytes = record(7, 3, index);
            assert!((100..=2000).contains(&bytes.len()));
            assert_eq!(check(7, index, &bytes), Ok(3));
            assert!(check(7, index + 1, &bytes).is_err() && check(8, index, &bytes).is_err());
            let at = bytes.len() - 1;
            bytes[at] ^= 1;
            assert!(check(7, index, &bytes).is_err());
        }
    }
}
