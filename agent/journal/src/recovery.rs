//! What opening does before anything is appended: the headers of all segments must form a chain, the last segment is
//! scanned in full, and a tail that a crash tore is cut.
//!
//! A group is written only after the one before it was synced. So when a bad frame is followed by frames of its own
//! group only, that group was never acknowledged: the pages of one write reached the disk in another order. When it is
//! followed by a frame of a later group, the bad frame had been synced: that is damage, and the journal refuses to open.

use std::sync::Arc;

use crate::{
    JournalError,
    chain::Segment,
    disk::{Disk, SegmentFile},
    segment::{self, FIRST_FRAME, FORMAT, Header, HeaderFault, Previous, Step, Walk},
};

/// Zeros are written in pieces of this size.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// What stood on the disk.
pub(crate) struct Recovered {
    pub(crate) segments: Vec<Arc<Segment>>,
    /// The last segment, open for appending.
    pub(crate) file: Arc<dyn SegmentFile>,
    /// Where its frames end, in bytes.
    pub(crate) end: u64,
    /// Its length with the zeros behind them, in bytes.
    pub(crate) allocated: u64,
    pub(crate) next_index: u64,
    /// In words, what was cut.
    pub(crate) torn: Option<String>,
}

/// Opens what stands in the directory; `None` when there is no segment. Fewer records than `at_least` are refused before
/// anything is changed.
pub(crate) fn recover(disk: &dyn Disk, origin: &str, at_least: u64) -> Result<Option<Recovered>, JournalError> {
    let headers = read_chain(disk, origin)?;
    let shortened = |records| {
        let directory = disk.path("");
        let repair = String::new();
        if records < at_least { Err(JournalError::Shortened { directory, records, at_least, repair }) } else { Ok(()) }
    };
    let Some(last) = headers.last() else { return shortened(0).map(|()| None) };
    let segments: Vec<_> =
        headers.iter().map(|header| Arc::new(Segment::new(disk, header.first_index, header.seed))).collect();
    let segment = &segments[segments.len() - 1];
    let file = disk.open(&segment::name(last.first_index)).map_err(JournalError::file("open", segment.path()))?;
    let scan = scan(segment, file.as_ref())?;
    shortened(scan.next_index)?;
    settle(segment, file.as_ref(), &scan)?;
    // A roll may have been cut short between its rename and its sync.
    disk.sync().map_err(JournalError::file("sync", disk.path("")))?;
    let torn = scan.torn.map(|torn| {
        format!(
            "{}: {} bytes at byte {} were cut: {}; they belong to records that were never acknowledged",
            segment.path().display(),
            torn.bytes,
            scan.end,
            torn.wrong
        )
    });
    let (end, allocated, next_index) = (scan.end, scan.length, scan.next_index);
    Ok(Some(Recovered { segments, file, end, allocated, next_index, torn }))
}

/// Reads every header and checks that each segment continues the one before.
fn read_chain(disk: &dyn Disk, origin: &str) -> Result<Vec<Header>, JournalError> {
    let mut firsts = Vec::new();
    for name in disk.names().map_err(JournalError::file("list", disk.path("")))? {
        if name.ends_with(".seg.new") {
            // A roll that was cut short: nothing was ever written behind its header.
            disk.remove(&name).map_err(JournalError::file("remove", disk.path(&name)))?;
        }
        firsts.extend(segment::parse_name(&name));
    }
    firsts.sort_unstable();
    let mut headers: Vec<Header> = Vec::with_capacity(firsts.len());
    for first_index in firsts {
        let header = read_header(disk, first_index, origin)?;
        check_link(disk, headers.last(), &header)?;
        headers.push(header);
    }
    Ok(headers)
}

fn read_header(disk: &dyn Disk, first_index: u64, origin: &str) -> Result<Header, JournalError> {
    let name = segment::name(first_index);
    let path = disk.path(&name);
    let file = disk.open(&name).map_err(JournalError::file("open", &path))?;
    let damaged = |wrong: &str| JournalError::Damaged {
        path: path.clone(),
        offset: 0,
        wrong: wrong.to_owned(),
        repair: String::new(),
    };
    let header = match Header::read(file.as_ref()).map_err(JournalError::file("read", &path))? {
        Ok(header) => header,
        Err(HeaderFault::NeedsReader(needed)) => {
            return Err(JournalError::UnknownVersion { path, needed, known: FORMAT });
        }
        Err(HeaderFault::Short) => return Err(damaged("the file is too short for its header")),
        Err(HeaderFault::Magic) => return Err(damaged("it does not begin as a segment does")),
        Err(HeaderFault::Checksum) => return Err(damaged("the header's checksum does not match")),
    };
    if header.origin != origin_hash(origin) {
        return Err(JournalError::OtherOrigin { path, origin: origin.to_owned() });
    }
    if header.first_index != first_index {
        return Err(damaged(&format!("its header says that it begins with record {}", header.first_index)));
    }
    Ok(header)
}

