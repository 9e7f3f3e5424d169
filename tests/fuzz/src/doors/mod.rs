//! The doors, by whom they belong to.

mod api;
mod authority;
mod certificates;
mod configuration;
mod evidence;
mod hardware;
mod journal;
mod line;
mod names;
mod page;
mod proofs;
mod records;

use crate::Door;

/// All of them.
pub const DOORS: &[Door] = &[
    authority::REQUEST,
    authority::EST_BODY,
    authority::LOT_AUTHORISATION,
    certificates::CERTIFICATE,
    certificates::TRUST_FILE,
    evidence::EVIDENCE,
    journal::SEGMENTS,
    journal::REPAIR,
    proofs::PROOF,
    proofs::LOG,
    proofs::WITNESS,
    records::STATION_RECORD,
    records::CA_RECORD,
    records::ISSUANCE,
    hardware::WORKER,
    hardware::DEVICE_ANSWER,
    configuration::STATION,
    configuration::CA,
    configuration::PAGE,
    configuration::SUPERVISORS,
    names::NAMES,
    page::PAGE,
    api::STATION_API,
    api::CA_ANSWER,
];
