//! The bytes of a segment: one header, then frames. All numbers are big-endian.
//!
//! ```text
//! header, in a page of its own (4096 bytes) that is never written again
//!     0  8   magic "SA-JRNL\n"
//!     8  4   format that wrote it
//!    12  4   oldest format that may read it
//!    16  32  SHA-256 of the origin
//!    48  8   first index
//!    56  32  root of the RFC 6962 tree over all entries before the first index; zeros until there is a tree
//!    88  8   first index of the segment before, all ones when there is none
//!    96  8   where the frames of the segment before end, in bytes
//!   104  4   seed of the frames' CRC, random
//!   108  4   CRC-32C of the above
//! frame, from byte 4096 on
//!     0  4   length of what follows the first 16 bytes
//!     4  4   CRC-32C, seeded, of the rest of the frame
//!     8  8   first index of the group
//!    16  2   length of the entry      } the element of a C2SP tlog-tiles entry bundle
//!    18  n   entry                    }
//! then zeros, written ahead
//! ```
//!
//! The seed keeps an entry that contains the bytes of a frame from being taken for one when recovery looks for frames
//! behind a hole: what is in an entry comes from devices and other systems, and none of them knows the seed.

use std::io;

use crate::disk::SegmentFile;

const MAGIC: [u8; 8] = *b"SA-JRNL\n";
/// The format this release writes and the newest it reads.
pub(crate) const FORMAT: u32 = 1;
/// Frames begin here: the header's page is synced before the first of them and never written again.
pub(crate) const FIRST_FRAME: u64 = 4096;
pub(crate) const HEADER: usize = 112;
const FRAME_HEAD: usize = 16;
/// An entry has at most so many bytes: its length is a u16 in C2SP tlog-tiles.
pub const ENTRY_MAX: usize = u16::MAX as usize;
/// Frames are read in pieces of about this size, after a first one that is small: most reads are of one record.
const PIECE: usize = 256 * 1024;
const FIRST_PIECE: usize = 8 * 1024;

/// Where a segment stands in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Previous {
    pub(crate) first_index: u64,
    pub(crate) end: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) oldest_reader: u32,
    pub(crate) origin: [u8; 32],
    pub(crate) first_index: u64,
    pub(crate) tree_root: [u8; 32],
    pub(crate) previous: Option<Previous>,
    pub(crate) seed: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    Short,
    Magic,
    Checksum,
    NeedsReader(u32),
}

impl Header {
    /// The header's whole page.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(FIRST_FRAME as usize);
        page.extend_from_slice(&MAGIC);
        page.extend_from_slice(&FORMAT.to_be_bytes());
        page.extend_from_slice(&self.oldest_reader.to_be_bytes());
        page.extend_from_slice(&self.origin);
        page.extend_from_slice(&self.first_index.to_be_bytes());
        page.extend_from_slice(&self.tree_root);
        let previous = self.previous.unwrap_or(Previous { first_index: u64::MAX, end: 0 });
        page.extend_from_slice(&previous.first_index.to_be_bytes());
        page.extend_from_slice(&previous.end.to_be_bytes());
        page.extend_from_slice(&self.seed.to_be_bytes());
        page.extend_from_slice(&crc32c::crc32c(&page).to_be_bytes());
        page.resize(FIRST_FRAME as usize, 0);
        page
    }

    /// Checks and takes apart the first bytes of a file.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let bytes: &[u8; HEADER] = bytes.first_chunk().ok_or(HeaderFault::Short)?;
        if bytes[..8] != MAGIC {
            return Err(HeaderFault::Magic);
        }
        if crc32c::crc32c(&bytes[..108]) != u32_at(bytes, 108) {
            return Err(HeaderFault::Checksum);
        }
        let oldest_reader = u32_at(bytes, 12);
        if oldest_reader > FORMAT {
            return Err(HeaderFault::NeedsReader(oldest_reader));
        }
        let previous = Previous { first_index: u64_at(bytes, 88), end: u64_at(bytes, 96) };
        Ok(Self {
            oldest_reader,
            origin: array_at(bytes, 16),
            first_index: u64_at(bytes, 48),
            tree_root: array_at(bytes, 56),
            previous: (previous.first_index != u64::MAX).then_some(previous),
            seed: u32_at(bytes, 104),
        })
    }

    pub(crate) fn read(file: &dyn SegmentFile) -> io::Result<Result<Self, HeaderFault>> {
        let mut bytes = [0; HEADER];
        let read = file.read_at(0, &mut bytes)?;
        Ok(Self::decode(&bytes[..read]))
    }
}

