//! Verified devices, by the word of programs that this project did not write.

use std::{collections::BTreeSet, fs, path::Path};

use line::{Device, Line};
use proto::station::v1::{GetStationRequest, Issuance, fixture, issuance::State};

use crate::{
    asking::{bounded, is_settled, line_of, mes, open_lot, scan, start, start_issuance, station_until, told, until},
    looking::{Expected, TokenTools, TpmTools, family, files_of, files_under, still_running},
};

/// Profile, key, purpose and CN of what every device gets besides its device CA's certificate.
const MORE: [(&str, &str, &str, &str, Expected); 4] = [
    ("ca-p384", "P-384", "device-ca", "{serial}.p384.ca", Expected::Ca(0)),
    ("ca-rsa", "RSA-2048", "device-ca", "{serial}.rsa.ca", Expected::Ca(0)),
    ("identity", "P-256", "device-identity", "{serial}", Expected::Leaf("TLS Web Client Authentication")),
    ("server", "P-256", "server", "{serial}.local", Expected::Leaf("TLS Web Server Authentication")),
];

fn more_at_the_ca() -> String {
    MORE.map(|(name, key, purpose, ..)| {
        let issuer = if purpose == "device-ca" { "path_length = 0\nissuer = \"device-ca\"" } else { "issuer = \"device-identity\"" };
        format!("[[profile]]\nname = \"{name}\"\npurpose = \"{purpose}\"\n{issuer}\nvalidity = \"365d\"\nkeys = [\"{key}\"]\n")
    })
    .concat()
}

fn more_at_the_station() -> String {
    let mut text = String::new();
    for (number, (name, key, purpose, common_name, _)) in (0x11..).zip(MORE) {
        let (path_length, issuer) =
            if purpose == "device-ca" { ("path_length = 0", "device-ca") } else { ("", "device-identity") };
        text += &format!(
            r#"
[[profile]]
name = "{name}"
purpose = "{purpose}"
{path_length}
key = "{key}"
common_name = "{common_name}"
issuers = "pki/product/{issuer}.pem"
roots = "pki/product/root.pem"
tpm = {{ handle = 0x810000{number:02x}, nv_index = 0x018000{number:02x} }}
pkcs11 = {{ label = "{name}" }}
"#
        );
    }
    text
}

/// Each device gets a certificate under each profile, through the public API; openssl, tpm2-tools and pkcs11-tool agree
/// with every word the station says about it, while the station runs. Afterwards nothing of the line is left, and no PIN
/// was written anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn every_device_is_verified_by_other_programs() {
    let mut options = line_of(2, 2);
    (options.ca_extra, options.station_extra) = (more_at_the_ca(), more_at_the_station());
    options.page = true;
    let line = start(options).await;

    let mut names = BTreeSet::new();
    let mut keys = BTreeSet::new();
    for (profile, expected) in
        [("device-ca", Expected::Ca(0))].into_iter().chain(MORE.map(|(name, .., expected)| (name, expected)))
    {
        for issuance in issue_to_all(&line, profile).await {
            assert_eq!(issuance.state(), State::Completed, "{profile}: {}", told(&issuance));
            assert!(issuance.next_action.ends_with("ship it."), "{}", issuance.next_action);
            assert_eq!(issuance.authenticated_by, "mes-1");
            assert!(names.insert(issuance.common_name.to_lowercase()), "{} was given twice", issuance.common_name);
            let certified = files_of(line.directory(), &issuance, expected);
            compare_with_the_device(&line, &issuance, &certified);
            assert!(keys.insert(certified), "{profile}: {} has another device's key", issuance.device_serial);
        }
    }
    assert_eq!(names.len(), 4 * 5);

    no_pin_is_told(&line);
    nothing_is_left(line);
}

