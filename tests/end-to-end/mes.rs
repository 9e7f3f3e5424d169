//! The MES: batches, deadlines, lots that a brand owner signed for, and the client in Python that an engineer copies.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use issuance::public_key::{hex, sha256};
use line::{Device, Line, Options};
use proto::{
    ca::v1::{GetLotRequest as CaGetLot, lot_service_client::LotServiceClient},
    station::v1::{
        AuthoriseLotRequest, BatchStartIssuancesRequest, GetLotRequest, ReportLotRequest, StartIssuanceRequest,
        issuance::State, start_issuance_result::Outcome,
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::{Code, Status};

use crate::{
    asking::{bounded, complete, line_of, mes, open_lot, refusal, scan, settled, start, told},
    commands::{agent, json as json_of},
    looking::run,
};

/// Long for a hundred devices on a machine that does much else.
const RUN_MOST: Duration = Duration::from_secs(300);
/// How many devices the client in Python starts.
const DEVICES: usize = 100;

/// A line of so many tokens, and a CA that certifies nothing but what `brand.key` signed for.
async fn signed_line(tokens: usize) -> (Line, TempDir) {
    let place = tempfile::tempdir().unwrap();
    openssl(place.path(), &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "brand.key"]);
    openssl(place.path(), &["pkey", "-in", "brand.key", "-pubout", "-out", "brand.pub"]);
    let lots = "[lots]\nrequired = true\nunsigned = false\n[[lots.brand_owner]]\nkey = \"brand.pub\"\n";
    let directory = Some(place.path().to_owned());
    let line = start(Options { directory, ca_extra: lots.into(), ..line_of(0, tokens) }).await;
    (line, place)
}

fn openssl(directory: &Path, arguments: &[&str]) -> Vec<u8> {
    let out = Command::new("openssl").args(arguments).current_dir(directory).output().unwrap();
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

/// What a report says, once OpenSSL has verified it with the product's root.
fn said_by(report: &str, directory: &Path) -> Value {
    fs::write(directory.join("report.jws"), report).unwrap();
    let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/verify-lot-report.sh"));
    script.args(["report.jws", "pki/product/root.pem"]).current_dir(directory);
    let ran = run(script);
    assert_eq!(ran.status.code(), Some(0), "{}", ran.err);
    serde_json::from_slice(&ran.out).unwrap()
}

/// What the brand owner signs: so many devices whose serials begin with `SN-`.
fn order(directory: &Path, id: &str, lot: &str, quantity: u32) -> String {
    openssl(directory, &["x509", "-in", "pki/product/device-ca.pem", "-pubkey", "-noout", "-out", "issuer.pub"]);
    openssl(directory, &["pkey", "-pubin", "-in", "issuer.pub", "-outform", "DER", "-out", "issuer.spki"]);
    let audience = URL_SAFE_NO_PAD.encode(openssl(directory, &["dgst", "-sha256", "-binary", "issuer.spki"]));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "aud": audience, "jti": id, "lot": lot, "profile": "device-ca", "quantity": quantity, "pattern": "SN-*",
        "nbf": now - 60, "exp": now + 3_600,
    });
    let input = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(json!({"alg": "ES256"}).to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    fs::write(directory.join("input"), &input).unwrap();
    let der = openssl(directory, &["dgst", "-sha256", "-sign", "brand.key", "input"]);
    // SEQUENCE { INTEGER r, INTEGER s } becomes r and s of 32 octets (RFC 7518 section 3.4).
    let (mut raw, mut rest) = (Vec::new(), &der[2..]);
    for _ in 0..2 {
        let (integer, after) = rest[2..].split_at(rest[1].into());
        let integer = integer.strip_prefix(&[0]).unwrap_or(integer);
        raw.extend(vec![0; 32 - integer.len()]);
        raw.extend(integer);
        rest = after;
    }
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(raw))
}