/// A segment's name: its first index in 20 digits, so that names sort as indexes do.
pub(crate) fn name(first_index: u64) -> String {
    format!("{first_index:020}.seg")
}

/// The first index that a name says, if it is a segment's name.
pub(crate) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Bytes of the frame of an entry.
pub(crate) fn frame_size(entry: &[u8]) -> u64 {
    (FRAME_HEAD + 2 + entry.len()) as u64
}

/// Appends the frame of `entry`, which has at most [`ENTRY_MAX`] bytes.
pub(crate) fn encode_frame(out: &mut Vec<u8>, seed: u32, group: u64, entry: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&(2 + entry.len() as u32).to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&group.to_be_bytes());
    out.extend_from_slice(&(entry.len() as u16).to_be_bytes());
    out.extend_from_slice(entry);
    let crc = crc32c::crc32c_append(seed, &out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_be_bytes());
}

/// Length of the frame that begins with these bytes, when it can be one at all.
fn plausible_size(bytes: &[u8]) -> Option<usize> {
    let length = u32_at(bytes.first_chunk::<4>()?, 0) as usize;
    (3..=2 + ENTRY_MAX).contains(&length).then_some(FRAME_HEAD + length)
}

/// The group of a whole frame, when its lengths agree and its CRC is right.
fn check_frame(frame: &[u8], seed: u32) -> Option<u64> {
    let entry = u16::from_be_bytes([*frame.get(16)?, *frame.get(17)?]) as usize;
    if FRAME_HEAD + 2 + entry != frame.len() || crc32c::crc32c_append(seed, &frame[8..]) != u32_at(frame, 4) {
        return None;
    }
    Some(u64_at(frame, 8))
}

/// Every offset in `bytes` at which a valid frame begins, with its group. Not only where frames are expected: behind a
/// hole nobody knows where they are.
pub(crate) fn find_frames(bytes: &[u8], seed: u32) -> impl Iterator<Item = (usize, u64)> + '_ {
    (0..bytes.len()).filter_map(move |offset| {
        let rest = &bytes[offset..];
        let frame = rest.get(..plausible_size(rest)?)?;
        Some((offset, check_frame(frame, seed)?))
    })
}

/// The length of the whole frame with which `bytes` begin, if they do.
pub(crate) fn frame_at(bytes: &[u8], seed: u32) -> Option<usize> {
    let frame = bytes.get(..plausible_size(bytes)?)?;
    check_frame(frame, seed).map(|_| frame.len())
}

/// What stands at an offset.
pub(crate) enum Step<'a> {
    Frame {
        offset: u64,
        group: u64,
        entry: &'a [u8],
    },
    /// Zeros, or the file's end.
    End,
    Bad(&'static str),
}

