//! The station killed at random moments: what it had acknowledged completes by itself, with one key for each device.

use std::collections::BTreeMap;

use line::{Device, Line};
use proto::station::v1::{Event, Issuance, StartIssuanceRequest, event::Change, issuance::State};
use tokio::task::JoinSet;

use crate::{
    asking::{
        IMPATIENT_QUEUE, bounded, is_settled, journal_length, line_of, mes, open_lot, scan, start, told, until, watch,
    },
    chance::Chance,
    killing::TokenFiles,
    looking::{Expected, TokenTools, TpmTools, files_of},
};

const DEVICES: usize = 4;
/// Profile, TPM handle.
const PROFILES: [(&str, &str); 3] = [("device-ca", "0x81000010"), ("second", "0x81000011"), ("third", "0x81000012")];

fn more(issuer: bool) -> String {
    PROFILES[1..]
        .iter()
        .map(|(name, handle)| {
            let nv = handle.replace("0x81", "0x018").replacen("00", "0", 1);
            let station = format!(
                "common_name = \"{{serial}}.{name}\"\nkey = \"P-256\"\nissuers = \"pki/product/device-ca.pem\"\n\
                 roots = \"pki/product/root.pem\"\ntpm = {{ handle = {handle}, nv_index = {nv} }}\n\
                 pkcs11 = {{ label = \"{name}\" }}\n"
            );
            let ca = "issuer = \"device-ca\"\nvalidity = \"365d\"\nkeys = [\"P-256\"]\n".to_owned();
            let rest = if issuer { ca } else { station };
            format!("\n[[profile]]\nname = \"{name}\"\npurpose = \"device-ca\"\npath_length = 0\n{rest}")
        })
        .collect()
}

/// Four devices at work, and the station is killed after a random number of steps, four times for each of three profiles.
/// After every restart it goes on by itself with what it had acknowledged; a call that was not answered is repeated. In
/// the end every issuance is verified under the CN that it had from the first, and each device holds one key for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_station_goes_on_with_one_key_for_each_device() {
    let mut options = line_of(2, 2);
    (options.ca_extra, options.station_extra) = (more(true), more(false) + IMPATIENT_QUEUE);
    let mut line = start(options).await;
    let mut chance = Chance::new();
    let tokens = TokenFiles::of(&line);
    for (made, (profile, _)) in PROFILES.iter().enumerate() {
        open_lot(&line, profile, profile, 4).await;
        let done = issue_through_crashes(&mut line, profile, &mut chance, &tokens).await;
        for issuance in &done {
            files_of(line.directory(), issuance, Expected::Ca(0));
        }
        one_key_each(&line, &done, made + 1);
    }
}