/// A lot of four, one device in each fixture at once.
async fn issue_to_all(line: &Line, profile: &str) -> Vec<Issuance> {
    let lot = format!("LOT-{profile}");
    open_lot(line, &lot, profile, 4).await;
    let mut started = Vec::new();
    for number in 1..=4 {
        let request = scan(&lot, &format!("SN-{number:04}"), &format!("fixture-{number}"));
        // The thread of a fixture may still be saying goodbye to the issuance before.
        let name = format!("fixtures/fixture-{number}");
        let free = |found: &fixture::State| *found == fixture::State::Idle;
        station_until(line, "a free fixture", |station| {
            station.fixtures.iter().any(|fixture| fixture.name == name && free(&fixture.state()))
        })
        .await;
        started.push(start_issuance(line, request).await.unwrap());
    }
    let mut ended = Vec::new();
    for issuance in &started {
        ended.push(until(line, issuance, "its end", is_settled).await);
    }
    let lot =
        bounded("the lot", mes(line).get_lot(proto::station::v1::GetLotRequest { name: format!("lots/{lot}") })).await;
    let lot = lot.unwrap().into_inner();
    assert_eq!((lot.started, lot.completed), (4, 4));
    let station = bounded("the station", mes(line).get_station(GetStationRequest {})).await.unwrap().into_inner();
    assert_eq!(station.queue.unwrap_or_default().length, 0);
    assert_eq!(station.halted, "");
    ended
}

/// The public key that the device shows is the certified one, and the certificate stands there byte for byte.
fn compare_with_the_device(line: &Line, issuance: &Issuance, certified: &[u8]) {
    let number: usize = issuance.fixture.trim_start_matches("fixture-").parse().unwrap();
    let (_, device) = line.hardware().devices().nth(number - 1).unwrap();
    let (key, certificate) = match device {
        Device::Tpm(tpm) => {
            let tools = TpmTools::of(tpm);
            (tools.public_key(&issuance.key), tools.nv(&issuance.certificate_location))
        }
        Device::Token(token) => {
            let tools = TokenTools::of(token);
            let point = tools.point(&issuance.key);
            assert!(certified.ends_with(&point), "{}: the token's point is the certified one", told(issuance));
            let key = tools.public_key(&issuance.key).unwrap_or_else(|| certified.to_vec());
            (key, tools.certificate(&issuance.certificate_location))
        }
    };
    assert_eq!(key, certified, "{}: the device's public key is the certified one", told(issuance));
    assert_eq!(certificate, issuance.certificate, "{}: the device holds the certificate", told(issuance));
}

/// No PIN stands in a log, a journal, or a file for a device.
fn no_pin_is_told(line: &Line) {
    let tokens = line.hardware().devices().filter_map(|(_, device)| match device {
        Device::Token(token) => Some(token),
        Device::Tpm(_) => None,
    });
    let pins: Vec<String> = tokens.chain([line.hardware().ca()]).map(|token| token.pin().to_owned()).collect();
    assert_eq!(pins.len(), 3);
    for place in ["logs", "journal", "devices", "control-plane", "pki"] {
        let files = files_under(&line.directory().join(place));
        assert!(!files.is_empty(), "nothing in {place}");
        for file in files {
            let content = fs::read(&file).unwrap();
            for pin in &pins {
                let found = content.windows(pin.len()).any(|window| window == pin.as_bytes());
                assert!(!found, "a PIN stands in {}", file.display());
            }
        }
    }
}

/// Stopped, a line leaves no process; dropped, no file.
fn nothing_is_left(mut line: Line) {
    let ids = [line.station().process_id(), line.ca().process_id()];
    let tpms = line.hardware().devices().filter_map(|(_, device)| match device {
        Device::Tpm(tpm) => tpm.process_id(),
        Device::Token(_) => None,
    });
    let family: Vec<_> = tpms.chain(ids.into_iter().flatten()).map(family).collect();
    let count: usize = family.iter().map(|members| members.len()).sum();
    // Two TPMs; the station with a worker for each of four fixtures; the CA with one.
    assert!(count >= 2 + 5 + 2, "{family:?}");
    let places: Vec<_> = [line.directory(), line.hardware().directory()].map(Path::to_owned).into();
    line.stop().unwrap();
    for members in &family {
        assert_eq!(still_running(members), [""; 0], "of {members:?}");
    }
    drop(line);
    for place in places {
        assert!(!place.exists(), "{} is left", place.display());
    }
}
