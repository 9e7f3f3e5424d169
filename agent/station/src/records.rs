//! The journal's entries: the heart's records, to and from protobuf. Beside the gRPC files, the only place that knows
//! the proto types.

mod checked;
mod evidence;

#[cfg(test)]
mod tests;

pub use checked::GoldenCheckFailed;
use intermediate_ca::residency;
use issuance::{
    CertificateLocation, CommonName, DeviceIdentity, DeviceSerial, FixtureName, IssuanceId, KeyAlgorithm, KeyLocation,
    LotName, ProfileName, PublicKey, Record, Timestamp,
    record::{Provenance, ReplacedKey, Requested, Stop, Verification},
};
use prost::Message as _;
use proto::journal::v1::{
    self as wire, Place, device_identified::Identity, place::Place as PlaceKind, station_record::Event,
};

/// One entry of the station's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was made.
    pub at: Timestamp,
    /// What happened.
    pub what: What,
}

/// What happened: to a lot, or to an issuance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A lot was opened.
    LotOpened {
        /// Its name.
        lot: LotName,
        /// The profile of its devices.
        profile: ProfileName,
        /// How many.
        quantity: u32,
        /// The `jti` of what the brand owner signed; empty when nobody did.
        authorisation_id: String,
        /// The client certificate that asked.
        authenticated_by: String,
    },
    /// A lot was closed.
    LotClosed {
        /// Its name.
        lot: LotName,
        /// The client certificate that asked.
        authenticated_by: String,
    },
    /// A request came with a request_id of its own for an issuance that stood already.
    RequestRepeated {
        /// The issuance.
        issuance: IssuanceId,
        /// The caller's id of its request.
        request_id: String,
        /// Who scanned it.
        claimed_by: String,
        /// The client certificate that asked.
        authenticated_by: String,
    },
    /// A check with the golden device failed of which no issuance has a record.
    GoldenCheckFailed(Box<GoldenCheckFailed>),
    /// Something happened to an issuance.
    Issuance(IssuanceId, Record),
}

/// Why bytes are not an entry that this version understands.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Not protobuf.
    #[error("the record is not a StationRecord")]
    Decode(#[from] prost::DecodeError),
    /// No event, or one of a newer version.
    #[error("the record holds no event that this version knows: use the version that wrote it, or a newer one")]
    Unknown,
    /// A field that cannot be right.
    #[error("the record's {0} is missing or malformed")]
    Field(&'static str),
}

impl Entry {
    /// As it stands in the journal.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (issuance, event) = match &self.what {
            What::LotOpened { lot, profile, quantity, authorisation_id, authenticated_by } => (
                Vec::new(),
                Event::LotOpened(wire::LotOpened {
                    lot: lot.to_string(),
                    profile: profile.to_string(),
                    quantity: *quantity,
                    authenticated_by: authenticated_by.clone(),
                    authorisation_id: authorisation_id.clone(),
                }),
            ),
            What::LotClosed { lot, authenticated_by } => (
                Vec::new(),
                Event::LotClosed(wire::LotClosed { lot: lot.to_string(), authenticated_by: authenticated_by.clone() }),
            ),
            What::RequestRepeated { issuance, request_id, claimed_by, authenticated_by } => (
                issuance.as_bytes().to_vec(),
                Event::RequestRepeated(wire::RequestRepeated {
                    request_id: request_id.clone(),
                    claimed_by: claimed_by.clone(),
                    authenticated_by: authenticated_by.clone(),
                }),
            ),
            What::GoldenCheckFailed(failed) => (Vec::new(), Event::GoldenCheckFailed(checked::failed_to_wire(failed))),
            What::Issuance(id, record) => (id.as_bytes().to_vec(), event(record)),
        };
        wire::StationRecord { time_ms: self.at.0, issuance, event: Some(event) }.encode_to_vec()
    }

    /// From the journal.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let wire = wire::StationRecord::decode(bytes)?;
        let what = match wire.event.ok_or(EntryError::Unknown)? {
            Event::LotOpened(opened) => What::LotOpened {
                lot: name("lot", &opened.lot, LotName::parse)?,
                profile: name("profile", &opened.profile, ProfileName::parse)?,
                quantity: opened.quantity,
                authorisation_id: opened.authorisation_id,
                authenticated_by: opened.authenticated_by,
            },
            Event::LotClosed(closed) => What::LotClosed {
                lot: name("lot", &closed.lot, LotName::parse)?,
                authenticated_by: closed.authenticated_by,
            },
            Event::RequestRepeated(repeated) => What::RequestRepeated {
                issuance: issuance(&wire.issuance)?,
                request_id: repeated.request_id,
                claimed_by: repeated.claimed_by,
                authenticated_by: repeated.authenticated_by,
            },
            Event::GoldenCheckFailed(failed) => What::GoldenCheckFailed(Box::new(checked::failed_from_wire(failed)?)),
            event => What::Issuance(issuance(&wire.issuance)?, record(event)?),
        };
        Ok(Self { at: Timestamp(wire.time_ms), what })
    }
}

