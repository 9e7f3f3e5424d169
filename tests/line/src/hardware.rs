//! The devices of a line, and the CA's token.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    thread,
};

use hsm_sim::{FaultModule, Relay, SimError, SoftHsm, Stop, Swtpm, SwtpmOptions, TpmMaker};
use tempfile::TempDir;

use crate::{LineError, Options, control_plane};

/// The prefix of the temporary directories that hold a line's devices; short, for the sockets in them.
pub(crate) const PREFIX: &str = "line-";

/// One device in its fixture.
#[derive(Debug)]
pub enum Device {
    /// In this fixture, a TPM.
    Tpm(Swtpm),
    /// In this fixture, a PKCS#11 token.
    Token(SoftHsm),
}

/// What stands before a device and fails as a test says.
#[derive(Debug)]
enum Trouble {
    Relay(Relay),
    Module(FaultModule),
}

/// All simulated hardware of a line. Removed on drop.
#[derive(Debug)]
pub struct Hardware {
    /// Before each device, or none at all.
    troubles: Vec<Trouble>,
    devices: Vec<(String, Device)>,
    ca: SoftHsm,
    maker: TpmMaker,
    secrets: PathBuf,
    // Last, so that it is removed when what lives in it has stopped.
    directory: TempDir,
}

impl Hardware {
    /// Makes the devices beside each other, and the files with the tokens' PINs in `secrets`.
    pub(crate) fn start(options: &Options, secrets: PathBuf) -> Result<Self, LineError> {
        fs::create_dir_all(&secrets).map_err(LineError::file("make", &secrets))?;
        // A TMPDIR too long for a socket's path is passed over, as hsm-sim does.
        let root = Some(std::env::temp_dir()).filter(|root| root.as_os_str().len() <= 60);
        let root = root.unwrap_or_else(|| PathBuf::from("/tmp"));
        let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&root);
        let directory = made.map_err(LineError::file("make a directory in", root))?;
        let place = |name: &str| directory.path().join(name);
        let failed = |name: &str, source| LineError::Device { name: name.into(), source };

        let maker = TpmMaker::create_in(&place("tpm-maker")).map_err(|source| failed("tpm-maker", source))?;
        let tpm = |name: &str| -> Result<Device, SimError> {
            let (maker, name) = (Some(maker.clone()), name.to_owned());
            let directory = Some(place(&name));
            Swtpm::start_with(SwtpmOptions { maker, directory, name: Some(name), detached: false }).map(Device::Tpm)
        };
        let token = |name: &str| SoftHsm::create_in(&place(name), name, &new_pin()?);

        let names: Vec<String> = (1..=options.tpms + options.tokens).map(|number| format!("device-{number}")).collect();
        let (devices, ca) = thread::scope(|scope| {
            let starts: Vec<_> = names
                .iter()
                .enumerate()
                .map(|(index, name)| {
                    let (tpm, token) = (&tpm, &token);
                    let is_tpm = index < options.tpms;
                    scope.spawn(move || if is_tpm { tpm(name) } else { token(name).map(Device::Token) })
                })
                .collect();
            let ca = token("ca");
            (starts.into_iter().map(|start| start.join()).collect::<Vec<_>>(), ca)
        });
        let mut started = Vec::new();
        for (name, device) in names.into_iter().zip(devices) {
            let device = device.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            started.push((name.clone(), device.map_err(|source| failed(&name, source))?));
        }
        let ca = ca.map_err(|source| failed("ca", source))?;
        let mut hardware = Self { troubles: Vec::new(), devices: started, ca, maker, secrets, directory };
        if options.faults {
            for (name, device) in &hardware.devices {
                let trouble = match device {
                    Device::Tpm(tpm) => Relay::before(tpm).map(Trouble::Relay),
                    Device::Token(token) => FaultModule::before(token).map(Trouble::Module),
                };
                hardware.troubles.push(trouble.map_err(|source| failed(name, source))?);
            }
        }
        for token in hardware.tokens() {
            control_plane::write(&hardware.pin_file(token.label()), token.pin().as_bytes(), 0o600)?;
        }
        Ok(hardware)
    }

    /// Where the devices' files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The certificates of the CA that signs the TPMs' EK certificates, PEM; there when the line has a TPM.
    pub fn maker_certificates(&self) -> [PathBuf; 2] {
        [self.maker.root_certificate(), self.maker.issuer_certificate()]
    }

    /// The devices by name, in their fixtures' order: `device-1` sits in `fixture-1`.
    pub fn devices(&self) -> impl Iterator<Item = (&str, &Device)> {
        self.devices.iter().map(|(name, device)| (name.as_str(), device))
    }

    /// The device in the fixture `number`, from 1; `None` when there is none.
    pub fn device(&mut self, number: usize) -> Option<&mut Device> {
        self.devices.get_mut(number.checked_sub(1)?).map(|(_, device)| device)
    }

    /// The link to the TPM in the fixture `number`, from 1; `None` without [`Options::faults`], or for a token.
    pub fn relay(&self, number: usize) -> Option<&Relay> {
        match self.troubles.get(number.checked_sub(1)?) {
            Some(Trouble::Relay(relay)) => Some(relay),
            _ => None,
        }
    }

    /// The module before the token in the fixture `number`, from 1; `None` without [`Options::faults`], or for a TPM.
    pub fn module(&self, number: usize) -> Option<&FaultModule> {
        match self.troubles.get(number.checked_sub(1)?) {
            Some(Trouble::Module(module)) => Some(module),
            _ => None,
        }
    }

    /// The CA's token.
    pub fn ca(&self) -> &SoftHsm {
        &self.ca
    }

    /// The file with the PIN of the token `label`.
    pub fn pin_file(&self, label: &str) -> PathBuf {
        self.secrets.join(format!("{label}.pin"))
    }

    /// Takes the power from every TPM.
    pub(crate) fn stop(&mut self) {
        for (_, device) in &mut self.devices {
            if let Device::Tpm(tpm) = device {
                // Its drop tries again.
                let _ = tpm.stop(Stop::Orderly);
            }
        }
    }

    fn tokens(&self) -> impl Iterator<Item = &SoftHsm> {
        let devices = self.devices.iter().filter_map(|(_, device)| match device {
            Device::Token(token) => Some(token),
            Device::Tpm(_) => None,
        });
        devices.chain([&self.ca])
    }
}

/// A PIN that no other run has, so that a test finds it wherever it should not be.
fn new_pin() -> Result<String, SimError> {
    let mut random = [0; 8];
    let source = Path::new("/dev/urandom");
    let read = fs::File::open(source).and_then(|mut file| file.read_exact(&mut random));
    read.map_err(|error| SimError::Io { act: "read", path: source.into(), source: error })?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
