//! What a TPM marshals: big-endian, sizes before what they measure (TPM 2.0 part 2, 4.2).

use super::ResidencyUnproven as Unproven;

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Unproven> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Unproven::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Unproven> {
        Ok(self.take(2)?.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte)))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Unproven> {
        Ok(self.take(4)?.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    }

    pub(super) fn sized(&mut self) -> Result<&'a [u8], Unproven> {
        let size = self.u16()?;
        self.take(usize::from(size))
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), Unproven> {
        if self.0.is_empty() { Ok(()) } else { Err(Unproven::Malformed) }
    }
}

/// A size before its bytes (a TPM2B). Longer than 65,535 bytes is nothing that a TPM has.
pub(super) fn sized(bytes: &[u8]) -> Vec<u8> {
    let size = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&size.to_be_bytes(), &bytes[..usize::from(size)]].concat()
}
