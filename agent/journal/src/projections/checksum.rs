//! A checksum over a set of rows that does not depend on their order: sled loses rows silently on some bit flips, and
//! this tells. Against accidents only: an adversary who can write the directory can write the checksum too.

/// Sums of SHA-256 over each row, in four lanes of 64 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Checksum {
    pub(super) rows: u64,
    pub(super) lanes: [u64; 4],
}

impl Checksum {
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.rows = self.rows.wrapping_add(1);
        for (lane, part) in self.lanes.iter_mut().zip(row(key, value)) {
            *lane = lane.wrapping_add(part);
        }
    }

    pub(super) fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.rows = self.rows.wrapping_sub(1);
        for (lane, part) in self.lanes.iter_mut().zip(row(key, value)) {
            *lane = lane.wrapping_sub(part);
        }
    }
}

fn row(key: &[u8], value: &[u8]) -> [u64; 4] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    context.update(&(key.len() as u64).to_be_bytes());
    context.update(key);
    context.update(value);
    let digest = context.finish();
    let mut lanes = [0; 4];
    for (lane, bytes) in lanes.iter_mut().zip(digest.as_ref().as_chunks::<8>().0) {
        *lane = u64::from_be_bytes(*bytes);
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same rows in another order, with a detour, have the same sum; a moved byte changes it.
    #[test]
    fn depends_on_the_set_alone() {
        let mut one = Checksum::default();
        one.add(b"a", b"1");
        one.add(b"b", b"2");
        let mut other = Checksum::default();
        other.add(b"b", b"2");
        other.add(b"c", b"3");
        other.add(b"a", b"1");
        assert_ne!(one, other);
        other.remove(b"c", b"3");
        assert_eq!(one, other);
        let mut moved = Checksum::default();
        moved.add(b"a1", b"");
        moved.add(b"b", b"2");
        assert_ne!(one, moved);
    }
}
