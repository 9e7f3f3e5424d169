//! A root's rollover with the binary, its keys in a real SoftHSM.

use std::{fs, process::Command};

use proto::ca::v1::{Authority, GetAuthorityRequest, Issued};

use super::{Client, Place, issue, issued, place::Server, request};

/// What stations are told, and a device's certificate.
async fn ask(place: &Place, server: &Server, number: u8) -> (Authority, Issued) {
    let mut client = Client::new(place.channel(server, "station-1"));
    let authority = client.get_authority(GetAuthorityRequest {}).await.unwrap().into_inner();
    let answers = issue(&mut client, &[request(number, "device-ca")]).await;
    (authority, issued(&answers[0]).clone())
}

/// Whether OpenSSL, which trusts the certificates of that file, accepts a device by its certificate and the chain it sends.
fn accepts(place: &Place, roots: &str, device: &Issued) -> bool {
    let write = |name: &str, ders: &[Vec<u8>]| {
        let pem = |der: &Vec<u8>| pem::encode(&pem::Pem::new("CERTIFICATE", der.as_slice()));
        fs::write(place.path(name), ders.iter().map(pem).collect::<String>()).unwrap();
        place.path(name)
    };
    let (leaf, chain) =
        (write("leaf.pem", std::slice::from_ref(&device.certificate)), write("sent.pem", &device.chain));
    let mut openssl = Command::new("openssl");
    openssl.args(["verify", "-x509_strict", "-no-CApath", "-no-CAstore", "-CAfile"]).arg(place.path("pki").join(roots));
    openssl.arg("-untrusted").arg(chain).arg(leaf).output().unwrap().status.success()
}

/// Beside a running CA no step is done. Each step, killed by SIGKILL when its first key and its first file appear, completes
/// when it is run again: with one key for each CA (two in one place are an error of every look-up), and the files that stood are as they were. Each `serve` follows: a device
/// before, between and after is accepted by whoever trusts its root, and the old one's certificate stays as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollover_completes_whenever_it_was_killed() {
    let place = Place::new();
    place.run(&["init"], 0);
    let server = place.serve();
    let (first, before) = ask(&place, &server, 1).await;
    place.run(&["rollover", "new-root"], 1);
    let output = place.output();
    assert!(output.contains("done while the CA does not run"), "{output}");
    assert_eq!(server.terminate(), Some(0));
    place.run(&["rollover", "new-issuers"], 1);
    assert!(place.output().contains("begin with `rollover new-root`"), "{}", place.output());

    let mut answers = Vec::new();
    for (number, step, cas) in [(2, "new-root", 4), (3, "new-issuers", 6)] {
        let (objects, files) = (place.objects(), place.pki());
        assert!(place.kill_when(&["rollover", step], || place.objects() > objects), "{step}: {}", place.output());
        place.kill_when(&["rollover", step], || place.pki().len() > files.len());
        let between = place.pki();
        place.run(&["rollover", step], 0);
        let after = place.pki();
        assert!(files.iter().chain(&between).all(|(name, text)| after[name] == *text), "{step}");
        assert_eq!(after.len(), cas, "{step}: {}", place.output());
        assert!(place.run(&["rollover", step], 0).starts_with("done before: nothing to do\n"));
        let server = place.serve();
        answers.push(ask(&place, &server, number).await);
        assert_eq!(server.terminate(), Some(0));
    }
    let [(second, between), (third, after)] = answers.as_slice() else { panic!() };
    for (device, old, new) in [(&before, true, false), (between, true, false), (after, false, true)] {
        let found = ["root.pem", "bundle.pem", "root.2.pem"].map(|roots| accepts(&place, roots, device));
        assert_eq!(found, [old, true, new]);
    }
    assert_eq!(second.bundle.iter().rev().collect::<Vec<_>>(), third.bundle.iter().collect::<Vec<_>>());
    assert_eq!((&second.bundle[0], second.bundle.len(), &second.profiles), (&first.bundle[0], 2, &first.profiles));
    assert!(second.profiles.iter().zip(&third.profiles).all(|(old, new)| old.chain != new.chain));
    assert_eq!(place.run(&["profile", "check"], 0), "3 profiles: the chain carries them\n");
    assert_eq!(place.run(&["init"], 0), "complete: nothing to do\n");

    place.run(&["rollover", "old-root-out"], 1);
    assert!(place.output().contains("2 certificates under the old root are valid still"), "{}", place.output());
    place.run(&["rollover", "old-root-out", "--abandon", "--badge", "B-7"], 0);
    let server = place.serve();
    let (last, latest) = ask(&place, &server, 4).await;
    assert_eq!(last.bundle, third.bundle[..1]);
    let found = [&before, between, after, &latest].map(|device| accepts(&place, "bundle.pem", device));
    assert_eq!(found, [false, false, true, true]);
}