/// What the brand owner signed goes through the station to the CA: then both have the lot, and its devices are certified. A
/// changed signature is refused in the CA's words and opens nothing; the next one widens the lot; while the CA is away the
/// call says when to come again.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_lot_is_opened_at_the_station() {
    let (mut line, place) = signed_line(2).await;
    let signed = order(place.path(), "order-1", "WO-1", 1);
    let authorise = async |jws: &str| {
        let request = AuthoriseLotRequest { authorisation: jws.to_owned() };
        bounded("a signed lot", mes(&line).authorise_lot(request)).await.map(tonic::Response::into_inner)
    };
    let (input, _) = signed.rsplit_once('.').unwrap();
    let (_, signature) =
        order(place.path(), "order-2", "WO-2", 1).rsplit_once('.').map(|(i, s)| (i.to_owned(), s.to_owned())).unwrap();
    let forged = authorise(&format!("{input}.{signature}")).await.unwrap_err();
    assert_eq!(
        refusal(&forged),
        (Code::PermissionDenied, "AUTHORISATION_SIGNATURE".into(), String::new()),
        "{forged:?}"
    );
    let empty = authorise(" ").await.unwrap_err();
    assert_eq!(refusal(&empty), (Code::InvalidArgument, "INVALID_ARGUMENT".into(), "authorisation".into()));
    let unknown = mes(&line).get_lot(GetLotRequest { name: "lots/WO-1".into() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound, "a refused signature opened a lot");

    for _ in 0..2 {
        let lot = authorise(&signed).await.unwrap();
        assert_eq!(
            (lot.name.as_str(), lot.profile.as_str(), lot.quantity, lot.authorisation_id.as_str()),
            ("lots/WO-1", "device-ca", 1, "order-1")
        );
    }
    complete(&line, scan("WO-1", "SN-1", "fixture-1")).await;
    let full = bounded("a scan", mes(&line).start_issuance(scan("WO-1", "SN-2", "fixture-2"))).await.unwrap_err();
    assert_eq!(refusal(&full).1, "LOT_USED_UP");
    let wider = authorise(&order(place.path(), "order-2", "WO-1", 2)).await.unwrap();
    assert_eq!((wider.quantity, wider.started, wider.authorisation_id.as_str()), (2, 1, "order-2"));
    complete(&line, scan("WO-1", "SN-2", "fixture-2")).await;
    let at_the_ca = LotServiceClient::new(line.authority().unwrap()).get_lot(CaGetLot { lot: "WO-1".into() }).await;
    let at_the_ca = at_the_ca.unwrap().into_inner();
    assert_eq!((at_the_ca.quantity, at_the_ca.used), (2, 2));

    line.stop_ca().unwrap();
    let request = AuthoriseLotRequest { authorisation: signed.clone() };
    let away = bounded("a refusal", mes(&line).authorise_lot(request)).await.unwrap_err();
    assert_eq!(refusal(&away).1, "AUTHORITY_AWAY", "{away:?}");
    assert!(service::status::retry_after(&away).is_some(), "{away:?}");
    line.stop().unwrap();
}

async fn report(line: &Line, caller: &str, name: &str) -> Result<String, Status> {
    let request = ReportLotRequest { name: name.into() };
    let mut parts = bounded("a report", line.client(caller).unwrap().report_lot(request)).await?.into_inner();
    let mut report = String::new();
    while let Some(part) = bounded("a part", parts.message()).await? {
        report += &part.part;
    }
    Ok(report)
}

