//! Writes groups at the end of the last segment. Used by one thread at a time.

use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::{
    JournalError,
    chain::{Chain, Segment},
    disk::{Disk, SegmentFile},
    recovery::{self, Recovered},
    segment::{self, FIRST_FRAME, FORMAT, Header, Previous},
};

/// Zeros are written this far ahead, so that the fdatasync of a group changes no metadata: writing into what is already
/// zeroed takes 0.12 ms where appending takes 0.25. More would make the step itself, about 2 ms, felt by who waits.
const AHEAD: u64 = 1024 * 1024;

pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    origin: [u8; 32],
    segment_bytes: u64,
    segment: Arc<Segment>,
    file: Arc<dyn SegmentFile>,
    /// Where the next frame goes, in bytes.
    position: u64,
    /// The file's length: frames and zeros.
    allocated: u64,
    next_index: u64,
    buffer: Vec<u8>,
}

impl Writer {
    /// Goes on from what recovery found, or creates the first segment.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        origin: &str,
        segment_bytes: u64,
        recovered: Option<Recovered>,
    ) -> Result<(Self, Chain), JournalError> {
        let origin = recovery::origin_hash(origin);
        let ahead = ahead(segment_bytes);
        let recovered = match recovered {
            Some(recovered) => recovered,
            None => {
                let (segment, file) = create(disk.as_ref(), origin, 0, None, ahead)?;
                let allocated = FIRST_FRAME + ahead;
                let segments = vec![segment];
                Recovered { segments, file, end: FIRST_FRAME, allocated, next_index: 0, torn: None }
            }
        };
        let Recovered { segments, file, end: position, allocated, next_index, .. } = recovered;
        let segment = segments[segments.len() - 1].clone();
        let chain = Chain::new(disk.clone(), segments);
        let buffer = Vec::new();
        Ok((Self { disk, origin, segment_bytes, segment, file, position, allocated, next_index, buffer }, chain))
    }

    pub(crate) fn next_index(&self) -> u64 {
        self.next_index
    }

    /// Puts one group on the disk. When this returns, a power cut takes nothing of it.
    pub(crate) fn commit(&mut self, chain: &Chain, entries: &[Vec<u8>]) -> Result<(), JournalError> {
        let size: u64 = entries.iter().map(|entry| segment::frame_size(entry)).sum();
        // A group stays within one segment: only the last segment can be torn.
        if self.position > FIRST_FRAME && self.position + size > self.segment_bytes {
            self.roll(chain)?;
        }
        let group = self.next_index;
        self.buffer.clear();
        for (index, entry) in (group..).zip(entries) {
            self.segment.mark(index, self.position + self.buffer.len() as u64);
            segment::encode_frame(&mut self.buffer, self.segment.seed, group, entry);
        }
        self.file.write_at(self.position, &self.buffer).map_err(JournalError::file("write", self.segment.path()))?;
        self.file.sync().map_err(JournalError::file("sync", self.segment.path()))?;
        self.position += size;
        self.allocated = self.allocated.max(self.position);
        self.next_index += entries.len() as u64;
        // A large group's buffer is not kept for the small ones that follow.
        self.buffer.shrink_to(AHEAD as usize);
        Ok(())
    }

    /// Whether few zeros are left ahead.
    pub(crate) fn is_low(&self) -> bool {
        self.allocated < self.target() && self.allocated - self.position < ahead(self.segment_bytes) / 2
    }

    fn target(&self) -> u64 {
        (self.position + ahead(self.segment_bytes)).min(self.segment_bytes)
    }

    /// Writes zeros ahead when few are left. Called while nobody waits.
    pub(crate) fn prepare(&mut self) -> Result<(), JournalError> {
        if !self.is_low() {
            return Ok(());
        }
        let target = self.target();
        recovery::write_zeros(self.file.as_ref(), self.allocated, target)
            .map_err(JournalError::file("write", self.segment.path()))?;
        self.file.sync().map_err(JournalError::file("sync", self.segment.path()))?;
        self.allocated = target;
        Ok(())
    }

    fn roll(&mut self, chain: &Chain) -> Result<(), JournalError> {
        let previous = Previous { first_index: self.segment.first_index, end: self.position };
        let ahead = ahead(self.segment_bytes);
        let (segment, file) = create(self.disk.as_ref(), self.origin, self.next_index, Some(previous), ahead)?;
        chain.push(segment.clone());
        (self.segment, self.file) = (segment, file);
        (self.position, self.allocated) = (FIRST_FRAME, FIRST_FRAME + ahead);
        Ok(())
    }
}

/// Small segments, as in tests, get smaller steps.
fn ahead(segment_bytes: u64) -> u64 {
    AHEAD.min(segment_bytes / 4)
}

/// Creates a segment under a passing name and gives it its own only when it is synced: a segment's header is whole or
/// the segment is not there.
fn create(
    disk: &dyn Disk,
    origin: [u8; 32],
    first_index: u64,
    previous: Option<Previous>,
    ahead: u64,
) -> Result<(Arc<Segment>, Arc<dyn SegmentFile>), JournalError> {
    let mut seed = [0; 4];
    SystemRandom::new().fill(&mut seed).map_err(|_| {
        JournalError::file("get random bytes for", disk.path(""))(std::io::Error::other("the random source failed"))
    })?;
    // The tree over the entries comes with the checkpoints; until then its root is not known.
    let tree_root = [0; 32];
    let seed = u32::from_be_bytes(seed);
    let header = Header { oldest_reader: FORMAT, origin, first_index, tree_root, previous, seed };
    let name = segment::name(first_index);
    let passing = format!("{name}.new");
    let file = disk.create(&passing).map_err(JournalError::file("create", disk.path(&passing)))?;
    file.write_at(0, &header.encode())
        .and_then(|()| recovery::write_zeros(file.as_ref(), FIRST_FRAME, FIRST_FRAME + ahead))
        .map_err(JournalError::file("write", disk.path(&passing)))?;
    file.sync().map_err(JournalError::file("sync", disk.path(&passing)))?;
    disk.rename(&passing, &name).map_err(JournalError::file("rename", disk.path(&passing)))?;
    disk.sync().map_err(JournalError::file("sync", disk.path("")))?;
    Ok((Arc::new(Segment::new(disk, first_index, seed)), file))
}
