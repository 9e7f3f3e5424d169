//! A key's residency, proven by the TPM to the station, and again to the CA.

mod activation;

use std::fs;

use line::Options;
use proto::station::v1::issuance::State;

use crate::{
    asking::{complete, line_of, open_lot, scan, start, stop, told},
    looking::{Expected, files_of},
};

/// A profile of the CA that asks for a TPM's proof, under whose makers `roots` holds.
fn at_the_ca(name: &str, roots: &str) -> String {
    format!(
        "[[profile]]\nname = \"{name}\"\npurpose = \"device-ca\"\npath_length = 0\nissuer = \"device-ca\"\nvalidity = \"365d\"\n\
         keys = [\"P-256\"]\nresidency = \"tpm\"\nek = {{ roots = \"{roots}\" }}\n"
    )
}

/// The same at the station, with what it asks of the device.
fn at_the_station(name: &str, place: u8, residency: &str) -> String {
    format!(
        "[[profile]]\nname = \"{name}\"\npurpose = \"device-ca\"\npath_length = 0\nkey = \"P-256\"\n\
         common_name = \"{{serial}}.{name}\"\nissuers = \"pki/product/device-ca.pem\"\nroots = \"pki/product/root.pem\"\n\
         tpm = {{ handle = 0x810000{place:02x}, nv_index = 0x018000{place:02x} }}\n{residency}\n"
    )
}

/// Two TPMs prove themselves to station and CA and get their certificates. A station that does not ask for the proof, or
/// believes a maker that the CA does not, gets nothing; a station that trusts no such maker stops before it asks the CA.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_certified_only_where_it_is_proven_to_live() {
    let elsewhere = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut another = rcgen::CertificateParams::default();
    another.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    fs::write(elsewhere.path().join("root.pem"), another.self_signed(&key).unwrap().pem()).unwrap();
    let elsewhere = elsewhere.path().to_str().unwrap();
    const MAKERS: &str = "pki/tpm-makers";

    let options = Options {
        ca_extra: [at_the_ca("unasked", MAKERS), at_the_ca("stranger", elsewhere), at_the_ca("strict", MAKERS)]
            .concat(),
        station_extra: [
            at_the_station("unasked", 0x31, ""),
            at_the_station("stranger", 0x32, &format!("residency = \"tpm\"\nek = {{ roots = \"{MAKERS}\" }}")),
            at_the_station("strict", 0x33, &format!("residency = \"tpm\"\nek = {{ roots = \"{elsewhere}\" }}")),
        ]
        .concat(),
        ..line_of(2, 0)
    };
    let line = start(options).await;
    for profile in ["device-ca-tpm", "unasked", "stranger", "strict"] {
        open_lot(&line, profile, profile, 10).await;
    }
    for number in 1..=2 {
        let scan = |profile: &str| scan(profile, &format!("SN-{number}"), &format!("fixture-{number}"));
        let issuance = complete(&line, scan("device-ca-tpm")).await;
        files_of(line.directory(), &issuance, Expected::Ca(0));
        for (profile, words) in [("unasked", "no attestation"), ("stranger", "not trusted")] {
            let stopped = stop(&line, scan(profile), State::Quarantined, "REQUEST_REFUSED").await;
            let message = stopped.failure.clone().unwrap_or_default().message;
            assert!(message.contains("RESIDENCY_UNPROVEN") && message.contains(words), "{}", told(&stopped));
        }
        let stopped = stop(&line, scan("strict"), State::Quarantined, "RESIDENCY_UNPROVEN").await;
        assert_eq!(stopped.stopped_in(), State::KeyGenerated, "{}", told(&stopped));
    }
}
