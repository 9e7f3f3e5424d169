//! Residency evidence, to and from protobuf.

use issuance::{
    ResidencyEvidence,
    device::{Endorsement, TpmAttestation},
};
use proto::{
    evidence::v1 as wire,
    journal::v1::{self as journal, residency_proven::Evidence},
};

pub(super) fn to_wire(evidence: &ResidencyEvidence) -> Evidence {
    match evidence.clone() {
        ResidencyEvidence::Tpm { public_area, name, attestation } => {
            let attestation = attestation.map(|attestation| attestation_to_wire(*attestation));
            Evidence::Tpm(journal::TpmEvidence { public_area, name, attestation })
        }
        ResidencyEvidence::Token { local, sensitive, always_sensitive, extractable, never_extractable } => {
            Evidence::Token(journal::TokenEvidence {
                local,
                sensitive,
                always_sensitive,
                extractable,
                never_extractable,
            })
        }
    }
}

pub(super) fn from_wire(evidence: Evidence) -> ResidencyEvidence {
    match evidence {
        Evidence::Tpm(journal::TpmEvidence { public_area, name, attestation }) => {
            let attestation = attestation.map(|attestation| Box::new(attestation_from_wire(attestation)));
            ResidencyEvidence::Tpm { public_area, name, attestation }
        }
        Evidence::Token(journal::TokenEvidence {
            local,
            sensitive,
            always_sensitive,
            extractable,
            never_extractable,
        }) => ResidencyEvidence::Token { local, sensitive, always_sensitive, extractable, never_extractable },
    }
}

fn attestation_to_wire(attestation: TpmAttestation) -> wire::TpmAttestation {
    let TpmAttestation { endorsement, ak_public_area, certify_info, certify_signature } = attestation;
    let Endorsement { certificate, chain, public_area } = endorsement;
    let endorsement = wire::Endorsement { certificate: certificate.unwrap_or_default(), chain, public_area };
    wire::TpmAttestation { endorsement: Some(endorsement), ak_public_area, certify_info, certify_signature }
}

fn attestation_from_wire(attestation: wire::TpmAttestation) -> TpmAttestation {
    let wire::TpmAttestation { endorsement, ak_public_area, certify_info, certify_signature } = attestation;
    let wire::Endorsement { certificate, chain, public_area } = endorsement.unwrap_or_default();
    let certificate = (!certificate.is_empty()).then_some(certificate);
    let endorsement = Endorsement { certificate, chain, public_area };
    TpmAttestation { endorsement, ak_public_area, certify_info, certify_signature }
}