/// The CA's signed report comes through the station, and OpenSSL verifies it, in a call and on the command line; of a lot that
/// the CA does not know there is none; who may not have one is refused; and while the CA is away the call says when to come
/// again.
#[tokio::test(flavor = "multi_thread")]
async fn the_signed_report_comes_through_the_station() {
    let place = tempfile::tempdir().unwrap();
    let directory = Some(place.path().to_owned());
    openssl(place.path(), &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "brand.key"]);
    openssl(place.path(), &["pkey", "-in", "brand.key", "-pubout", "-out", "brand.pub"]);
    let ca_extra = "[[lots.brand_owner]]\nkey = \"brand.pub\"\n".into();
    let mut line = start(Options { directory, ca_extra, ..line_of(0, 1) }).await;
    fs::write(place.path().join("order.jws"), order(place.path(), "order-1", "WO-1", 3)).unwrap();
    let order = place.path().join("order.jws").to_string_lossy().into_owned();
    let opened = json_of(&agent(&line, &["lot", "authorise", &order, "--json"]));
    assert_eq!((&opened["name"], &opened["authorisation_id"]), (&"lots/WO-1".into(), &"order-1".into()));
    let issued = complete(&line, scan("WO-1", "SN-1", "fixture-1")).await;

    let out = place.path().join("by-command.jws").to_string_lossy().into_owned();
    let ran = agent(&line, &["lot", "report", "WO-1", "--out", &out]);
    assert_eq!(ran.status.code(), Some(0), "{}", ran.err);
    for report in [report(&line, "auditor-1", "lots/WO-1").await.unwrap(), fs::read_to_string(out).unwrap()] {
        let said = said_by(&report, place.path());
        assert_eq!(
            (&said["ordered"], &said["issued"], &said["authorisation"]["jti"]),
            (&3.into(), &1.into(), &"order-1".into())
        );
        let certificate = &said["certificates"][0];
        assert_eq!(
            (&certificate["device_serial"], &certificate["sha256"]),
            (&"SN-1".into(), &hex(&sha256(&issued.certificate)).into())
        );
    }

    open_lot(&line, "LOT-1", "device-ca", 5).await;
    let unknown = report(&line, "mes-1", "lots/LOT-1").await.unwrap_err();
    assert_eq!(refusal(&unknown), (Code::NotFound, "LOT_UNKNOWN".into(), String::new()), "{unknown:?}");
    let wrong = report(&line, "mes-1", "WO-1").await.unwrap_err();
    assert_eq!(refusal(&wrong), (Code::InvalidArgument, "INVALID_ARGUMENT".into(), "name".into()));
    let listed = agent(&line, &["lot", "list"]);
    assert_eq!(
        listed.text().lines().map(|lot| lot.split(' ').next().unwrap_or_default()).collect::<Vec<_>>(),
        ["LOT-1", "WO-1"]
    );
    let closed = json_of(&agent(&line, &["lot", "close", "WO-1", "--json"]));
    assert_eq!(
        (&closed["state"], &json_of(&agent(&line, &["lot", "show", "WO-1", "--json"]))),
        (&"CLOSED".into(), &closed)
    );

    line.stop_ca().unwrap();
    let away = report(&line, "mes-1", "lots/WO-1").await.unwrap_err();
    assert_eq!(refusal(&away), (Code::Unavailable, "AUTHORITY_AWAY".into(), String::new()), "{away:?}");
    assert!(service::status::retry_after(&away).is_some() && away.message().contains("there is no report"), "{away:?}");
    line.stop().unwrap();
}

