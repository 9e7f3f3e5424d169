//! Reads files that others brought: no further than what they should be can be long, whatever is there instead.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// Bytes of a signed note with many signatures, of a key, and of a manifest.
pub(crate) const NOTE_MOST: u64 = 64 * 1024;
/// Bytes of a proof file: a thousand records, each as long as one can be.
pub(crate) const PROOF_MOST: u64 = 128 * 1024 * 1024;
/// Bytes of a tile: 256 entries, each as long as one can be.
pub(crate) const TILE_MOST: u64 = 256 * (2 + u16::MAX as u64);

/// The whole file, as bytes.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let words = format!("it is longer than the {most} bytes that it can have");
        return Err(io::Error::new(io::ErrorKind::InvalidData, words));
    }
    Ok(bytes)
}

/// The whole file, as text.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Up to the bound, text and bytes are read; beyond it, without an end, or as bytes that are no text, they are refused.
    #[test]
    fn what_is_too_long_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        std::fs::write(&path, "text").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "text");
        assert!(read_text(&path, 3).unwrap_err().to_string().contains("longer than the 3 bytes"));
        assert!(read(Path::new("/dev/zero"), NOTE_MOST).is_err());
        std::fs::write(&path, [0xFF; 4]).unwrap();
        assert!(read_text(&path, 4).unwrap_err().to_string().contains("not text"));
    }
}
