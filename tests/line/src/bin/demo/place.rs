//! The demo's directory, made fresh, and the lock that keeps a second demo out of it.

use std::{
    env,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// What marks a directory as a demo's, so that no other is ever emptied.
const MARK: &str = ".demo";

/// The directory, while this process alone has it.
#[derive(Debug)]
pub(crate) struct Place {
    directory: PathBuf,
    lock: PathBuf,
    _locked: File,
}

/// Why the directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error("another demo{by} runs in {}; stop it first, or give --directory", directory.display())]
    Taken { directory: PathBuf, by: String },
    #[error("{} is not a demo's; give --directory one that is empty or not there yet", directory.display())]
    Foreign { directory: PathBuf },
    #[error("could not {act} {}", path.display())]
    File {
        act: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Place {
    /// Locks `directory`, by default `demo` beside the build's directory, and empties it.
    pub(crate) fn claim(directory: Option<PathBuf>) -> Result<Self, PlaceError> {
        let directory = directory.map_or_else(default_directory, Ok)?;
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(file("make", parent))?;
        let parent = parent.canonicalize().map_err(file("find", parent))?;
        let name = directory.file_name().ok_or_else(|| PlaceError::Foreign { directory: directory.clone() })?;
        let directory = parent.join(name);
        let mut lock_name = name.to_owned();
        lock_name.push(".lock");
        let lock = parent.join(lock_name);
        let locked = lock_file(&lock, &directory)?;
        let place = Self { directory, lock, _locked: locked };
        place.make_fresh()?;
        Ok(place)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn make_fresh(&self) -> Result<(), PlaceError> {
        let directory = &self.directory;
        match fs::read_dir(directory) {
            Ok(mut entries) => {
                if entries.next().is_some() && !directory.join(MARK).exists() {
                    return Err(PlaceError::Foreign { directory: directory.clone() });
                }
                remove_left_hardware(directory);
                fs::remove_dir_all(directory).map_err(file("remove", directory))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(file("read", directory)(error)),
        }
        fs::create_dir(directory).map_err(file("make", directory))?;
        let mark = directory.join(MARK);
        fs::write(&mark, "").map_err(file("write", &mark))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Removed while it is still locked: who waits for it sees that it is another file by now.
        let _ = fs::remove_file(&self.lock);
    }
}

fn lock_file(path: &Path, directory: &Path) -> Result<File, PlaceError> {
    loop {
        let open = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let mut lock = open.map_err(file("open", path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let read = lock.read_to_string(&mut holder).ok().filter(|&length| length > 0);
                let by = read.map(|_| format!(" (process {})", holder.trim())).unwrap_or_default();
                return Err(PlaceError::Taken { directory: directory.into(), by });
            }
            locked => locked.map_err(io::Error::from).map_err(file("lock", path))?,
        }
        let ours = lock.metadata().map_err(file("read", path))?;
        // The holder before us may have removed the file between our open and our lock.
        if fs::metadata(path).is_ok_and(|there| there.ino() == ours.ino() && there.dev() == ours.dev()) {
            lock.set_len(0).map_err(file("write", path))?;
            writeln!(lock, "{}", std::process::id()).map_err(file("write", path))?;
            return Ok(lock);
        }
    }
}

/// A demo that was killed leaves its hardware's directory; the processes in it died with it.
fn remove_left_hardware(directory: &Path) {
    let Ok(left) = fs::read_link(directory.join("hardware")) else { return };
    let ours = left.file_name().is_some_and(|name| name.to_string_lossy().starts_with("line-"));
    let made_by_us = left.join("tpm-maker").is_dir() && left.join("ca").is_dir();
    if ours && made_by_us {
        let _ = fs::remove_dir_all(left);
    }
}

fn default_directory() -> Result<PathBuf, PlaceError> {
    let own = env::current_exe().map_err(file("find", Path::new("the running binary")))?;
    // target/debug/demo → target/demo
    let build = own.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    Ok(build.join("demo"))
}

fn file(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PlaceError {
    let path = path.to_owned();
    move |source| PlaceError::File { act, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second claim is refused with the holder's process; after the first is dropped no lock is left and a third one
    /// finds the directory empty but for its mark.
    #[test]
    fn one_at_a_time_and_fresh() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("demo");
        let first = Place::claim(Some(directory.clone())).unwrap();
        fs::write(directory.join("left"), "").unwrap();
        let refused = Place::claim(Some(directory.clone())).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(first);
        assert!(!root.path().join("demo.lock").exists());
        let _third = Place::claim(Some(directory.clone())).unwrap();
        assert!(!directory.join("left").exists());
    }

    /// A directory with somebody's files is refused and stays as it is.
    #[test]
    fn a_foreign_directory_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let theirs = root.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        fs::write(theirs.join("file"), "").unwrap();
        assert!(matches!(Place::claim(Some(theirs.clone())), Err(PlaceError::Foreign { .. })));
        assert!(theirs.join("file").exists() && !root.path().join("theirs.lock").exists());
    }

    /// What a killed demo left of its hardware is removed; what the link does not show to be ours stays.
    #[test]
    fn left_hardware_is_removed() {
        let root = tempfile::tempdir().unwrap();
        for (name, gone) in [("line-ours", true), ("other", false)] {
            let hardware = root.path().join(name);
            fs::create_dir_all(hardware.join("tpm-maker")).unwrap();
            fs::create_dir_all(hardware.join("ca")).unwrap();
            let directory = root.path().join("demo");
            drop(Place::claim(Some(directory.clone())).unwrap());
            std::os::unix::fs::symlink(&hardware, directory.join("hardware")).unwrap();
            drop(Place::claim(Some(directory)).unwrap());
            assert_eq!(!hardware.exists(), gone, "{name}");
        }
    }
}
