//! A bench of devices in a directory: what `up` puts there and `down` takes away.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use hsm_sim::{SimError, SoftHsm, Swtpm, SwtpmOptions, TpmMaker, child};
use serde::{Deserialize, Serialize};

/// The list of devices, and the mark that a directory is a bench.
const LIST: &str = "devices.json";
const MAKER: &str = "maker";
/// The PIN of the bench's tokens, which guard nothing.
const PIN: &str = "123456";
/// swtpm ends at once on SIGTERM.
const PATIENCE: Duration = Duration::from_secs(5);

/// What runs on a bench, as devices.json has it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Devices {
    tpms: Vec<Tpm>,
    tokens: Vec<Token>,
    /// Whether `up` made the directory, so that `down` removes it.
    made_directory: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Tpm {
    name: String,
    tcti: String,
    log: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Token {
    name: String,
    module: PathBuf,
    label: String,
    pin_file: PathBuf,
    environment: BTreeMap<String, String>,
}

/// Why a bench could not be put up or taken down.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("{} has devices already; take them down first: hsm-sim down --directory {}", directory.display(), directory.display())]
    Used { directory: PathBuf },
    #[error("{} is not empty; give a directory that is empty or not there yet", directory.display())]
    NotEmpty { directory: PathBuf },
    #[error("could not {act} {}", path.display())]
    File {
        act: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("could not start {name}")]
    Start {
        name: String,
        #[source]
        source: SimError,
    },
    #[error("could not stop the process {process} of {name}")]
    Stop {
        name: String,
        process: u32,
        #[source]
        source: io::Error,
    },
}

/// Puts `tpms` TPMs and `tokens` tokens into `directory`; on a failure takes down what it put there.
pub(crate) fn up(directory: &Path, tpms: u16, tokens: u16) -> Result<Devices, BenchError> {
    let made_directory = !directory.exists();
    fs::create_dir_all(directory).map_err(file("make", directory))?;
    let directory = directory.canonicalize().map_err(file("find", directory))?;
    if directory.join(LIST).exists() {
        return Err(BenchError::Used { directory });
    }
    if fs::read_dir(&directory).map_err(file("read", &directory))?.next().is_some() {
        return Err(BenchError::NotEmpty { directory });
    }
    let mut devices = Devices { made_directory, ..Default::default() };
    let put = devices.put(&directory, tpms, tokens);
    if put.is_err() {
        // The first failure is the one to tell.
        let _ = down(&directory);
    }
    put.map(|()| devices)
}

/// Stops what `up` started in `directory` and removes what it made, also what an `up` that was killed left. Says in a
/// line what it did.
pub(crate) fn down(directory: &Path) -> Result<String, BenchError> {
    let list = directory.join(LIST);
    let text = match fs::read(&list) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(format!("no devices in {}", directory.display()));
        }
        read => read.map_err(file("read", &list))?,
    };
    // A list cut short by a full disk still marks the directory as ours; what to stop is in the directories.
    let devices: Devices = serde_json::from_slice(&text).unwrap_or_default();
    let (mut tpms, mut tokens) = (0, 0);
    for entry in fs::read_dir(directory).map_err(file("read", directory))? {
        let path = entry.map_err(file("read", directory))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match name.split('-').next() {
            Some("tpm") => {
                stop(&path, &name)?;
                tpms += 1;
            }
            Some("token") => tokens += 1,
            Some(MAKER) => {}
            _ => continue,
        }
        fs::remove_dir_all(&path).map_err(file("remove", &path))?;
    }
    fs::remove_file(&list).map_err(file("remove", &list))?;
    if devices.made_directory {
        // What somebody else put there stays.
        let _ = fs::remove_dir(directory);
    }
    Ok(format!("{tpms} TPMs and {tokens} tokens of {} are gone", directory.display()))
}

/// Stops the swtpm whose state is in `directory`. Its process id counts only while that process names the directory: the
/// kernel gives numbers out again.
fn stop(directory: &Path, name: &str) -> Result<(), BenchError> {
    let ours = directory.canonicalize().map_err(file("find", directory))?;
    let process = fs::read_to_string(directory.join("pid")).ok().and_then(|pid| pid.trim().parse::<u32>().ok());
    let Some(process) = process else { return Ok(()) };
    let command = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    if !String::from_utf8_lossy(&command).contains(&format!("dir={}/", ours.display())) {
        return Ok(());
    }
    child::end_process(process, PATIENCE).map_err(|source| BenchError::Stop { name: name.into(), process, source })
}

