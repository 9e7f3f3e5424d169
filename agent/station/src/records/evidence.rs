//! Residency evidence, to and from protobuf.

use intermediate_ca::residency;
use issuance::ResidencyEvidence;
use proto::journal::v1::{self as journal, residency_proven::Evidence};

pub(super) fn to_wire(evidence: &ResidencyEvidence) -> Evidence {
    match evidence.clone() {
        ResidencyEvidence::Tpm { public_area, name, attestation } => {
            let attestation = attestation.map(|attestation| residency::to_wire(*attestation));
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
            let attestation = attestation.map(|attestation| Box::new(residency::from_wire(attestation)));
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
