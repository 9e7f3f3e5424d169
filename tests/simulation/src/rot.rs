//! Damage to the rows' files, while no station has them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::chance::Chance;

/// Cuts a file short, or flips bits in it. How much follows from the seed; what is there may not.
///
/// # Errors
/// The files cannot be read or written.
pub(crate) fn spoil(rows: &Path, chance: &mut Chance) -> io::Result<()> {
    let mut files = vec![];
    gather(rows, &mut files)?;
    files.sort();
    let (pick, cut, at) = (chance.below(1 << 16), chance.once_in(2), chance.below(1 << 30));
    let Some(file) = files.get(pick % files.len().max(1)) else { return Ok(()) };
    let mut bytes = fs::read(file)?;
    if cut {
        bytes.truncate(bytes.len() / 2);
    } else if !bytes.is_empty() {
        let at = at % bytes.len();
        bytes[at] ^= 0xff;
    }
    fs::write(file, bytes)
}

fn gather(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !directory.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            gather(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