/// Checks that `header` names `before` as its predecessor, and that the predecessor has the length it had then.
fn check_link(disk: &dyn Disk, before: Option<&Header>, header: &Header) -> Result<(), JournalError> {
    let says = header.previous.map(|previous| previous.first_index);
    let stands = before.map(|before| before.first_index);
    if says != stands || (stands.is_none() && header.first_index != 0) {
        let words = |first: Option<u64>| first.map_or("no segment".to_owned(), segment::name);
        return Err(JournalError::MissingSegment {
            directory: disk.path(""),
            found: segment::name(header.first_index),
            expected: format!("{}, but {} is before it", words(says), words(stands)),
            repair: String::new(),
        });
    }
    if let Some(Previous { first_index, end }) = header.previous {
        let name = segment::name(first_index);
        let path = disk.path(&name);
        let length = disk.open(&name).and_then(|file| file.length()).map_err(JournalError::file("open", &path))?;
        if length < end {
            let wrong = format!("the file ends here, but its records went to byte {end}");
            return Err(JournalError::Damaged { path, offset: length, wrong, repair: String::new() });
        }
    }
    Ok(())
}

/// SHA-256 of the origin, as headers carry it.
pub(crate) fn origin_hash(origin: &str) -> [u8; 32] {
    crate::sha256(origin.as_bytes())
}

struct Scan {
    next_index: u64,
    end: u64,
    length: u64,
    /// Where the last group begins, in bytes.
    last_group: u64,
    torn: Option<Torn>,
}

struct Torn {
    bytes: u64,
    wrong: String,
}

/// Walks over all frames of the last segment and judges what stands behind them.
fn scan(segment: &Segment, file: &dyn SegmentFile) -> Result<Scan, JournalError> {
    let read = |error| JournalError::file("read", segment.path())(error);
    let length = file.length().map_err(read)?;
    let mut index = segment.first_index;
    let mut group = None;
    let mut last_group = FIRST_FRAME;
    let mut walk = Walk::new(file, segment.seed, FIRST_FRAME);
    let (end, wrong) = loop {
        let end = walk.offset();
        match walk.step().map_err(read)? {
            Step::Frame { offset, group: found, .. } if group == Some(found) || found == index => {
                if group != Some(found) {
                    last_group = offset;
                }
                group = Some(found);
                segment.mark(index, offset);
                index += 1;
            }
            Step::Frame { group: found, .. } => break (end, format!("a frame of the group that begins at {found}")),
            Step::End => break (end, "a hole, and frames behind it".to_owned()),
            Step::Bad(wrong) => break (end, wrong.to_owned()),
        }
    };
    let tail = read_tail(file, end, length).map_err(read)?;
    // The bad frame is of the last good frame's group or begins the next one.
    let later = segment::find_frames(&tail, segment.seed).find(|(_, found)| group != Some(*found) && *found != index);
    if let Some((behind, later)) = later {
        let at = end + behind as u64;
        return Err(segment.damaged(
            end,
            format!(
                "{wrong}, where record {index} was. It had been synced, for the group that begins at {later} stands \
                 behind it at byte {at}"
            ),
        ));
    }
    let torn = (!tail.is_empty()).then_some(Torn { bytes: tail.len() as u64, wrong });
    Ok(Scan { next_index: index, end, length: length.max(end), last_group, torn })
}

/// What stands from `end` to the last byte that is not zero.
fn read_tail(file: &dyn SegmentFile, end: u64, length: u64) -> std::io::Result<Vec<u8>> {
    let mut tail = Vec::new();
    let mut piece = vec![0; ZEROS.len()];
    let mut offset = end;
    while offset < length {
        let read = file.read_at(offset, &mut piece)?;
        if read == 0 {
            break;
        }
        tail.extend_from_slice(&piece[..read]);
        offset += read as u64;
    }
    let used = tail.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    tail.truncate(used);
    Ok(tail)
}

/// Syncs what the scan found, so that it can be acted on, and zeroes the rest, so that stale bytes never look like
/// frames behind what is written next.
///
/// The last group is written anew with its own bytes: after a failed fdatasync, Linux holds pages that never reached
/// the disk for clean, and a sync alone would not write them.
fn settle(segment: &Segment, file: &dyn SegmentFile, scan: &Scan) -> Result<(), JournalError> {
    let mut group = vec![0; (scan.end - scan.last_group) as usize];
    file.read_at(scan.last_group, &mut group).map_err(JournalError::file("read", segment.path()))?;
    file.write_at(scan.last_group, &group).map_err(JournalError::file("write", segment.path()))?;
    write_zeros(file, scan.end, scan.length).map_err(JournalError::file("write", segment.path()))?;
    file.sync().map_err(JournalError::file("sync", segment.path()))
}

/// Writes zeros from `start` to `end`.
pub(crate) fn write_zeros(file: &dyn SegmentFile, start: u64, end: u64) -> std::io::Result<()> {
    let mut offset = start;
    while offset < end {
        let piece = (end - offset).min(ZEROS.len() as u64);
        file.write_at(offset, &ZEROS[..piece as usize])?;
        offset += piece;
    }
    Ok(())
}
