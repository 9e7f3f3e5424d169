//! Files that are replaced whole: whoever reads finds the old content or the new, also after a power cut.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Replaces a file's content; it is on the disk when this returns.
///
/// # Errors
/// The file or its directory cannot be written or synced. The old content is there still.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    put_in_place(&write_beside(path, content)?, path)
}

/// The first half: the new content stands beside the file, on the disk, under the returned path.
///
/// # Errors
/// It cannot be created, written or synced.
pub fn write_beside(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let mut file = File::create(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(fresh)
}

/// The second half: the new content takes the file's place.
///
/// # Errors
/// It cannot be renamed, or the directory cannot be synced.
pub fn put_in_place(fresh: &Path, path: &Path) -> io::Result<()> {
    fs::rename(fresh, path)?;
    // The rename itself is durable once the directory is.
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file is made, then replaced by a shorter one; until it is put in place the old one stands, and nothing is left beside it.
    #[test]
    fn a_file_is_replaced_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("names.txt");
        replace(&path, b"the first content").unwrap();
        let fresh = write_beside(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"the first content");
        put_in_place(&fresh, &path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(replace(&directory.path().join("missing/names.txt"), b"").is_err());
    }
}
