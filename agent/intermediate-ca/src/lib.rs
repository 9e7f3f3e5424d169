//! The factory's intermediate CA: a library that a station may embed, and a server for many stations.
//!
//! ```text
//!            plan.rs            register.rs         hsm.rs           register.rs
//! request ─▶ door, TBS, lint ─▶ reserve, sync ─▶ sign, verify ─▶ record, sync ─▶ answer
//! ```
//!
//! The exact TBSCertificate is on the disk before it is signed, and only a signature that is on the disk is ever
//! answered. So the same issuance with the same request has one certificate, whatever dies when.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod administration;
mod authority;
mod callers;
mod carry;
mod ceremony;
mod certificate;
mod certify;
pub mod checkpoint_key;
pub mod commands;
mod configuration;
mod crl;
mod crl_http;
mod est;
mod extension;
mod generation;
mod grpc;
mod hardware_key;
mod hsm;
mod init;
mod journaled;
mod lint;
mod lots;
mod metrics;
mod pki;
mod plan;
mod production;
mod profile;
mod publication;
mod records;
mod refusal;
mod register;
pub mod residency;
mod revocation;
mod rollover;
mod rules;
pub mod sealed_secret;
mod server;
mod story;
mod token;
mod turns;
mod witnessed;
mod witnessing;

pub use authority::{Authority, BATCH_MAX, Caller, Issued, OpenError, Outcome, Problem, ProfileIssuer, ReportError};
pub use callers::Disabled;
pub use carry::check;
pub use ceremony::read_certificates;
pub use certificate::CertificateError;
pub use configuration::{Configuration, Listen, Token, parse_checkpoints, residency::parse_residency};
pub use crl::{CrlPartition, CrlSettings, PartitionScope};
pub use est::{EstClient, EstLabel, EstMark, EstOffer, EstSettings, from_base64};
pub use grpc::submission as submission_from_wire;
pub use hardware_key::{HardwareKeySettings, parse_cka_id, parse_keystore, parse_tls};
pub use init::{InitError, Initialised, init};
pub use lots::{
    Lot, LotRefused, LotRefusedKind, LotSettings, LotSignature,
    authorisation::{Authorisation, verify as verify_authorisation},
    client::{LotCommand, run as run_lot_command},
};
pub use pki::{CaCertificate, CaCertificateError, PkiError};
pub use plan::{Later, Rules, Stop, Submission};
pub use profile::{
    AlternativeNameRules, AuthoritySettings, CaName, CaNameError, CaProfile, CaSettings, Contradiction, End,
    ExtendedUsage, ExtensionRules, NotAnObjectIdentifier, ObjectIdentifier, Place, SubjectRules, Usage, contradictions,
};
pub use publication::{Crl, CrlError};
pub use records::CaProjection;
pub use refusal::{Reason, Refusal};
pub use register::{Condition, Confirmation, Unavailable};
pub use revocation::{NotRevoked, Revocation, RevocationReason, Revoked, Target, UnknownReason};
pub use rollover::{Order, RolledOver, RolloverError, RolloverStatus, RolloverStep, rollover, rollover_status};
pub use rules::RULES;
pub use server::{ServeError, Server};
pub use story::Story;
pub use token::{TokenError, open_token};
pub use witnessing::{Told, Witnessing};

#[cfg(test)]
mod tests;