/// A batch starts what it can and says of each of the others what a call by itself would say; the same batch again starts
/// nothing; and one that is empty or too large is refused whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_answered_item_by_item() {
    let line = start(line_of(0, 3)).await;
    open_lot(&line, "LOT-1", "device-ca", 10).await;
    let requests: Vec<StartIssuanceRequest> = vec![
        StartIssuanceRequest { request_id: "batch-1".into(), ..scan("LOT-1", "SN-1", "fixture-1") },
        scan("LOT-1", "not a serial", "fixture-2"),
        StartIssuanceRequest { badge: "b\n".into(), ..scan("no lot", "SN-9", "fixture-2") },
        scan("NOWHERE", "SN-2", "fixture-2"),
        scan("LOT-1", "SN-2", "fixture-2"),
        scan("LOT-1", "SN-3", "fixture-2"),
    ];
    let batch = async |requests: Vec<StartIssuanceRequest>| {
        let request = BatchStartIssuancesRequest { requests };
        bounded("a batch", mes(&line).batch_start_issuances(request)).await.map(|answer| answer.into_inner().results)
    };
    let mut names = Vec::new();
    for again in [false, true] {
        // The last one meets a fixture that is at work: only at first.
        let requests = requests[..requests.len() - usize::from(again)].to_vec();
        let (answers, sent) = (batch(requests.clone()).await.unwrap(), requests.len());
        assert_eq!(answers.len(), sent);
        let mut started = Vec::new();
        let mut refused = Vec::new();
        for answer in answers {
            match answer.outcome.unwrap() {
                Outcome::Issuance(issuance) => started.push(issuance),
                Outcome::Refusal(refusal) => refused.push((Code::from(refusal.code), refusal.reason, refusal.field)),
            }
        }
        let invalid = |field: &str| (Code::InvalidArgument, "INVALID_ARGUMENT".to_owned(), field.to_owned());
        assert_eq!(refused[0], invalid("device_serial"));
        assert_eq!(refused[1], invalid("lot"));
        assert_eq!(refused[2], (Code::NotFound, "NOT_FOUND".into(), String::new()));
        assert_eq!(
            started.iter().map(|issuance| issuance.device_serial.as_str()).collect::<Vec<_>>(),
            ["SN-1", "SN-2"]
        );
        assert_eq!(refused.get(3).map(|refused| refused.1.as_str()), (!again).then_some("FIXTURE_BUSY"));
        names.push(started.iter().map(|issuance| issuance.name.clone()).collect::<Vec<_>>());
        for issuance in &started {
            let issuance = settled(&line, issuance).await;
            assert_eq!(issuance.state(), State::Completed, "{}", told(&issuance));
        }
    }
    assert_eq!(names[0], names[1], "the same batch is the same issuances");
    for wrong in [0, 257] {
        let refused = batch(vec![scan("LOT-1", "SN-1", "fixture-1"); wrong]).await.unwrap_err();
        assert_eq!(refusal(&refused), (Code::InvalidArgument, "INVALID_ARGUMENT".into(), "requests".into()));
    }
}

/// The client in Python, as an engineer starts it.
struct Python {
    child: Child,
    /// `None` once the line has said all.
    into: Option<ChildStdin>,
    /// What it says on standard output.
    said: Receiver<String>,
}

