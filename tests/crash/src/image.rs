//! An ext4 file system in a file, mounted over a loop device.

use std::{
    fs::{self, File},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::{Broken, said};

/// Room for a few hundred small segments, rows and ext4's own journal; small, because it is read twice in each cut.
const BYTES: u64 = 64 * 1024 * 1024;
/// A device whose writer stands still is still within milliseconds.
const STILL: Duration = Duration::from_secs(10);
/// sled closes its files a little after its last handle.
const UNMOUNT: Duration = Duration::from_secs(5);
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Why images cannot be mounted here, if they cannot.
pub fn unable() -> Option<&'static str> {
    let tool =
        |name: &str| ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].iter().any(|at| Path::new(at).join(name).exists());
    if !rustix::process::geteuid().is_root() {
        Some("needs root, to mount")
    } else if !Path::new("/dev/loop-control").exists() {
        Some("needs loop devices")
    } else if !(tool("losetup") && tool("mkfs.ext4") && tool("mount")) {
        Some("needs mount and e2fsprogs: run deploy/dependencies.sh test")
    } else {
        None
    }
}

/// A file that holds a file system.
#[derive(Debug, Clone)]
pub struct Image(PathBuf);

impl Image {
    /// An empty ext4.
    ///
    /// # Errors
    /// What mkfs.ext4 said.
    pub fn make(path: PathBuf) -> Result<Self, Broken> {
        File::create(&path).and_then(|file| file.set_len(BYTES)).map_err(said(path.display().to_string()))?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&path))?;
        Ok(Self(path))
    }

    /// The same bytes under another name; the image may not be mounted.
    ///
    /// # Errors
    /// As the file system.
    pub fn copy(&self, to: PathBuf) -> Result<Self, Broken> {
        let bytes = fs::read(&self.0).map_err(said(self.0.display().to_string()))?;
        write_sparse(&to, &bytes).map_err(said(to.display().to_string()))?;
        Ok(Self(to))
    }

    /// What the device has: reads beneath the mounted file system until two readings are equal, and syncs nothing.
    ///
    /// # Errors
    /// A device that does not come to rest.
    pub fn copy_when_still(&self, to: PathBuf) -> Result<Self, Broken> {
        let act = || format!("could not copy {}", self.0.display());
        let deadline = Instant::now() + STILL;
        let mut before = fs::read(&self.0).map_err(said(act()))?;
        loop {
            let now = fs::read(&self.0).map_err(said(act()))?;
            if now == before {
                write_sparse(&to, &now).map_err(said(act()))?;
                return Ok(Self(to));
            }
            if Instant::now() > deadline {
                return Err(format!("{} changed for {STILL:?} after its writer had been stopped", self.0.display()));
            }
            before = now;
        }
    }

    /// Mounts it in a directory.
    ///
    /// # Errors
    /// What losetup or mount said.
    pub fn mount(&self, at: PathBuf) -> Result<Mounted, Broken> {
        fs::create_dir_all(&at).map_err(said(at.display().to_string()))?;
        // Not through the page cache of the file beneath where that can be: what is copied is then what was written.
        let direct = ["--direct-io=on", "--direct-io=off"];
        let attach = |direct| run(Command::new("losetup").args(["--find", "--show", direct]).arg(&self.0));
        let device = attach(direct[0]).or_else(|_| attach(direct[1]))?.trim().to_owned();
        let mut mounted = Mounted { device, at, mounted: false };
        run(Command::new("mount").args(["-t", "ext4", "-o", "noatime"]).arg(&mounted.device).arg(&mounted.at))?;
        mounted.mounted = true;
        Ok(mounted)
    }
}

/// A mounted image; unmounted on drop.
#[derive(Debug)]
pub struct Mounted {
    device: String,
    at: PathBuf,
    mounted: bool,
}

impl Mounted {
    /// Where.
    pub fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let deadline = Instant::now() + UNMOUNT;
        while self.mounted && run(Command::new("umount").arg(&self.at)).is_err() {
            if Instant::now() > deadline {
                eprintln!("{} is still in use: unmounted once it is not", self.at.display());
                let _ = run(Command::new("umount").arg("--lazy").arg(&self.at));
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        // The kernel detaches it once nobody uses it.
        if let Err(broken) = run(Command::new("losetup").arg("--detach").arg(&self.device)) {
            eprintln!("{broken}");
        }
    }
}

fn write_sparse(to: &Path, bytes: &[u8]) -> io::Result<()> {
    // Never into a file that a loop device may still hold: a hung sled keeps its file system mounted.
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::create(to)?;
    file.set_len(bytes.len() as u64)?;
    for (piece, nth) in bytes.chunks(ZEROS.len()).zip(0u64..) {
        if piece != &ZEROS[..piece.len()] {
            file.seek(SeekFrom::Start(nth * ZEROS.len() as u64))?;
            file.write_all(piece)?;
        }
    }
    Ok(())
}

/// Runs a tool to its end; its output, or what it said when it failed.
fn run(command: &mut Command) -> Result<String, Broken> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C").output();
    let output = output.map_err(said(format!("{command:?}")))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
