//! One word for each record and each act, as crash points name them.

use issuance::{Action, Record};

use crate::records::What;

/// The record's word.
#[must_use]
pub fn of_record(what: &What) -> &'static str {
    let record = match what {
        What::LotOpened { .. } => return "lot-opened",
        What::LotClosed { .. } => return "lot-closed",
        What::RequestRepeated { .. } => return "request-repeated",
        What::GoldenCheckFailed(_) => return "golden-check-failed",
        What::Issuance(_, record) => record,
    };
    match record {
        Record::Requested(_) => "requested",
        Record::DeviceIdentified { .. } => "device-identified",
        Record::KeyGenerationStarted { .. } => "key-generation-started",
        Record::KeyGenerated { .. } => "key-generated",
        Record::ResidencyProven { .. } => "residency-proven",
        Record::RequestSigned { .. } => "request-signed",
        Record::Submitted { .. } => "submitted",
        Record::SendStarted { .. } => "send-started",
        Record::NotTaken { .. } => "not-taken",
        Record::InDoubt { .. } => "in-doubt",
        Record::Resubmitted { .. } => "resubmitted",
        Record::Surplus { .. } => "surplus",
        Record::Sealed(_) => "sealed",
        Record::Issued { .. } => "issued",
        Record::Refused { .. } => "refused",
        Record::WriteStarted { .. } => "write-started",
        Record::Written => "written",
        Record::Verified(_) => "verified",
        Record::Completed => "completed",
        Record::Failed(_) => "failed",
        Record::Quarantined(_) => "quarantined",
        Record::Confirmed { .. } => "confirmed",
        Record::DeviceChecked(_) => "device-checked",
        Record::Resumed { .. } => "resumed",
        Record::Released { .. } => "released",
        Record::Cancelled { .. } => "cancelled",
    }
}

/// The act's word.
#[must_use]
pub fn of_act(action: &Action) -> &'static str {
    match action {
        Action::FindKey(_) => "find-key",
        Action::GenerateKey(..) => "generate-key",
        Action::ProveResidency(_) => "prove-residency",
        Action::Attest { .. } => "attest",
        Action::SignRequest { .. } => "sign-request",
        Action::Submit => "submit",
        Action::AwaitAnswer => "await-answer",
        Action::Activate(_) => "activate",
        Action::Write { .. } => "write",
        Action::Verify(..) => "verify",
        Action::Retry { .. } => "retry",
        Action::Rest => "rest",
        Action::Halt(_) => "halt",
    }
}
