//! Whether a directory takes what a journal needs.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::{Advice, fadvise};

use crate::JournalError;

/// A new segment begins with 1 MiB, and the rows beside it are written in pieces of as much: what has room for less would
/// fail again within moments.
const ROOM: usize = 4 * 1024 * 1024;
/// No segment's name, and none of the rows'.
const NAME: &str = "probe";

/// Writes a file of 4 MiB into the directory, syncs it, reads it back and removes it. To be asked after a failure, before
/// the journal is opened anew: it says nothing about what the journal itself has on the disk, which opening finds out.
///
/// # Errors
/// What the disk does not do.
pub fn probe(directory: &Path) -> Result<(), JournalError> {
    let path = directory.join(NAME);
    let probed = write_and_read(&path);
    // Also after a failure: what it took is needed.
    let removed = match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(JournalError::file("remove", &path)),
    };
    probed.and(removed)?;
    let handle = File::open(directory).map_err(JournalError::file("open", directory))?;
    handle.sync_all().map_err(JournalError::file("sync", directory))
}

fn write_and_read(path: &Path) -> Result<(), JournalError> {
    let options = &mut OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(path);
    let file = file.map_err(JournalError::file("create", path))?;
    // Not zeros, which a file system may leave out.
    let written: Vec<u8> = (0..ROOM / 4).flat_map(|number| (number as u32 ^ 0xa5a5_a5a5).to_be_bytes()).collect();
    file.write_all_at(&written, 0).map_err(JournalError::file("write", path))?;
    file.sync_data().map_err(JournalError::file("sync", path))?;
    // So that it is read from the disk and not from memory; a file system that does not do that is asked all the same.
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    let mut read = vec![0; ROOM];
    file.read_exact_at(&mut read, 0).map_err(JournalError::file("read", path))?;
    if read == written {
        Ok(())
    } else {
        Err(JournalError::file("read", path)(io::Error::other("the disk gives back other bytes than it was given")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that takes files passes, nothing stays in it, and what an interrupted probe left is no obstacle; a
    /// directory that is not there does not pass, and the error names it.
    #[test]
    fn a_directory_is_probed() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join(NAME), [1; 9]).unwrap();
        probe(place.path()).unwrap();
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
        let nowhere = place.path().join("nowhere");
        let refused = probe(&nowhere).unwrap_err();
        assert!(refused.to_string().contains(&*nowhere.to_string_lossy()) && refused.is_of_disk(), "{refused}");
    }
}
