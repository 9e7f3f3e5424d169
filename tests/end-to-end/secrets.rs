//! Secrets: nothing that a line prints or writes, and nothing that the system shows of its processes, holds a PIN or a
//! private key, however much it logs.

use std::{fs, path::Path, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use line::{Device, Line, Options};
use proto::station::v1::{ReleaseIssuanceRequest, Supervisor};

use crate::{
    asking::{bounded, complete, line_of, open_lot, scan, start},
    looking::{family, files_under, run},
};

/// What must stand nowhere.
pub(crate) struct Secret {
    /// For messages.
    pub(crate) what: String,
    /// In each form that it could take.
    forms: Vec<Vec<u8>>,
}

impl Secret {
    fn text(what: &str, text: &str) -> Self {
        let encoded = STANDARD.encode(text);
        Self {
            what: what.to_owned(),
            forms: vec![text.into(), encoded.trim_end_matches('=').into(), hex(text.as_bytes())],
        }
    }

    /// A private key's file. Of a P-256 key in PKCS#8 its scalar (RFC 5915: an OCTET STRING of 32 octets) and the lines that
    /// hold it, since the public key follows it there; of another kind of file every line that is long enough to say something.
    fn key(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| line.len() >= 24 && !line.starts_with("-----"));
        let mut forms: Vec<Vec<u8>> = lines.map(Into::into).collect();
        if let Ok(pem) = pem::parse(&text)
            && let Some(at) = pem.contents().windows(2).position(|window| window == [0x04, 0x20])
        {
            let scalar = pem.contents()[at + 2..][..32].to_vec();
            forms.truncate(2);
            forms.extend([hex(&scalar), scalar]);
        }
        assert!(!forms.is_empty(), "{} holds no key", path.display());
        Self { what: path.display().to_string(), forms }
    }

    pub(crate) fn stands_in(&self, content: &[u8]) -> bool {
        self.forms.iter().any(|form| memchr::memmem::find(content, form).is_some())
    }
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes()
}

/// A supervisor's PIN, typed at a station that knows no supervisors.
const TYPED: &str = "4711-geheim";

/// With everything logged that there is to log: issuances to a TPM and a token, refused PINs, the doctors of both programs,
/// an orderly end and a killed station. Then every file of the line but those that hold a secret is read, every command's
/// output, and arguments, environment and limits of every process.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_told() {
    let mut line = start(Options { page: true, ..line_of(1, 1) }).await;
    line.stop_station().unwrap();
    line.stop_ca().unwrap();
    line.ca().set_variable("STATION_LOG", Some("trace".into()));
    line.station().set_variable("STATION_LOG", Some("trace".into()));
    line.start_ca().await.unwrap();
    line.start_station().await.unwrap();
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    let first = complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    complete(&line, scan("LOT-1", "SN-2", "fixture-2")).await;
    let supervisor = Some(Supervisor { badge: "B-1".into(), pin: TYPED.into() });
    let release = ReleaseIssuanceRequest { name: first.name, supervisor, ..Default::default() };
    bounded("a refusal", line.client("page-1").unwrap().release_issuance(release)).await.unwrap_err();

    let secrets = secrets(&line);
    let mut told: Vec<(String, Vec<u8>)> = of_the_processes(&mut line);
    told.extend(commands(&line));
    line.kill_station().unwrap();
    line.start_station().await.unwrap();
    line.stop_station().unwrap();
    line.stop_ca().unwrap();
    let files = files_under(line.directory()).into_iter().filter(|file| !holds_a_secret(file));
    told.extend(files.map(|file| (file.display().to_string(), fs::read(&file).unwrap())));
    let logs: usize = told.iter().filter(|(what, _)| what.ends_with(".log")).map(|(_, content)| content.len()).sum();
    assert!(logs > 100_000, "{logs} bytes of logs are not all that there is to log");
    for (what, content) in &told {
        for secret in &secrets {
            assert!(!secret.stands_in(content), "{} stands in {what}", secret.what);
        }
    }
}

pub(crate) fn secrets(line: &Line) -> Vec<Secret> {
    let tokens = line.hardware().devices().filter_map(|(_, device)| match device {
        Device::Token(token) => Some(token),
        Device::Tpm(_) => None,
    });
    let pins = tokens.chain([line.hardware().ca()]).map(|token| Secret::text(token.label(), token.pin()));
    let keys: Vec<Secret> = files_under(line.directory())
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "key"))
        .map(|file| Secret::key(file))
        .collect();
    // Of the control plane's ends, of both journals and of the witness.
    assert!(keys.len() >= 9 + 3, "{:?}", keys.iter().map(|key| &key.what).collect::<Vec<_>>());
    pins.chain(keys).chain([Secret::text("a supervisor's PIN", TYPED)]).collect()
}

fn holds_a_secret(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "key" || extension == "pin")
}

/// What the system shows of each process: its arguments and its environment; and that none leaves a core dump.
fn of_the_processes(line: &mut Line) -> Vec<(String, Vec<u8>)> {
    let roots: Vec<u32> = [line.station().process_id(), line.ca().process_id()].into_iter().flatten().collect();
    let mut told = Vec::new();
    for process in roots.into_iter().flat_map(|root| family(root).into_keys()) {
        let read = |what: &str| fs::read(format!("/proc/{process}/{what}")).unwrap();
        for what in ["cmdline", "environ"] {
            told.push((format!("{what} of {}", String::from_utf8_lossy(&read("comm"))), read(what)));
        }
        let limits = String::from_utf8(read("limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert!(core.split_whitespace().filter(|word| *word == "0").count() == 2, "{core}");
    }
    // The station with a worker for each fixture, the CA with its own.
    assert!(told.len() >= 2 * 5, "{}", told.len());
    told
}

/// What the commands print that read the configuration, and with it the PINs: when all is well, and when a PIN is wrong.
fn commands(line: &Line) -> Vec<(String, Vec<u8>)> {
    let wrong = line.directory().join("wrong.toml");
    let ca = fs::read_to_string(line.directory().join("ca.toml")).unwrap();
    fs::write(&wrong, ca.replace("label = \"ca\"", "label = \"no such token\"")).unwrap();
    let binaries = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
    let file = |name: &str| line.directory().join(name).to_string_lossy().into_owned();
    let all: [(&str, &[&str], String, i32); 4] = [
        ("station-agent", &["check"], file("station.toml"), 0),
        ("station-agent", &["status", "--json"], file("station.toml"), 0),
        ("intermediate-ca", &["check", "--json"], file("ca.toml"), 0),
        ("intermediate-ca", &["check"], file("wrong.toml"), 1),
    ];
    let told = all.map(|(program, arguments, config, code)| {
        let mut command = Command::new(binaries.join(program));
        command.args(arguments).args(["--config", &config]).env("STATION_LOG", "trace").current_dir(line.directory());
        let ran = run(command);
        let what = format!("{program} {arguments:?} --config {config}");
        assert_eq!(ran.status.code(), Some(code), "{what}: {}{}", ran.text(), ran.err);
        (what, [ran.text().as_bytes(), ran.err.as_bytes()].concat())
    });
    told.into()
}
