//! The factory floor: devices that keep what was done to them, in fixtures or on the shelf, and what goes wrong there.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use issuance::{
    CertificateLocation, DeviceIdentity, DeviceSerial, Fault, FaultKind, IssuanceId, KeyAlgorithm, KeyLocation,
    Keystore, PublicKey, ResidencyEvidence, ValidatedCertificate,
};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};

use crate::{Planted, authority::of_even_length, ca::CaWeather, chance::Chance};

/// What passes by itself or with another attempt.
const PASSING: &[FaultKind] = &[
    FaultKind::LinkLost,
    FaultKind::DeadlineExceeded,
    FaultKind::WorkerCrashed,
    FaultKind::DeviceBusy,
    FaultKind::SessionLost,
];
/// What stops the issuance until somebody did something.
const STOPPING: &[FaultKind] = &[
    FaultKind::DeviceAbsent,
    FaultKind::PinRejected,
    FaultKind::PinLocked,
    FaultKind::DictionaryAttackLockout,
    FaultKind::StorageFull,
    FaultKind::LocationOccupied,
    FaultKind::Misconfigured,
    FaultKind::FileWriteFailed,
];
/// What sets the device aside.
const GRAVE: &[FaultKind] = &[
    FaultKind::NotFound,
    FaultKind::NotSameDevice,
    FaultKind::Unsupported,
    FaultKind::HardwareFailure,
    FaultKind::Mismatch,
    FaultKind::AnswerAltered,
    FaultKind::ResidencyUnproven,
];

/// A device with what it holds, by the octets of CKA_ID.
#[derive(Debug)]
pub struct Device {
    /// What its barcode says.
    pub barcode: DeviceSerial,
    /// Its keys.
    pub keys: BTreeMap<Vec<u8>, (KeyPair, PublicKey)>,
    /// Its certificates, DER.
    pub certificates: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// All devices, where they are, and what is to go wrong.
#[derive(Debug)]
pub struct Floor {
    /// The devices.
    pub devices: Vec<Device>,
    /// Which device sits in which fixture.
    pub places: Vec<Option<usize>>,
    /// Steps of the current event until the station is killed.
    pub fuse: Option<usize>,
    /// The station is killed: nothing more reaches a device or the journal.
    pub crashed: bool,
    /// The station was asked to stop: the current act is finished.
    pub stopping: bool,
    /// The journal took no answer any more.
    pub stuck: bool,
    /// Submissions that a planted bug does not send.
    pub forgotten: Vec<IssuanceId>,
    /// The CA and the link to it.
    pub ca: CaWeather,
    /// Hardware behaves.
    pub calm: bool,
    /// Faults so far.
    pub faults: u64,
    /// Keys made so far.
    pub keys_made: u64,
    /// What must never be, and was.
    pub wrong: Vec<String>,
    /// What happened in this event, for the trace.
    pub notes: Vec<String>,
    pub(crate) chance: Chance,
    pub(crate) planted: Planted,
}

/// The floor, as everybody on it shares it.
pub type Shared = Arc<Mutex<Floor>>;

/// Looks at the floor.
pub fn look(floor: &Shared) -> MutexGuard<'_, Floor> {
    floor.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The station was killed.
#[derive(Debug)]
pub struct Killed;

impl Floor {
    /// A floor with these devices on the shelf.
    #[must_use]
    pub fn new(barcodes: Vec<DeviceSerial>, fixtures: usize, chance: Chance, planted: Planted) -> Self {
        let device = |barcode| Device { barcode, keys: BTreeMap::new(), certificates: BTreeMap::new() };
        Self {
            devices: barcodes.into_iter().map(device).collect(),
            places: vec![None; fixtures],
            fuse: None,
            crashed: false,
            stopping: false,
            stuck: false,
            forgotten: vec![],
            ca: CaWeather::default(),
            calm: false,
            faults: 0,
            keys_made: 0,
            wrong: vec![],
            notes: vec![],
            chance,
            planted,
        }
    }

    /// Puts a device in a fixture; what was there goes to the shelf.
    pub fn put(&mut self, device: usize, fixture: usize) {
        for place in &mut self.places {
            if *place == Some(device) {
                *place = None;
            }
        }
        self.places[fixture] = Some(device);
    }

    /// A boundary between two lines: the station may be killed here.
    ///
    /// # Errors
    /// When it was.
    pub fn pass(&mut self) -> Result<(), Killed> {
        if let Some(left) = &mut self.fuse {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.crashed = true;
            }
        }
        if self.crashed { Err(Killed) } else { Ok(()) }
    }

    /// Somebody takes the device out, or puts another one in its place.
    fn unrest(&mut self, fixture: usize) {
        if self.calm || !self.chance.once_in(60) {
            return;
        }
        if self.chance.once_in(2) {
            self.places[fixture] = None;
        } else {
            let device = self.chance.below(self.devices.len());
            self.put(device, fixture);
        }
        self.notes.push(format!("fixture-{fixture} now holds {:?}", self.places[fixture]));
    }

    /// What goes wrong with the next act, and whether after its effect.
    fn fault(&mut self, act: &'static str) -> Option<(Fault, bool)> {
        if self.calm || !self.chance.once_in(25) {
            return None;
        }
        let kinds = match self.chance.below(10) {
            0 => GRAVE,
            1..=3 => STOPPING,
            _ => PASSING,
        };
        let (kind, after) = (self.chance.of(kinds)?, self.chance.once_in(2));
        self.faults += 1;
        self.notes.push(format!("{act}: {}{}", kind.reason(), if after { " after its effect" } else { "" }));
        Some((Fault::new(kind, format!("could not {act}")), after))
    }
}