fn issuance(octets: &[u8]) -> Result<IssuanceId, EntryError> {
    IssuanceId::from_slice(octets).ok_or(EntryError::Field("issuance"))
}

fn event(record: &Record) -> Event {
    match record {
        Record::Requested(requested) => Event::Requested(requested_to_wire(requested)),
        Record::DeviceIdentified { fixture, identity } => Event::DeviceIdentified(wire::DeviceIdentified {
            fixture: fixture.to_string(),
            identity: Some(identity_to_wire(identity)),
        }),
        Record::KeyGenerationStarted { location, algorithm, replaces } => {
            Event::KeyGenerationStarted(wire::KeyGenerationStarted {
                location: Some(key_place(location)),
                algorithm: algorithm.to_string(),
                replaces: replaces.as_ref().map(|replaced| wire::ReplacedKey {
                    public_key: replaced.public_key.spki().to_vec(),
                    issuance: replaced.issuance.as_bytes().to_vec(),
                }),
            })
        }
        Record::KeyGenerated { location, public_key, reused } => Event::KeyGenerated(wire::KeyGenerated {
            location: Some(key_place(location)),
            public_key: public_key.spki().to_vec(),
            reused: *reused,
        }),
        Record::ResidencyProven { evidence, standing } => Event::ResidencyProven(wire::ResidencyProven {
            evidence: Some(evidence::to_wire(evidence)),
            standing: residency::standing_to_wire(*standing).into(),
        }),
        Record::RequestSigned { certification_request } => {
            Event::RequestSigned(wire::RequestSigned { certification_request: certification_request.clone() })
        }
        Record::Submitted { authority, sends_recorded } => {
            Event::Submitted(wire::Submitted { authority: authority.clone(), sends_recorded: *sends_recorded })
        }
        Record::SendStarted { authority } => Event::SendStarted(wire::SendStarted { authority: authority.clone() }),
        Record::NotTaken { message } => Event::NotTaken(wire::NotTaken { message: message.clone() }),
        Record::InDoubt { message } => Event::InDoubt(wire::InDoubt { message: message.clone() }),
        Record::Resubmitted { authority, sends_recorded, claimed_by, authenticated_by } => {
            Event::Resubmitted(wire::Resubmitted {
                authority: authority.clone(),
                sends_recorded: *sends_recorded,
                claimed_by: claimed_by.clone(),
                authenticated_by: authenticated_by.clone(),
            })
        }
        Record::Surplus { certificate, chain } => {
            Event::Surplus(wire::Surplus { certificate: certificate.clone(), chain: chain.clone() })
        }
        Record::Sealed(sealed) => Event::Sealed(residency::sealed_to_wire(sealed.clone())),
        Record::Issued { certificate, chain } => {
            Event::Issued(wire::Issued { certificate: certificate.clone(), chain: chain.clone() })
        }
        Record::Refused { reason, message } => {
            Event::Refused(wire::Refused { reason: reason.clone(), message: message.clone() })
        }
        Record::WriteStarted { location } => {
            Event::WriteStarted(wire::WriteStarted { location: Some(certificate_place(location)) })
        }
        Record::Written => Event::Written(wire::Written {}),
        Record::Verified(verification) => Event::Verified(wire::Verified {
            certificate_sha256: verification.certificate_sha256.to_vec(),
            nonce: verification.nonce.clone(),
            signature: verification.signature.clone(),
        }),
        Record::Completed => Event::Completed(wire::Completed {}),
        Record::Failed(stop) => {
            let Stop { reason, message, next_action } = stop.clone();
            Event::Failed(wire::Failed { reason, message, next_action })
        }
        Record::Quarantined(stop) => {
            let Stop { reason, message, next_action } = stop.clone();
            Event::Quarantined(wire::Quarantined { reason, message, next_action })
        }
        Record::Released { claimed_by, authenticated_by, new_hardware } => Event::Released(wire::Released {
            claimed_by: claimed_by.clone(),
            authenticated_by: authenticated_by.clone(),
            new_hardware: *new_hardware,
        }),
        Record::Cancelled { scrapped, reason, claimed_by, authenticated_by } => Event::Cancelled(wire::Cancelled {
            scrapped: *scrapped,
            reason: reason.clone(),
            claimed_by: claimed_by.clone(),
            authenticated_by: authenticated_by.clone(),
        }),
        Record::Confirmed { refusal } => Event::Confirmed(wire::Confirmed { refusal: refusal.clone() }),
        Record::DeviceChecked(checked) => Event::DeviceChecked(checked::to_wire(checked)),
        Record::Resumed { fixture, claimed_by, authenticated_by } => Event::Resumed(wire::Resumed {
            fixture: fixture.to_string(),
            claimed_by: claimed_by.clone(),
            authenticated_by: authenticated_by.clone(),
        }),
    }
}