async fn issue_through_crashes(
    line: &mut Line,
    profile: &str,
    chance: &mut Chance,
    tokens: &TokenFiles,
) -> Vec<Issuance> {
    const KILLS: usize = 4;
    let requests: Vec<StartIssuanceRequest> = (1..=DEVICES)
        .map(|number| {
            let request = scan(profile, &format!("SN-{number}"), &format!("fixture-{number}"));
            StartIssuanceRequest { request_id: format!("{profile}-{number}"), ..request }
        })
        .collect();
    // What was acknowledged, by request.
    let mut known: BTreeMap<usize, Issuance> = BTreeMap::new();
    let mut seen = journal_length(line).await;
    for _ in 0..KILLS {
        let mut client = mes(line);
        let mut events = watch(&mut client, Some(seen)).await;
        let mut calls = JoinSet::new();
        for (at, request) in requests.iter().enumerate().filter(|(at, _)| !known.contains_key(at)) {
            let (mut client, request) = (mes(line), request.clone());
            calls.spawn(async move { (at, client.start_issuance(request).await) });
        }
        let mut left = 1 + chance.below(DEVICES * 11 / 2);
        let settled = |known: &BTreeMap<usize, Issuance>| known.len() == DEVICES && known.values().all(is_settled);
        bounded("a random moment", async {
            while left > 0 && !settled(&known) {
                tokio::select! {
                    event = events.message() => {
                        let event: Event = event.unwrap().expect("the stream goes on");
                        seen = event.sequence;
                        if let Some(Change::Issuance(issuance)) = event.change {
                            left -= 1;
                            note(&mut known, issuance);
                        }
                    }
                    Some(answer) = calls.join_next() => {
                        let (at, answer) = answer.unwrap();
                        let issuance = answer.unwrap_or_else(|status| panic!("{}: {status:?}", requests[at].device_serial)).into_inner();
                        if known.get(&at).is_none_or(|before| before.sequence < issuance.sequence) {
                            known.insert(at, issuance);
                        }
                    }
                }
            }
        })
        .await;
        tokens.kill_station(line);
        // What was on its way may have been acknowledged.
        while let Some(answer) = calls.join_next().await {
            if let (at, Ok(issuance)) = answer.unwrap() {
                known.entry(at).or_insert(issuance.into_inner());
            }
        }
        line.start_station().await.unwrap();
    }
    let mut done = Vec::new();
    for (at, request) in requests.iter().enumerate() {
        let before = match known.remove(&at) {
            Some(before) => before,
            None => crate::asking::start_issuance(line, request.clone()).await.unwrap(),
        };
        let ended = until(line, &before, "its end after the crashes", is_settled).await;
        assert_eq!(ended.state(), State::Completed, "{profile}: {}", told(&ended));
        assert_eq!((&ended.name, &ended.common_name), (&before.name, &before.common_name));
        assert!(before.key.is_empty() || before.key == ended.key, "{profile}: {}", told(&ended));
        assert!(
            before.certificate.is_empty() || before.certificate == ended.certificate,
            "{profile}: {}",
            told(&ended)
        );
        done.push(ended);
    }
    done
}

/// Events tell of acknowledged issuances only: they are durable.
fn note(known: &mut BTreeMap<usize, Issuance>, issuance: Issuance) {
    let at = issuance.device_serial.trim_start_matches("SN-").parse::<usize>().unwrap() - 1;
    if let Some(before) = known.get(&at) {
        // The call's answer told of a later step already.
        if before.sequence > issuance.sequence {
            return;
        }
        assert_eq!((&before.name, &before.common_name), (&issuance.name, &issuance.common_name));
        assert!(before.key.is_empty() || before.key == issuance.key, "{}", told(&issuance));
    }
    known.insert(at, issuance);
}

/// Each device holds `made` keys and certificates, and the newest is the certified one.
fn one_key_each(line: &Line, done: &[Issuance], made: usize) {
    for ((_, device), issuance) in line.hardware().devices().zip(done) {
        let key = pem_key(line, issuance);
        match device {
            Device::Tpm(tpm) => {
                let tools = TpmTools::of(tpm);
                let mut ours = tools.handles("handles-persistent");
                ours.retain(|handle| handle.starts_with("0x810000"));
                let expected: Vec<_> = PROFILES[..made].iter().map(|(_, handle)| *handle).collect();
                assert_eq!(ours, expected, "{}", told(issuance));
                assert_eq!(tools.handles("handles-transient"), [""; 0], "something stays loaded");
                assert_eq!(tools.public_key(&issuance.key), key);
                assert_eq!(tools.nv(&issuance.certificate_location), issuance.certificate);
            }
            Device::Token(token) => {
                let tools = TokenTools::of(token);
                let counts = ["privkey", "pubkey", "cert"].map(|kind| tools.count(kind));
                assert_eq!(counts, [made; 3], "{}:\n{}", told(issuance), tools.must(&["--list-objects"]).text());
                assert_eq!(tools.public_key(&issuance.key), Some(key));
                assert_eq!(tools.certificate(&issuance.certificate_location), issuance.certificate);
            }
        }
    }
}

fn pem_key(line: &Line, issuance: &Issuance) -> Vec<u8> {
    files_of(line.directory(), issuance, Expected::Ca(0))
}