impl Python {
    fn start(line: &Line, place: &Path, authorisation: &Path, report: &Path) -> Self {
        let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
        let python = target.join("mes/venv/bin/python");
        assert!(python.is_file(), "there is no {}: `deploy/dependencies.sh test` makes it", python.display());
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let (example, stubs) = (root.join("deploy/examples/mes"), place.join("stubs"));
        fs::create_dir_all(&stubs).unwrap();
        let mut protoc = Command::new(&python);
        protoc.args(["-m", "grpc_tools.protoc", "-I"]).arg(root.join("proto"));
        protoc.arg(format!("--python_out={}", stubs.display())).arg(format!("--grpc_python_out={}", stubs.display()));
        protoc.args(["station/v1/station.proto", "evidence/v1/evidence.proto"]);
        let made = run(protoc);
        assert!(stubs.join("station/v1/station_pb2_grpc.py").is_file(), "{}\n{}", made.text(), made.err);

        let file = |name: &str| place.join("control-plane").join(name);
        let mut command = Command::new(&python);
        command.arg("-B").arg(example.join("lot.py")).env("PYTHONPATH", &stubs);
        command.arg("--station").arg(line.station_url().trim_start_matches("https://"));
        command.arg("--certificate").arg(file("mes-1.pem")).arg("--key").arg(file("mes-1.key"));
        command.arg("--trust").arg(file("root.pem")).arg("--authorisation").arg(authorisation);
        command.arg("--signed-report").arg(report.with_extension("jws"));
        command.arg("--report").arg(report).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (into, out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, said) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, into: Some(into), said }
    }

    fn placed(&mut self, fixture: usize, serial: usize) {
        writeln!(self.into.as_mut().unwrap(), "fixture-{fixture} SN-{serial:03}").unwrap();
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A hundred devices at four fixtures, each exchanged for the next one when the client says that it may be shipped, while
/// the station is killed twice and stopped once: each device gets one certificate, and the report has them all.
#[tokio::test(flavor = "multi_thread")]
async fn the_client_in_python_works_off_a_lot() {
    let fixtures = 4;
    let (mut line, place) = signed_line(fixtures).await;
    let (authorisation, report) = (place.path().join("order.jws"), place.path().join("report.csv"));
    fs::write(&authorisation, order(place.path(), "order-1", "WO-1", u32::try_from(DEVICES).unwrap())).unwrap();
    let mut client = Python::start(&line, place.path(), &authorisation, &report);
    for fixture in 1..=fixtures {
        client.placed(fixture, fixture);
    }
    let (mut next, mut shipped) = (fixtures + 1, BTreeSet::new());
    let deadline = Instant::now() + RUN_MOST;
    while shipped.len() < DEVICES {
        let left = deadline.saturating_duration_since(Instant::now());
        let said = client.said.recv_timeout(left);
        let said = said.unwrap_or_else(|error| panic!("{error} after {} devices", shipped.len()));
        let words: Vec<&str> = said.split_whitespace().collect();
        let [fixture, serial, "ship"] = words[..] else { panic!("{said}") };
        assert!(shipped.insert(serial.to_owned()), "{serial} is shipped twice");
        let fixture: usize = fixture.trim_start_matches("fixture-").parse().unwrap();
        if next <= DEVICES {
            let Some(Device::Token(token)) = line.hardware_mut().device(fixture) else { panic!("{said}") };
            token.exchange().unwrap();
            client.placed(fixture, next);
            next += 1;
        }
        match shipped.len() {
            20 | 60 => line.kill_station().unwrap(),
            40 => line.stop_station().unwrap(),
            _ => continue,
        }
        line.start_station().await.unwrap();
    }
    client.into = None;
    let status = client.child.wait().unwrap();
    assert!(status.success(), "{status}");

    let signed = said_by(&fs::read_to_string(report.with_extension("jws")).unwrap(), place.path());
    assert_eq!((&signed["issued"], &signed["used"], &signed["lot"]), (&100.into(), &100.into(), &"WO-1".into()));

    let report = fs::read_to_string(report).unwrap();
    let rows: Vec<Vec<&str>> = report.lines().skip(1).map(|row| row.split(',').collect()).collect();
    let column = |number: usize| rows.iter().map(|row| row[number]).collect::<BTreeSet<_>>();
    assert_eq!(rows.len(), DEVICES, "{report}");
    assert_eq!(column(0), shipped.iter().map(String::as_str).collect());
    assert_eq!(column(1), BTreeSet::from(["COMPLETED"]), "{report}");
    assert_eq!((column(3).len(), column(4).len(), column(5).len()), (DEVICES, DEVICES, DEVICES), "{report}");
    let lot = mes(&line).get_lot(GetLotRequest { name: "lots/WO-1".into() }).await.unwrap().into_inner();
    assert_eq!((lot.started, lot.completed), (100, 100));
    let mut at_the_ca = LotServiceClient::new(line.authority().unwrap());
    let at_the_ca = at_the_ca.get_lot(CaGetLot { lot: "WO-1".into() }).await.unwrap().into_inner();
    assert_eq!((at_the_ca.quantity, at_the_ca.used), (100, 100), "one certificate for each device");
    line.stop().unwrap();
}