fn record(event: Event) -> Result<Record, EntryError> {
    Ok(match event {
        Event::LotOpened(_) | Event::LotClosed(_) | Event::RequestRepeated(_) | Event::GoldenCheckFailed(_) => {
            return Err(EntryError::Field("issuance"));
        }
        Event::Requested(requested) => Record::Requested(Box::new(requested_from_wire(requested)?)),
        Event::DeviceIdentified(identified) => Record::DeviceIdentified {
            fixture: name("fixture", &identified.fixture, FixtureName::parse)?,
            identity: identity_from_wire(identified.identity.ok_or(EntryError::Field("identity"))?),
        },
        Event::KeyGenerationStarted(started) => Record::KeyGenerationStarted {
            location: key_location(started.location)?,
            algorithm: KeyAlgorithm::parse(&started.algorithm).ok_or(EntryError::Field("algorithm"))?,
            replaces: started.replaces.map(replaced_from_wire).transpose()?,
        },
        Event::KeyGenerated(generated) => Record::KeyGenerated {
            location: key_location(generated.location)?,
            public_key: PublicKey::from_der(&generated.public_key).map_err(|_| EntryError::Field("public_key"))?,
            reused: generated.reused,
        },
        Event::ResidencyProven(proven) => Record::ResidencyProven {
            standing: residency::standing_from_wire(proven.standing()),
            evidence: evidence::from_wire(proven.evidence.ok_or(EntryError::Field("evidence"))?),
        },
        Event::RequestSigned(signed) => Record::RequestSigned { certification_request: signed.certification_request },
        Event::Submitted(wire::Submitted { authority, sends_recorded }) => {
            Record::Submitted { authority, sends_recorded }
        }
        Event::SendStarted(started) => Record::SendStarted { authority: started.authority },
        Event::NotTaken(wire::NotTaken { message }) => Record::NotTaken { message },
        Event::InDoubt(wire::InDoubt { message }) => Record::InDoubt { message },
        Event::Resubmitted(wire::Resubmitted { authority, sends_recorded, claimed_by, authenticated_by }) => {
            Record::Resubmitted { authority, sends_recorded, claimed_by, authenticated_by }
        }
        Event::Surplus(wire::Surplus { certificate, chain }) => Record::Surplus { certificate, chain },
        Event::Sealed(sealed) => Record::Sealed(residency::sealed_from_wire(sealed)),
        Event::Issued(issued) => Record::Issued { certificate: issued.certificate, chain: issued.chain },
        Event::Refused(refused) => Record::Refused { reason: refused.reason, message: refused.message },
        Event::WriteStarted(started) => Record::WriteStarted { location: certificate_location(started.location)? },
        Event::Written(_) => Record::Written,
        Event::Verified(verified) => Record::Verified(Verification {
            certificate_sha256: array("certificate_sha256", &verified.certificate_sha256)?,
            nonce: verified.nonce,
            signature: verified.signature,
        }),
        Event::Completed(_) => Record::Completed,
        Event::Failed(wire::Failed { reason, message, next_action }) => {
            Record::Failed(Stop { reason, message, next_action })
        }
        Event::Quarantined(wire::Quarantined { reason, message, next_action }) => {
            Record::Quarantined(Stop { reason, message, next_action })
        }
        Event::Released(wire::Released { claimed_by, authenticated_by, new_hardware }) => {
            Record::Released { claimed_by, authenticated_by, new_hardware }
        }
        Event::Cancelled(cancelled) => Record::Cancelled {
            scrapped: cancelled.scrapped,
            reason: cancelled.reason,
            claimed_by: cancelled.claimed_by,
            authenticated_by: cancelled.authenticated_by,
        },
        Event::Confirmed(confirmed) => Record::Confirmed { refusal: confirmed.refusal },
        Event::DeviceChecked(checked) => Record::DeviceChecked(Box::new(checked::from_wire(checked)?)),
        Event::Resumed(resumed) => Record::Resumed {
            fixture: name("fixture", &resumed.fixture, FixtureName::parse)?,
            claimed_by: resumed.claimed_by,
            authenticated_by: resumed.authenticated_by,
        },
    })
}

