//! Certificates that are not what was asked for never reach a device.

use std::fs;

use line::{Device, Line, Options};
use proto::station::v1::issuance::State;

use crate::{
    asking::{IMPATIENT_QUEUE, complete, line_of, open_lot, scan, start, start_issuance, stop, told},
    looking::{Expected, TokenTools, TpmTools, files_of},
    rogue::Rogue,
};

/// What the CA does wrong, and a piece of the station's words about it.
const WRONG: [(&str, &str); 9] = [
    ("WRONG-KEY", "another key"),
    ("NO-CA", "CA:FALSE"),
    ("WRONG-PATHLEN", "pathlen:1"),
    ("NO-PATHLEN", "no pathlen"),
    ("EXPIRED", "is valid from"),
    ("NOT-CHAINING", "no path leads"),
    ("WRONG-NAME", "SOMEBODY-ELSE.ca"),
    ("WITH-EKU", "ExtendedKeyUsage"),
    ("NO-CERTIFICATE", "not one DER-encoded certificate"),
];
/// The first devices are TPMs.
const TPMS: usize = 2;

/// Each wrong certificate sets its device aside with the reason, and nothing is written to the device or for it; asking
/// again changes nothing. Right certificates from the same CA go through, also when an answer came under another's name
/// first.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_certificate_is_never_written() {
    const RIGHT: [&str; 2] = ["RIGHT", "MISADDRESSED"];
    let mut options = Options { ca: false, ..line_of(TPMS, WRONG.len() + RIGHT.len() - TPMS) };
    options.station_extra = IMPATIENT_QUEUE.into();
    let mut line = start(options).await;
    let rogue = put_in_place_of_the_ca(&mut line).await;
    open_lot(&line, "LOT-1", "device-ca", 20).await;
    for (number, (serial, words)) in (1..).zip(WRONG) {
        let request = scan("LOT-1", serial, &format!("fixture-{number}"));
        let stopped = stop(&line, request.clone(), State::Quarantined, "CERTIFICATE_REJECTED").await;
        assert!(stopped.failure.clone().unwrap_or_default().message.contains(words), "{}", told(&stopped));
        assert_eq!(stopped.stopped_in(), State::Issued);
        assert_eq!(stopped.certificate_location, "");
        let again = start_issuance(&line, request).await.unwrap();
        assert_eq!(again, stopped, "scanned again");
        nothing_is_written(&line, number, serial);
    }
    for (number, serial) in (WRONG.len() + 1..).zip(RIGHT) {
        let issuance = complete(&line, scan("LOT-1", serial, &format!("fixture-{number}"))).await;
        files_of(line.directory(), &issuance, Expected::Ca(0));
    }
    drop(rogue);
}

/// The station trusts the rogue's PKI from its next start on, and asks it.
pub(crate) async fn put_in_place_of_the_ca(line: &mut Line) -> Rogue {
    line.stop_station().unwrap();
    let rogue = Rogue::start(line, &line.directory().join("pki/product")).await;
    let file = line.directory().join("station.toml");
    let configured = fs::read_to_string(&file).unwrap();
    let authority = configured.split_once("[authority]").unwrap().1;
    let endpoint = authority.lines().find(|line| line.starts_with("endpoint")).unwrap().to_owned();
    let replaced = configured.replace(&endpoint, &format!("endpoint = \"https://{}\"", rogue.address));
    fs::write(&file, replaced).unwrap();
    line.start_station().await.unwrap();
    rogue
}

fn nothing_is_written(line: &Line, number: usize, serial: &str) {
    assert!(!line.directory().join("devices").join(serial).exists(), "files for {serial}");
    let (_, device) = line.hardware().devices().nth(number - 1).unwrap();
    match device {
        Device::Tpm(tpm) => {
            let indexes = TpmTools::of(tpm).handles("handles-nv-index");
            assert!(!indexes.iter().any(|index| index == "0x1800010"), "{serial}: {indexes:?}");
            assert!(!indexes.is_empty(), "the EK certificates at least");
        }
        Device::Token(token) => assert_eq!(TokenTools::of(token).count("cert"), 0, "{serial}"),
    }
}
