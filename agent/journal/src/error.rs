//! What can go wrong, said so that the operator knows the place and the remedy.

use std::{io, path::PathBuf, sync::Arc};

/// Why a journal could not be opened, appended to or read, or why its projections could not be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The configured origin cannot name a log.
    #[error("the journal's origin {origin:?} {wrong}; write one such as factory.example/station-1")]
    Origin {
        /// As configured.
        origin: String,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// The configured segment size is out of bounds.
    #[error("segment_bytes is {value}; write a value from {minimum} to {maximum}")]
    SegmentBytes {
        /// As configured, in bytes.
        value: u64,
        /// Least allowed, in bytes.
        minimum: u64,
        /// Most allowed, in bytes.
        maximum: u64,
    },
    /// The directory is missing and cannot be made, or this user may not write in it.
    #[error(
        "the journal directory {directory} cannot be written; create it and let the user of this process write in it"
    )]
    NotWritable {
        /// The journal's directory.
        directory: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process, or another part of this one, holds the directory.
    #[error("the journal directory {directory} is already in use by {holder}; stop it first")]
    AlreadyInUse {
        /// The journal's directory.
        directory: PathBuf,
        /// `process N`, or `another process` when it did not say.
        holder: String,
    },
    /// A system call on a file failed.
    #[error("could not {act} {path}")]
    File {
        /// Such as `write` or `sync`.
        act: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Bytes that were once synced are not what was written. Nothing was changed.
    #[error(
        "{path} is damaged at byte {offset}: {wrong}. Nothing was changed. Mend it with `{repair}`, where COPY is a copy \
         of the journal's directory, such as a backup; do not delete the file, the records after it would be lost too"
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where the first bad frame or field begins, in bytes from the start of the file.
        offset: u64,
        /// What was found there.
        wrong: String,
        /// The command that mends it.
        repair: String,
    },
    /// Records that a checkpoint covers are not there: the end of the journal was cut off, or an older copy was put back.
    #[error(
        "the journal in {directory} ends with {records} records, but its checkpoint says that {at_least} were on the \
         disk: the records from index {records} to {} are missing. Nothing was changed. Bring them back with `{repair}`, \
         where COPY is a newer copy of the directory, such as a backup",
        at_least - 1
    )]
    Shortened {
        /// The journal's directory.
        directory: PathBuf,
        /// How many records are there.
        records: u64,
        /// How many the checkpoint covers.
        at_least: u64,
        /// The command that brings them back.
        repair: String,
    },
    /// A segment between others, or the first, is not there.
    #[error(
        "a segment is missing in {directory}: {found} follows {expected}. Bring it back with `{repair}`, where COPY is a \
         copy of the journal's directory, such as a backup"
    )]
    MissingSegment {
        /// The journal's directory.
        directory: PathBuf,
        /// The segment that is there.
        found: String,
        /// What it says it follows, and what is there instead.
        expected: String,
        /// The command that brings it back.
        repair: String,
    },
    /// There is nothing that could be mended.
    #[error(
        "there is no journal in {directory}: correct the directory in the configuration; a journal that is lost as a whole \
         comes back by copying the whole of its copy there"
    )]
    NoJournal {
        /// The journal's directory.
        directory: PathBuf,
    },
    /// A copy cannot mend the journal. The segment that it was for is as it was.
    #[error("the copy {copy} cannot mend the journal: {wrong}; take another copy")]
    CopyUnfit {
        /// The copy's directory.
        copy: PathBuf,
        /// Which segment, and what stands in the way.
        wrong: String,
    },
    /// The segments belong to another journal.
    #[error(
        "{path} belongs to a journal of another origin than {origin:?}; correct the origin or the directory in the \
         configuration"
    )]
    OtherOrigin {
        /// The segment.
        path: PathBuf,
        /// The origin that was asked for.
        origin: String,
    },
    /// A newer release wrote this segment in a way this one cannot read.
    #[error("{path} needs a reader of format {needed} or later, this release reads {known}; install a newer release")]
    UnknownVersion {
        /// The segment.
        path: PathBuf,
        /// The oldest format that may open it.
        needed: u32,
        /// The format of this release.
        known: u32,
    },
    /// An entry of no bytes.
    #[error("entry {position} of this append is empty; an entry has from 1 to 65535 bytes")]
    EntryEmpty {
        /// Its place among the entries handed over, from 0.
        position: usize,
    },
    /// An entry that does not fit the element of a C2SP tlog-tiles entry bundle.
    #[error(
        "entry {position} of this append has {length} bytes; an entry has at most 65535: keep larger evidence beside \
         the journal and append its hash"
    )]
    EntryTooLong {
        /// Its place among the entries handed over, from 0.
        position: usize,
        /// Its length in bytes.
        length: usize,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// A write or sync failed earlier: nothing more is acknowledged until opening has looked at the disk again.
    #[error("the journal takes no more records after a failure, until it is opened anew")]
    Poisoned(#[source] Arc<JournalError>),
    /// The committer thread ended by a panic, which is a defect.
    #[error("the journal's committer thread ended unexpectedly; restart, and report this defect")]
    CommitterEnded,
    /// Entries were applied that are not the next ones.
    #[error("projections await entry {expected}, not {got}; append and apply in one order")]
    OutOfOrder {
        /// The next index to apply.
        expected: u64,
        /// The index handed over.
        got: u64,
    },
    /// Entries were applied before they were appended.
    #[error("projections were given entries up to {end}, but the journal has {length}; append before applying")]
    NotAppended {
        /// The index after the last entry handed over.
        end: u64,
        /// The journal's length.
        length: u64,
    },
    /// The projection does not know this entry.
    #[error(
        "record {index} in {path} is whole and not understood: {wrong}. Nothing was changed. If a newer release wrote it, \
         install that release again; else report it with a copy of that file, and do not delete the file"
    )]
    Projection {
        /// Its index in the journal.
        index: u64,
        /// The segment that it stands in, or would.
        path: PathBuf,
        /// What the projection said.
        wrong: String,
    },
    /// The projections' rows could not be read or written. They are rebuilt at the next start.
    #[error(
        "the projections in {path} could not {act}: {wrong}; they are rebuilt from the journal when it is opened anew"
    )]
    Rows {
        /// The generation's directory.
        path: PathBuf,
        /// What was tried.
        act: &'static str,
        /// What sled said.
        wrong: String,
    },
    /// The projections were closed.
    #[error("the projections are closed")]
    ProjectionsClosed,
}