fn replaced_from_wire(replaced: wire::ReplacedKey) -> Result<ReplacedKey, EntryError> {
    Ok(ReplacedKey {
        public_key: PublicKey::from_der(&replaced.public_key).map_err(|_| EntryError::Field("public_key"))?,
        issuance: issuance(&replaced.issuance)?,
    })
}

fn requested_to_wire(requested: &Requested) -> wire::Requested {
    let provenance = &requested.provenance;
    wire::Requested {
        request_id: requested.request_id.clone(),
        lot: requested.lot.to_string(),
        device_serial: requested.device_serial.to_string(),
        profile: requested.profile.to_string(),
        common_name: requested.common_name.to_string(),
        fixture: requested.fixture.to_string(),
        claimed_by: requested.claimed_by.clone(),
        authenticated_by: requested.authenticated_by.clone(),
        site: provenance.site.clone(),
        line: provenance.line.clone(),
        station: provenance.station.clone(),
        part_revision: provenance.part_revision.clone(),
        software_version: provenance.software_version.clone(),
        configuration_sha256: provenance.configuration_sha256.to_vec(),
        profile_sha256: provenance.profile_sha256.to_vec(),
        supersedes: requested.supersedes.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
        lineage: requested.lineage.as_bytes().to_vec(),
        reason: requested.reason.clone(),
        new_hardware: requested.new_hardware,
    }
}

