//! Files that are whole or not there, and keys in them.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::LogError;
use crate::tree::note::{Purpose, SigningKey};

/// Creates a directory and syncs what it was made in, so that it outlasts a power cut.
pub(super) fn make_directory(path: &Path) -> Result<(), LogError> {
    if path.is_dir() {
        return Ok(());
    }
    let missing: Vec<&Path> = path.ancestors().take_while(|made| !made.is_dir()).collect();
    DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(LogError::file("create", path))?;
    missing.iter().filter_map(|made| made.parent()).try_for_each(sync)
}

fn sync(path: &Path) -> Result<(), LogError> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|file| file.sync_all()).map_err(LogError::file("sync", path))
}

/// Puts a file in its place, whole and synced, or leaves what was there.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), LogError> {
    put(path, bytes, mode, true)?;
    path.parent().map_or(Ok(()), sync)
}

fn put(path: &Path, bytes: &[u8], mode: u32, synced: bool) -> Result<(), LogError> {
    let mut passing = path.as_os_str().to_owned();
    passing.push(".new");
    let passing = PathBuf::from(passing);
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(mode).open(&passing);
    let mut file = opened.map_err(LogError::file("create", &passing))?;
    file.write_all(bytes).map_err(LogError::file("write", &passing))?;
    if synced {
        file.sync_all().map_err(LogError::file("sync", &passing))?;
    }
    fs::rename(&passing, path).map_err(LogError::file("rename", &passing))
}

/// So many files are synced one by one, at some 0.3 ms each; more of them with one call for the whole file system. That waits
/// for what every other program has written, and so do the journal's own syncs beside it: nobody lets so many gather but who
/// waits for all of them.
const SYNCED_ALONE: usize = 64;

/// Tiles that are written one after another, synced a few at a time or all at once, and their directories together.
#[derive(Debug)]
pub(super) struct Unsynced {
    directory: PathBuf,
    files: Vec<PathBuf>,
    parents: BTreeSet<PathBuf>,
}

impl Unsynced {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), files: Vec::new(), parents: BTreeSet::new() }
    }

    /// Puts a file in its place. It is whole there, but a power cut may take or empty it until [`Unsynced::sync`].
    pub(super) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), LogError> {
        let path = self.directory.join(name);
        if let Some(parent) = path.parent()
            && !self.parents.contains(parent)
        {
            make_directory(parent)?;
            self.parents.insert(parent.to_owned());
        }
        put(&path, bytes, 0o644, false)?;
        self.files.push(path);
        Ok(())
    }

    /// Syncs the files so far, whose directories may still not tell of them after a power cut.
    pub(super) fn sync_files(&mut self) -> Result<(), LogError> {
        std::mem::take(&mut self.files).iter().try_for_each(|file| sync(file))
    }

    /// Makes everything outlast a power cut.
    pub(super) fn sync(&mut self) -> Result<(), LogError> {
        if self.files.len() > SYNCED_ALONE {
            let failed = |error: io::Error| LogError::file("sync", &self.directory)(error);
            let directory = File::open(&self.directory).map_err(failed)?;
            rustix::fs::syncfs(&directory).map_err(|error| failed(error.into()))?;
            self.files.clear();
        }
        self.sync_files()?;
        std::mem::take(&mut self.parents).iter().try_for_each(|parent| sync(parent))
    }
}

/// Reads a text, `None` when the file is not there.
pub(super) fn read(path: &Path) -> Result<Option<String>, LogError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LogError::file("read", path)(error)),
    }
}

/// The key in a file, if the file is there.
pub(super) fn read_key(path: &Path, name: &str, purpose: Purpose) -> Result<Option<SigningKey>, LogError> {
    let Some(text) = read(path)? else { return Ok(None) };
    let wrong = |wrong: &str| LogError::Key { path: path.to_owned(), wrong: wrong.to_owned() };
    let key = SigningKey::decode(&text).ok_or_else(|| wrong("is not `PRIVATE+KEY+name+id+key` with an Ed25519 key"))?;
    if key.verifying().purpose() != purpose {
        return Err(wrong("is of another kind: a log's key is of type 0x01, a witness's of type 0x04"));
    }
    if key.verifying().name() != name {
        return Err(wrong(&format!("is named {:?}, but this journal is {name:?}", key.verifying().name())));
    }
    Ok(Some(key))
}

/// A new key in a file for this user alone; what verifies it beside it, with the ending `.vkey`, for everybody.
pub(super) fn make_key(path: &Path, name: &str, purpose: Purpose) -> Result<SigningKey, LogError> {
    let failed = |wrong: &str| LogError::Key { path: path.to_owned(), wrong: wrong.to_owned() };
    let key = SigningKey::generate(name, purpose).ok_or_else(|| failed("could not be made: no random bytes"))?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_directory(parent)?;
    }
    replace(&path.with_extension("vkey"), format!("{}\n", key.verifying()).as_bytes(), 0o644)?;
    replace(path, format!("{}\n", key.encode()).as_bytes(), 0o600)?;
    Ok(key)
}