impl Devices {
    fn put(&mut self, directory: &Path, tpms: u16, tokens: u16) -> Result<(), BenchError> {
        self.write(directory)?;
        if tpms > 0 {
            let started = |source| BenchError::Start { name: "the TPM maker".into(), source };
            let maker = TpmMaker::create_in(&directory.join(MAKER)).map_err(started)?;
            for number in 1..=tpms {
                self.put_tpm(directory, format!("tpm-{number}"), &maker)?;
            }
        }
        for number in 1..=tokens {
            self.put_token(directory, format!("token-{number}"))?;
        }
        self.write(directory)
    }

    fn put_tpm(&mut self, directory: &Path, name: String, maker: &TpmMaker) -> Result<(), BenchError> {
        let options = SwtpmOptions {
            maker: Some(maker.clone()),
            directory: Some(directory.join(&name)),
            name: Some(name.clone()),
            detached: true,
        };
        let tpm = Swtpm::start_with(options).map_err(|source| BenchError::Start { name: name.clone(), source })?;
        self.tpms.push(Tpm { name, tcti: tpm.tcti(), log: tpm.log() });
        Ok(())
    }

    fn put_token(&mut self, directory: &Path, name: String) -> Result<(), BenchError> {
        let made = SoftHsm::create_in(&directory.join(&name), &name, PIN);
        let token = made.map_err(|source| BenchError::Start { name: name.clone(), source })?;
        let pin_file = token.directory().join("pin");
        let mut options = fs::OpenOptions::new();
        let open = options.write(true).create_new(true).mode(0o600).open(&pin_file);
        let write = open.and_then(|mut file| io::Write::write_all(&mut file, token.pin().as_bytes()));
        write.map_err(file("write", &pin_file))?;
        self.tokens.push(Token {
            name,
            module: token.module().into(),
            label: token.label().into(),
            pin_file,
            environment: token.environment().into_iter().collect(),
        });
        Ok(())
    }

    fn write(&self, directory: &Path) -> Result<(), BenchError> {
        let list = directory.join(LIST);
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::from);
        text.and_then(|text| fs::write(&list, text)).map_err(file("write", &list))
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for tpm in &self.tpms {
            writeln!(out, "{}  {}", tpm.name, tpm.tcti)?;
        }
        for token in &self.tokens {
            write!(
                out,
                "{}  {}  label {}  PIN in {}",
                token.name,
                token.module.display(),
                token.label,
                token.pin_file.display()
            )?;
            for (name, value) in &token.environment {
                write!(out, "  {name}={value}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

fn file(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BenchError {
    let path = path.to_owned();
    move |source| BenchError::File { act, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bench goes up once, is refused twice, goes down twice, and leaves neither directory nor process.
    #[test]
    fn up_and_down() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("bench");
        let devices = up(&directory, 1, 2).unwrap();
        assert_eq!((devices.tpms.len(), devices.tokens.len()), (1, 2));
        let process = fs::read_to_string(directory.join("tpm-1/pid")).unwrap();
        let running = PathBuf::from(format!("/proc/{}/cwd", process.trim()));
        assert_eq!(fs::read_link(&running).unwrap(), directory.join("tpm-1").canonicalize().unwrap());

        assert!(matches!(up(&directory, 1, 0), Err(BenchError::Used { .. })));
        assert!(down(&directory).unwrap().starts_with("1 TPMs and 2 tokens"));
        assert!(!directory.exists() && !running.exists());
        assert!(down(&directory).unwrap().starts_with("no devices"));
    }

    /// A directory that holds something else is left alone by `up` and by `down`.
    #[test]
    fn a_foreign_directory_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("tpm-notes"), "mine").unwrap();
        assert!(matches!(up(root.path(), 0, 1), Err(BenchError::NotEmpty { .. })));
        down(root.path()).unwrap();
        assert!(root.path().join("tpm-notes").exists());
    }

    /// When one device fails, those before it are stopped and everything is removed.
    #[test]
    fn a_failed_up_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        // The name of the tenth TPM is one byte longer, and its control socket's path one byte too long.
        let room = 107 - "/tpm-9/socket.ctrl".len() - root.path().canonicalize().unwrap().as_os_str().len() - 1;
        let directory = root.path().join("b".repeat(room));
        assert!(matches!(up(&directory, 10, 0), Err(BenchError::Start { name, .. }) if name == "tpm-10"));
        assert!(!directory.exists());
    }
}