fn requested_from_wire(wire: wire::Requested) -> Result<Requested, EntryError> {
    Ok(Requested {
        lot: name("lot", &wire.lot, LotName::parse)?,
        device_serial: name("device_serial", &wire.device_serial, DeviceSerial::parse)?,
        profile: name("profile", &wire.profile, ProfileName::parse)?,
        common_name: name("common_name", &wire.common_name, CommonName::parse)?,
        fixture: name("fixture", &wire.fixture, FixtureName::parse)?,
        supersedes: match wire.supersedes.as_slice() {
            [] => None,
            octets => Some(IssuanceId::from_slice(octets).ok_or(EntryError::Field("supersedes"))?),
        },
        lineage: IssuanceId::from_slice(&wire.lineage).ok_or(EntryError::Field("lineage"))?,
        request_id: wire.request_id,
        reason: wire.reason,
        new_hardware: wire.new_hardware,
        claimed_by: wire.claimed_by,
        authenticated_by: wire.authenticated_by,
        provenance: Provenance {
            site: wire.site,
            line: wire.line,
            station: wire.station,
            part_revision: wire.part_revision,
            software_version: wire.software_version,
            configuration_sha256: array("configuration_sha256", &wire.configuration_sha256)?,
            profile_sha256: array("profile_sha256", &wire.profile_sha256)?,
        },
    })
}

fn identity_to_wire(identity: &DeviceIdentity) -> Identity {
    match identity.clone() {
        DeviceIdentity::Tpm { ek_certificate, srk_name, manufacturer, firmware } => Identity::Tpm(wire::TpmIdentity {
            ek_certificate: ek_certificate.unwrap_or_default(),
            srk_name,
            manufacturer,
            firmware,
        }),
        DeviceIdentity::Token { label, serial_number, manufacturer, model, firmware } => {
            Identity::Token(wire::TokenIdentity { label, serial_number, manufacturer, model, firmware })
        }
    }
}

fn identity_from_wire(identity: Identity) -> DeviceIdentity {
    match identity {
        Identity::Tpm(wire::TpmIdentity { ek_certificate, srk_name, manufacturer, firmware }) => DeviceIdentity::Tpm {
            ek_certificate: Some(ek_certificate).filter(|certificate| !certificate.is_empty()),
            srk_name,
            manufacturer,
            firmware,
        },
        Identity::Token(wire::TokenIdentity { label, serial_number, manufacturer, model, firmware }) => {
            DeviceIdentity::Token { label, serial_number, manufacturer, model, firmware }
        }
    }
}

fn key_place(location: &KeyLocation) -> Place {
    match location {
        KeyLocation::TpmHandle(handle) => place(PlaceKind::TpmHandle(*handle)),
        KeyLocation::Pkcs11 { cka_id, label } => token_place(cka_id, label),
    }
}

fn certificate_place(location: &CertificateLocation) -> Place {
    match location {
        CertificateLocation::NvIndex(index) => place(PlaceKind::TpmHandle(*index)),
        CertificateLocation::Pkcs11 { cka_id, label } => token_place(cka_id, label),
    }
}

fn place(kind: PlaceKind) -> Place {
    Place { place: Some(kind) }
}

fn token_place(cka_id: &[u8], label: &str) -> Place {
    place(PlaceKind::Token(wire::TokenPlace { cka_id: cka_id.to_vec(), cka_label: label.to_owned() }))
}

fn key_location(wire: Option<Place>) -> Result<KeyLocation, EntryError> {
    Ok(match wire.and_then(|place| place.place).ok_or(EntryError::Field("location"))? {
        PlaceKind::TpmHandle(handle) => KeyLocation::TpmHandle(handle),
        PlaceKind::Token(wire::TokenPlace { cka_id, cka_label }) => KeyLocation::Pkcs11 { cka_id, label: cka_label },
    })
}

fn certificate_location(wire: Option<Place>) -> Result<CertificateLocation, EntryError> {
    Ok(match wire.and_then(|place| place.place).ok_or(EntryError::Field("location"))? {
        PlaceKind::TpmHandle(index) => CertificateLocation::NvIndex(index),
        PlaceKind::Token(wire::TokenPlace { cka_id, cka_label }) => {
            CertificateLocation::Pkcs11 { cka_id, label: cka_label }
        }
    })
}

fn name<T, E>(field: &'static str, text: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<T, EntryError> {
    parse(text).map_err(|_| EntryError::Field(field))
}

fn array(field: &'static str, bytes: &[u8]) -> Result<[u8; 32], EntryError> {
    bytes.try_into().map_err(|_| EntryError::Field(field))
}
