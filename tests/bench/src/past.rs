//! What a station has behind it: issuances by the hundred thousand, written by its own ledger into its own journal, with
//! devices and a former CA in software. Only the hardware's time is left out, and the waiting for each sync.

use std::path::Path;

use issuance::{
    Action, CommonName, DeviceSerial, FixtureName, Input, IssuanceId, KeyAlgorithm, KeyLocation, Keystore as _,
    LotName, Made, ProfileName, Purpose, profile::KeystoreKind, record::Provenance,
};
use journal::{Journal, JournalOptions, Projections};
use station::{
    configuration::StationConfiguration,
    csr,
    ledger::{Asked, Ledger, Subject},
    rows::StationRows,
};
use tokio::sync::mpsc;

use crate::{Failed, because, device::Device, issuer::SoftwareIssuer};

/// The lot of everything here.
pub const LOT: &str = "past";
const FIXTURE: &str = "fixture-1";
/// The profile of everything here.
pub const PROFILE: &str = "device-ca";

/// How far its issuances have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// Their certificates are awaited: the real CA is to issue them.
    Waiting,
    /// Done, with chains that are longer by so many octets: as CAs with RSA keys have them.
    Completed {
        /// Octets.
        longer: usize,
    },
}

/// Writes into the journal of the station whose configuration this is, while that does not run: `count` issuances for the
/// devices `<prefix>-<number>`.
pub fn write(configuration: &Path, prefix: &str, count: usize, stand: Stand) -> Result<(), Failed> {
    let settings = StationConfiguration::read(configuration).map_err(because("read station.toml"))?;
    let longer = if let Stand::Completed { longer } = stand { longer } else { 0 };
    let issuer = SoftwareIssuer::new(longer)?;
    let profiles = match stand {
        Stand::Waiting => settings.profiles.clone(),
        Stand::Completed { .. } => issuer.pinned(&settings.profiles),
    };
    let failed = because("open the station's journal");
    let options = JournalOptions::new(&settings.journal, format!("station-agent/{}", settings.station));
    let (journal, _) = Journal::open(&options).map_err(&failed)?;
    let rows = Projections::open(&journal, &settings.journal.join("projections"), StationRows, &mut |_, _| {})
        .map_err(&failed)?;
    let (changes, told) = mpsc::unbounded_channel();
    // Nobody watches.
    drop(told);
    let ledger = Ledger::new(journal, rows, profiles, settings.queue.bound.max(count + 1), changes).map_err(&failed)?;
    let past = Past { ledger, issuer, fixture: FixtureName::parse(FIXTURE).map_err(because("name a fixture"))? };
    past.open_lot()?;
    for number in 0..count {
        past.issue(&format!("{prefix}-{number}"), stand)?;
    }
    past.ledger.close().map_err(because("close the station's journal"))
}

/// A certification request, DER, as the station makes one, signed by a key that is made now.
pub fn request(device: &mut Device, serial: &str) -> Result<Vec<u8>, Failed> {
    let failed = because("sign a certification request");
    let place = KeyLocation::Pkcs11 { cka_id: vec![1], label: PROFILE.to_owned() };
    let key = device.generate_key(&place, KeyAlgorithm::P256).map_err(&failed)?;
    let name = CommonName::parse(&format!("{serial}.ca")).map_err(because("name a device"))?;
    csr::build(device, &place, &key, &name, Purpose::DeviceCa { path_length: 0 }).map_err(failed)
}

struct Past {
    ledger: Ledger,
    issuer: SoftwareIssuer,
    fixture: FixtureName,
}

impl Past {
    fn open_lot(&self) -> Result<(), Failed> {
        let lot = LotName::parse(LOT).map_err(because("name a lot"))?;
        let profile = ProfileName::parse(PROFILE).map_err(because("name a profile"))?;
        // A second time it is the same lot.
        self.ledger.open_lot(&lot, &profile, 10_000_000, "mes-1").map(drop).map_err(because("open a lot"))
    }

    fn issue(&self, serial: &str, stand: Stand) -> Result<(), Failed> {
        let asked = Asked {
            subject: Subject {
                request_id: format!("request-{serial}"),
                lot: LotName::parse(LOT).map_err(because("name a lot"))?,
                device_serial: DeviceSerial::parse(serial).map_err(because("name a device"))?,
                profile: None,
            },
            fixture: self.fixture.clone(),
            claimed_by: "badge-1".to_owned(),
            authenticated_by: "mes-1".to_owned(),
            at_work: vec![],
            fixture_is_free: true,
        };
        let id = self.ledger.start(&asked, &Provenance::default()).map_err(because("start an issuance"))?.issuance.id;
        let mut device = Device::new(serial);
        let identity = device.identify().map_err(because("work with a device"))?;
        let mut input = Input::Identified { identity, known_as: None, known_fingerprint: None };
        loop {
            let action = self.decide(id, input)?;
            match action {
                Action::AwaitAnswer if stand == Stand::Waiting => return Ok(()),
                Action::Rest => return Ok(()),
                action => input = self.act(id, action, &mut device)?,
            }
        }
    }

    fn decide(&self, id: IssuanceId, input: Input) -> Result<Action, Failed> {
        // Not waited for: the last sync is the journal's end, and nobody is told before.
        let decided = self.ledger.decide(id, &self.fixture, KeystoreKind::Pkcs11, "ca-1", input);
        decided.map(|(action, _)| action).map_err(because("record an outcome"))
    }

    fn act(&self, id: IssuanceId, action: Action, device: &mut Device) -> Result<Input, Failed> {
        let failed = because("work with a device");
        let (issuance, _) = self
            .ledger
            .get(id)
            .map_err(because("read an issuance"))?
            .ok_or_else(|| Failed::new(format!("the issuance {id} is not in the journal")))?;
        Ok(match action {
            Action::FindKey(place) => {
                Input::KeySought { found: device.find_key(&place).map_err(failed)?, made: Made::Unknown }
            }
            Action::GenerateKey(place, algorithm, _) => {
                Input::KeyGenerated(device.generate_key(&place, algorithm).map_err(failed)?)
            }
            Action::ProveResidency(place) => Input::EvidenceGiven(device.residency_evidence(&place).map_err(failed)?),
            Action::SignRequest { location, public_key, purpose } => {
                let name = &issuance.request.common_name;
                Input::RequestSigned(csr::build(device, &location, &public_key, name, purpose).map_err(failed)?)
            }
            Action::Submit => Input::Submitting,
            Action::AwaitAnswer => {
                let request = issuance.state.awaits_answer().map(|signed| signed.certification_request.as_slice());
                let certificate = self.issuer.issue(request.unwrap_or_default())?;
                Input::Issued { certificate, chain: self.issuer.chain() }
            }
            Action::Write { .. } if issuance.state.placed().is_none() => Input::Writing,
            Action::Write { location: place, .. } => {
                let valid = self.ledger.validated_certificate(id, &self.fixture, KeystoreKind::Pkcs11);
                let valid = valid.map_err(because("validate a certificate"))?.map_err(&failed)?;
                device.write_certificate(&place, &valid).map_err(failed)?;
                Input::Written
            }
            Action::Verify(place, key) => {
                let nonce = vec![1; 32];
                let signature =
                    device.sign(&key, std::slice::from_ref(&nonce)).map_err(&failed)?.pop().unwrap_or_default();
                Input::ReadBack { certificate: device.read_certificate(&place).map_err(failed)?, nonce, signature }
            }
            other => return Err(Failed::new(format!("a device in software is not asked for {other:?}"))),
        })
    }
}