/// Goes through frames in order, reading in pieces and checking each CRC.
pub(crate) struct Walk<'a> {
    file: &'a dyn SegmentFile,
    seed: u32,
    buffer: Vec<u8>,
    start: usize,
    offset: u64,
    piece: usize,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(file: &'a dyn SegmentFile, seed: u32, offset: u64) -> Self {
        Self { file, seed, buffer: Vec::new(), start: 0, offset, piece: FIRST_PIECE }
    }

    /// Where the next frame begins, or should.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn step(&mut self) -> io::Result<Step<'_>> {
        let available = self.fill(FRAME_HEAD)?;
        let head = &self.buffer[self.start..self.start + available.min(FRAME_HEAD)];
        if head.iter().all(|byte| *byte == 0) {
            return Ok(Step::End);
        }
        if head.len() < FRAME_HEAD {
            return Ok(Step::Bad("the file ends within a frame"));
        }
        let Some(size) = plausible_size(head) else { return Ok(Step::Bad("a frame of an impossible length")) };
        if self.fill(size)? < size {
            return Ok(Step::Bad("the file ends within a frame"));
        }
        let frame = self.start..self.start + size;
        let Some(group) = check_frame(&self.buffer[frame.clone()], self.seed) else {
            return Ok(Step::Bad("a frame whose checksum does not match"));
        };
        let offset = self.offset;
        self.start += size;
        self.offset += size as u64;
        Ok(Step::Frame { offset, group, entry: &self.buffer[frame.start + FRAME_HEAD + 2..frame.end] })
    }

    /// Makes `wanted` bytes available where the file has them; returns how many are.
    fn fill(&mut self, wanted: usize) -> io::Result<usize> {
        let available = self.buffer.len() - self.start;
        if available >= wanted {
            return Ok(available);
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.resize(wanted.max(self.piece), 0);
        self.piece = PIECE.min(self.piece * 4);
        let read = self.file.read_at(self.offset + available as u64, &mut self.buffer[available..])?;
        self.buffer.truncate(available + read);
        Ok(available + read)
    }
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[offset..offset + N]);
    array
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_be_bytes(array_at(bytes, offset))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_be_bytes(array_at(bytes, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let previous = Some(Previous { first_index: 7, end: 5000 });
        Header { oldest_reader: 1, origin: [3; 32], first_index: 12, tree_root: [0; 32], previous, seed: 99 }
    }

    /// A header is read back as written, in one page.
    #[test]
    fn header_round_trips() {
        let page = header().encode();
        assert_eq!(page.len(), 4096);
        assert_eq!(Header::decode(&page), Ok(header()));
        let first = Header { previous: None, ..header() };
        assert_eq!(Header::decode(&first.encode()), Ok(first));
    }

    /// Every single bit of a header matters: flip each, expect a fault.
    #[test]
    fn header_with_any_bit_flipped_is_refused() {
        let page = header().encode();
        for bit in 0..HEADER * 8 {
            let mut damaged = page.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&damaged).is_err(), "bit {bit}");
        }
    }

    /// A header that asks for a later reader says for which.
    #[test]
    fn header_of_a_later_format_is_refused() {
        let page = Header { oldest_reader: 2, ..header() }.encode();
        assert_eq!(Header::decode(&page), Err(HeaderFault::NeedsReader(2)));
    }

    /// The frame's payload is byte for byte the element of a C2SP entry bundle: u16 length, then the entry.
    #[test]
    fn frame_holds_an_entry_bundle_element() {
        let mut out = Vec::new();
        encode_frame(&mut out, 5, 300, b"abc");
        assert_eq!(out[16..], [0, 3, b'a', b'b', b'c']);
        assert_eq!(out.len() as u64, frame_size(b"abc"));
        assert_eq!(check_frame(&out, 5), Some(300));
    }

    /// Every single bit of a frame matters, and so does the seed.
    #[test]
    fn frame_with_any_bit_flipped_is_bad() {
        let mut out = Vec::new();
        encode_frame(&mut out, 5, 300, b"some entry");
        for bit in 0..out.len() * 8 {
            let mut damaged = out.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(plausible_size(&damaged) != Some(out.len()) || check_frame(&damaged, 5).is_none(), "bit {bit}");
        }
        assert_eq!(check_frame(&out, 6), None);
    }

    /// Frames are found wherever they begin, and an entry that holds another segment's frame is not taken for one.
    #[test]
    fn frames_are_found_behind_garbage_but_not_inside_entries() {
        let mut inner = Vec::new();
        encode_frame(&mut inner, 1, 900, b"forged");
        let mut out = vec![0xab; 33];
        encode_frame(&mut out, 2, 40, &inner);
        assert_eq!(find_frames(&out, 2).collect::<Vec<_>>(), [(33, 40)]);
    }

    /// Only `<20 digits>.seg` is a segment.
    #[test]
    fn names() {
        assert_eq!(name(17), "00000000000000000017.seg");
        assert_eq!(parse_name(&name(u64::MAX)), Some(u64::MAX));
        for other in ["17.seg", "0000000000000000001x.seg", "00000000000000000017.seg.new", "lock", ".seg"] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
