//! A TPM 2.0 device: swtpm with an EK certificate from a simulated maker.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use crate::{
    SimError, TpmMaker, child,
    directory::{Directory, SOCKET_PATH_MOST},
    programs,
};

/// swtpm_setup makes two EKs in well under a second, and longer when many do so on a busy machine.
const SETUP_MOST: Duration = Duration::from_secs(120);
/// swtpm listens within milliseconds.
const READY_MOST: Duration = Duration::from_secs(30);
const READY_PAUSE: Duration = Duration::from_millis(2);
/// How long an orderly stop may take before the power is cut.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How a device loses its power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// TPM2_Shutdown(CLEAR) first, then the power.
    Orderly,
    /// The power at once, in the middle of whatever the TPM does.
    PowerCut,
}

/// How to make a TPM.
#[derive(Debug, Clone, Default)]
pub struct SwtpmOptions {
    /// Who makes it and signs its EK certificates; a maker of its own when `None`.
    pub maker: Option<TpmMaker>,
    /// Where its state lives; a temporary directory, removed on drop, when `None`.
    pub directory: Option<PathBuf>,
    /// The name in its EK certificate's subject.
    pub name: Option<String>,
    /// Whether it goes on running when this process ends or drops it.
    pub detached: bool,
}

/// A running TPM 2.0: three transient object slots, no resource manager, one client at a time.
///
/// EK certificates are in NV: RSA-2048 at 0x01C00002 and ECC P-384 at 0x01C00016.
#[derive(Debug)]
pub struct Swtpm {
    running: Option<Child>,
    detached: bool,
    maker: TpmMaker,
    directory: Directory,
}

impl Swtpm {
    /// Makes a TPM in a temporary directory, with a maker of its own, and switches it on.
    pub fn start() -> Result<Self, SimError> {
        Self::start_with(SwtpmOptions::default())
    }

    /// Makes a TPM as `options` say and switches it on.
    pub fn start_with(options: SwtpmOptions) -> Result<Self, SimError> {
        let setup = programs::find("swtpm_setup", "swtpm-tools")?;
        programs::find("swtpm", "swtpm")?;
        let maker = options.maker.map_or_else(TpmMaker::create, Ok)?;
        let directory = match &options.directory {
            Some(path) => Directory::at(path)?,
            None => Directory::temporary()?,
        };
        let mut tpm = Self { running: None, detached: options.detached, maker, directory };
        tpm.check_socket_path()?;
        let state = tpm.state();
        fs::create_dir_all(&state).map_err(SimError::io("make", state.clone()))?;

        let mut command = Command::new(setup);
        command.args(["--tpm2", "--create-ek-cert", "--create-platform-cert", "--not-overwrite"]);
        command.arg("--config").arg(tpm.maker.setup_configuration()).arg("--tpm-state").arg(state);
        command.arg("--vmid").arg(options.name.as_deref().unwrap_or("hsm-sim"));
        // What swtpm_setup writes beside the state goes where it is removed with it.
        command.current_dir(tpm.directory()).env("TMPDIR", tpm.directory());
        programs::run(command, &tpm.log(), SETUP_MOST)?;
        tpm.switch_on()?;
        Ok(tpm)
    }

    /// The TCTI with which tpm2-tss reaches it: `swtpm:path=…`.
    pub fn tcti(&self) -> String {
        format!("swtpm:path={}", self.socket().display())
    }

    /// Where its state, sockets and log are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What swtpm_setup and swtpm said.
    pub fn log(&self) -> PathBuf {
        self.directory().join("log")
    }

    /// Who made it.
    pub fn maker(&self) -> &TpmMaker {
        &self.maker
    }

    /// swtpm's process, while it is on.
    pub fn process_id(&self) -> Option<u32> {
        self.running.as_ref().map(Child::id)
    }