impl JournalError {
    pub(crate) fn file(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { act, path, source }
    }

    /// The same, with the command that the options name.
    pub(crate) fn mended_by(mut self, command: &str) -> Self {
        if let Self::Damaged { repair, .. } | Self::MissingSegment { repair, .. } | Self::Shortened { repair, .. } =
            &mut self
        {
            command.clone_into(repair);
        }
        self
    }

    /// Whether the disk is at fault, so that it may pass when the disk is well again and the journal is opened anew.
    #[must_use]
    pub fn is_of_disk(&self) -> bool {
        match self {
            Self::File { .. } | Self::NotWritable { .. } | Self::Rows { .. } => true,
            Self::Poisoned(cause) => cause.is_of_disk(),
            _ => false,
        }
    }

    /// What a person does about a disk at fault, as a sentence.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Poisoned(cause) => cause.remedy(),
            Self::File { source, .. } | Self::NotWritable { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "Make room on that disk.",
                io::ErrorKind::ReadOnlyFilesystem => "Mount that disk for writing again.",
                io::ErrorKind::PermissionDenied => "Let the user of this process write there.",
                _ => "Look at that disk and at what the system's log says of it.",
            },
            _ => "Look at the disk of the journal: whether it has room, and what the system's log says of it.",
        }
    }
}