/// What a fixture's driver touches.
#[derive(Debug)]
pub struct FixtureKeystore {
    floor: Shared,
    fixture: usize,
    /// The device that this visit met.
    met: Option<usize>,
}

impl FixtureKeystore {
    /// The keystore behind a fixture.
    #[must_use]
    pub fn new(floor: Shared, fixture: usize) -> Self {
        Self { floor, fixture, met: None }
    }

    fn act<T>(
        &mut self,
        act: &'static str,
        effect: impl FnOnce(&mut Floor, usize) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let gone = |Killed| Fault::new(FaultKind::WorkerCrashed, "the station is gone");
        let mut floor = look(&self.floor);
        floor.pass().map_err(gone)?;
        floor.unrest(self.fixture);
        let there = floor.places[self.fixture];
        if act == "identify" {
            self.met = there;
        }
        let Some(device) = there else { return Err(Fault::new(FaultKind::DeviceAbsent, "the fixture is empty")) };
        if self.met != there {
            return Err(Fault::new(FaultKind::LinkLost, "the device was taken out"));
        }
        let fault = floor.fault(act);
        if let Some((fault, false)) = fault {
            return Err(fault);
        }
        let done = effect(&mut floor, device);
        floor.pass().map_err(gone)?;
        match fault {
            Some((fault, _)) => Err(fault),
            None => done,
        }
    }
}

fn key_place(location: &KeyLocation) -> Vec<u8> {
    match location {
        KeyLocation::Pkcs11 { cka_id, .. } => cka_id.clone(),
        KeyLocation::TpmHandle(handle) => handle.to_be_bytes().to_vec(),
    }
}

fn certificate_place(location: &CertificateLocation) -> Vec<u8> {
    match location {
        CertificateLocation::Pkcs11 { cka_id, .. } => cka_id.clone(),
        CertificateLocation::NvIndex(index) => index.to_be_bytes().to_vec(),
    }
}

fn broken(error: impl std::fmt::Display) -> Fault {
    Fault::caused(FaultKind::HardwareFailure, "the simulated device failed", error)
}

impl Keystore for FixtureKeystore {
    fn identify(&mut self) -> Result<DeviceIdentity, Fault> {
        self.act("identify", |_, device| {
            Ok(DeviceIdentity::Token {
                label: "device".to_owned(),
                serial_number: device.to_string(),
                manufacturer: "maker".to_owned(),
                model: "model".to_owned(),
                firmware: "1".to_owned(),
            })
        })
    }

    fn find_key(&mut self, location: &KeyLocation) -> Result<Option<PublicKey>, Fault> {
        self.act("find the key", |floor, device| {
            if floor.planted.generate_without_looking {
                return Ok(None);
            }
            Ok(floor.devices[device].keys.get(&key_place(location)).map(|(_, public)| public.clone()))
        })
    }

    fn generate_key(&mut self, location: &KeyLocation, _: KeyAlgorithm) -> Result<PublicKey, Fault> {
        self.act("generate the key", |floor, device| {
            let place = key_place(location);
            if floor.devices[device].keys.contains_key(&place) {
                floor.wrong.push(format!("a second key is to be generated in one place on device {device}"));
                return Err(Fault::new(FaultKind::LocationOccupied, "a key is there"));
            }
            let key = KeyPair::generate().map_err(broken)?;
            let public = PublicKey::from_der(&key.subject_public_key_info()).map_err(broken)?;
            floor.devices[device].keys.insert(place, (key, public.clone()));
            floor.keys_made += 1;
            Ok(public)
        })
    }

    fn residency_evidence(&mut self, _: &KeyLocation) -> Result<ResidencyEvidence, Fault> {
        self.act("prove the key's residency", |_, _| {
            Ok(ResidencyEvidence::Token {
                local: true,
                sensitive: true,
                always_sensitive: true,
                extractable: false,
                never_extractable: true,
            })
        })
    }

    fn sign(&mut self, location: &KeyLocation, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Fault> {
        self.act("sign", |floor, device| {
            let Some((key, _)) = floor.devices[device].keys.get(&key_place(location)) else {
                return Err(Fault::new(FaultKind::NotFound, "the key is not there"));
            };
            let sign = |message: &Vec<u8>| of_even_length(|| key.sign(message).map_err(|error| error.to_string()));
            messages.iter().map(|message| sign(message).map_err(broken)).collect()
        })
    }

    fn read_certificate(&mut self, location: &CertificateLocation) -> Result<Option<Vec<u8>>, Fault> {
        self.act("read the certificate", |floor, device| {
            Ok(floor.devices[device].certificates.get(&certificate_place(location)).cloned())
        })
    }

    fn remove_certificate(&mut self, location: &CertificateLocation, superseded: &[u8]) -> Result<(), Fault> {
        self.act("remove the certificate", |floor, device| {
            let place = certificate_place(location);
            let certificates = &mut floor.devices[device].certificates;
            if certificates.get(&place).is_some_and(|there| there == superseded) {
                certificates.remove(&place);
            }
            Ok(())
        })
    }

    fn write_certificate(&mut self, location: &CertificateLocation, valid: &ValidatedCertificate) -> Result<(), Fault> {
        self.act("write the certificate", |floor, device| {
            let place = certificate_place(location);
            let certificates = &mut floor.devices[device].certificates;
            match certificates.get(&place) {
                Some(there) if there != valid.der() => {
                    Err(Fault::new(FaultKind::LocationOccupied, "another certificate is there"))
                }
                _ => {
                    certificates.insert(place, valid.der().to_vec());
                    Ok(())
                }
            }
        })
    }
}