    /// Takes its power away; nothing when it is off. Its state stays for [`restart`](Self::restart).
    pub fn stop(&mut self, how: Stop) -> Result<(), SimError> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        let failed = |source| SimError::Run { program: "swtpm".into(), source };
        if how == Stop::Orderly {
            // A client that holds the only connection keeps us out; then the power goes all the same, as on a line.
            let _ = self.shut_down();
            child::terminate_group(&mut running, STOP_PATIENCE).map_err(failed)?;
        } else {
            child::kill(&mut running).map_err(failed)?;
        }
        Ok(())
    }

    /// Switches it on with the state it had, cutting its power first when it is on.
    pub fn restart(&mut self) -> Result<(), SimError> {
        self.stop(Stop::PowerCut)?;
        self.switch_on()
    }

    fn switch_on(&mut self) -> Result<(), SimError> {
        for socket in [self.socket(), self.control_socket()] {
            match fs::remove_file(&socket) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(SimError::io("remove", socket)(error));
                }
                _ => {}
            }
        }
        let mut command = Command::new(programs::find("swtpm", "swtpm")?);
        command.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        command.args(["--tpmstate", &format!("dir={}", self.state().display())]);
        command.args(["--server", &format!("type=unixio,path={}", self.socket().display())]);
        command.args(["--ctrl", &format!("type=unixio,path={}", self.control_socket().display())]);
        command.args(["--pid", &format!("file={}", self.directory().join("pid").display())]);
        command.current_dir(self.directory());
        programs::send_output_to(&mut command, &self.log())?;
        let spawned = if self.detached { child::spawn_detached(command) } else { child::spawn(command) };
        let mut running = spawned.map_err(|source| SimError::Run { program: "swtpm".into(), source })?;
        let ready = self.await_ready(&mut running);
        self.running = Some(running);
        if ready.is_err() {
            let _ = self.stop(Stop::PowerCut);
        }
        ready
    }

    fn await_ready(&self, running: &mut Child) -> Result<(), SimError> {
        let deadline = Instant::now() + READY_MOST;
        while !self.answers() {
            let program = || "swtpm".to_owned();
            let ended = running.try_wait().map_err(|source| SimError::Run { program: program(), source })?;
            if let Some(status) = ended {
                let words = child::last_words(&self.log());
                return Err(SimError::Failed { program: program(), status: status.to_string(), log: None, words });
            }
            if Instant::now() > deadline {
                let words = child::last_words(&self.log());
                return Err(SimError::Late { program: program(), after: READY_MOST, words });
            }
            thread::sleep(READY_PAUSE);
        }
        Ok(())
    }

    /// CMD_GET_CAPABILITY on the control channel (swtpm_ioctls(3)) answers once both channels listen.
    fn answers(&self) -> bool {
        let ask = || -> io::Result<()> {
            let mut control = UnixStream::connect(self.control_socket())?;
            control.set_read_timeout(Some(Duration::from_secs(1)))?;
            control.write_all(&[0, 0, 0, 1])?;
            control.read_exact(&mut [0; 8])
        };
        self.socket().exists() && ask().is_ok()
    }

    /// TPM2_Shutdown(TPM_SU_CLEAR), TPM 2.0 Part 3 §9.4.
    fn shut_down(&self) -> io::Result<()> {
        const SHUTDOWN_CLEAR: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x45, 0, 0];
        let mut channel = UnixStream::connect(self.socket())?;
        channel.set_read_timeout(Some(Duration::from_secs(1)))?;
        channel.write_all(&SHUTDOWN_CLEAR)?;
        channel.read_exact(&mut [0; 10])
    }

    fn state(&self) -> PathBuf {
        self.directory().join("state")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory().join("socket")
    }

    /// tpm2-tss adds `.ctrl` to the data socket's path.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.directory().join("socket.ctrl")
    }

    fn check_socket_path(&self) -> Result<(), SimError> {
        let path = self.control_socket();
        match path.as_os_str().len() <= SOCKET_PATH_MOST {
            true => Ok(()),
            false => Err(SimError::PathTooLong { path, most: SOCKET_PATH_MOST }),
        }
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        if !self.detached {
            let _ = self.stop(Stop::PowerCut);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(process: u32) -> bool {
        Path::new(&format!("/proc/{process}")).exists()
    }

    /// Two TPMs of one maker made at once both answer, and dropping them leaves neither process nor file.
    #[test]
    fn two_run_side_by_side_and_leave_nothing() {
        let maker = TpmMaker::create().unwrap();
        let start = || Swtpm::start_with(SwtpmOptions { maker: Some(maker.clone()), ..Default::default() }).unwrap();
        let (one, other) = thread::scope(|scope| {
            let (one, other) = (scope.spawn(start), scope.spawn(start));
            (one.join().unwrap(), other.join().unwrap())
        });
        assert!(one.answers() && other.answers());
        assert!(maker.root_certificate().is_file() && maker.issuer_certificate().is_file());
        let left = [one.process_id().unwrap(), other.process_id().unwrap()];
        let paths = [one.directory().to_owned(), other.directory().to_owned(), maker.directory().to_owned()];
        drop((one, other, maker));
        assert!(!left.into_iter().any(alive));
        assert!(!paths.iter().any(|path| path.exists()));
    }

    /// After a power cut and after an orderly stop it comes back under the same TCTI, as another process.
    #[test]
    fn comes_back_after_either_stop() {
        let mut tpm = Swtpm::start().unwrap();
        let tcti = tpm.tcti();
        for how in [Stop::PowerCut, Stop::Orderly] {
            let before = tpm.process_id().unwrap();
            tpm.stop(how).unwrap();
            assert!(!tpm.answers() && !alive(before));
            tpm.restart().unwrap();
            assert!(tpm.answers() && tpm.tcti() == tcti && tpm.process_id() != Some(before));
        }
    }

    /// A directory too deep for a socket is refused with the limit before anything is started.
    #[test]
    fn a_path_too_long_for_a_socket_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let directory = Some(root.path().join("d".repeat(100)));
        let error = Swtpm::start_with(SwtpmOptions { directory, ..Default::default() }).unwrap_err();
        assert!(matches!(error, SimError::PathTooLong { .. }), "{error}");
    }
}
