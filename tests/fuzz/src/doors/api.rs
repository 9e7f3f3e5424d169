//! gRPC: what callers send a station, what stations send a CA, and what a CA answers.

use std::sync::{Arc, LazyLock};

use intermediate_ca::{Reason, Stop, submission_from_wire};
use issuance::{
    FixtureName, Input, Issuance, LotName, Record, State, Timestamp, ValidatedCertificate, decide::Context,
    profile::KeystoreKind, record::Provenance, submission::Terms,
};
use journal::{Journal, JournalOptions, Projections};
use prost::Message;
use proto::{
    ca::v1 as ca,
    station::v1::{self as wire, station_service_server::StationService as _},
};
use service::{
    clock::{Clock, Moment},
    roles::{Caller, Role},
    shutdown::Shutdown,
    status,
};
use station::{
    board::Board,
    connector::{Answer, LotAuthority, Report, grpc},
    fixtures::Fixtures,
    grpc::StationApi,
    ledger::{Ledger, SignedLot},
    profiles::{PinnedProfile, Profiles},
    rows::StationRows,
    submission::Link,
    supervisors::Supervisors,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, watch},
};
use tonic::{Code, Request, Status};

use crate::{
    Door,
    input::{Parts, sized},
    key::{NOW, intermediate, root},
    memory_disk::MemoryDisk,
    tree::{self, Form},
};

pub(super) const STATION_API: Door = Door {
    name: "station-api",
    property: "every call is answered or refused with a reason, never as an inner error; what a request_id began, the same request \
               finds again; what was told is on the disk",
    enter: station_api,
    seeds: station_calls,
    taken: 3,
    octets_most: 2048,
};

pub(super) const CA_ANSWER: Door = Door {
    name: "ca-answer",
    property: "of a CA's answers only a certificate that is what was asked for moves an issuance towards its device, and no message to \
               a CA makes it sign under another name",
    enter: ca_answer,
    seeds: ca_answers,
    taken: 4,
    octets_most: 8192,
};

/// A CA that is away.
struct Away;

#[tonic::async_trait]
impl LotAuthority for Away {
    async fn authorise(&self, _: String) -> Result<SignedLot, Status> {
        Err(Status::unavailable("it is away"))
    }

    async fn report(&self, _: LotName) -> Result<Report, Status> {
        Err(Status::unavailable("it is away"))
    }

    async fn scrap(&self, _: &LotName, _: &issuance::DeviceSerial, _: &str, _: &str) -> Result<(), Status> {
        Ok(())
    }
}

fn profile() -> PinnedProfile {
    PinnedProfile {
        profile: super::line::profile(None),
        issuers: vec![intermediate()],
        issuer_names: vec!["Factory CA".to_owned()],
        roots: vec![root()],
        endorsement: None,
        sha256: [1; 32],
    }
}

struct Station {
    api: StationApi,
    ledger: Arc<Ledger>,
    disk: MemoryDisk,
}

fn options() -> JournalOptions {
    JournalOptions { segment_bytes: 64 * 1024, ..JournalOptions::new("memory", "station-agent/fuzz") }
}

impl Station {
    fn new() -> Self {
        let disk = MemoryDisk::default();
        let (journal, _) = Journal::open_unthreaded(Arc::new(disk.clone()), &options()).expect("a new journal");
        let rows = Projections::in_memory(&journal, StationRows).expect("no rows yet");
        // Nobody watches.
        let (changes, _) = mpsc::unbounded_channel();
        let clock = Clock::reading(|| Moment { day: NOW, boot: NOW });
        let ledger = Ledger::new(journal, rows, Profiles::new(vec![profile()]), 8, changes).expect("an empty ledger");
        let ledger = Arc::new(ledger.with_clock(clock));
        let name = |text: &str| FixtureName::parse(text).expect("a name");
        // Nobody works: what is begun stays where it is.
        let places = ["fixture-1", "fixture-2"].map(|text| (name(text), KeystoreKind::Pkcs11, None));
        let (fixtures, _) = Fixtures::new(places.into());
        let (_, link) = watch::channel(Link::default());
        let board = Board::new(Provenance::default(), link, Shutdown::new());
        let api = StationApi::new(
            Arc::clone(&ledger),
            Arc::new(fixtures),
            Arc::new(board),
            Supervisors::default(),
            Arc::new(Away),
        );
        Self { api, ledger, disk }
    }

    /// Makes one call; what came of it, when that is an issuance.
    async fn call(&self, method: u8, message: &[u8], role: Role) -> Option<Result<wire::Issuance, Status>> {
        let caller = Caller { name: "caller-1".to_owned(), role };
        macro_rules! answers {
            ($method:ident) => {{
                let mut request = Request::new(Message::decode(message).ok()?);
                request.extensions_mut().insert(caller);
                self.api.$method(request).await.map(tonic::Response::into_inner)
            }};
        }
        macro_rules! other {
            ($method:ident) => {{
                match answers!($method) {
                    Ok(_) => return None,
                    Err(status) => Err(status),
                }
            }};
        }
        let answered: Result<wire::Issuance, Status> = match method % 15 {
            0 => answers!(start_issuance),
            1 => other!(batch_start_issuances),
            2 => answers!(release_issuance),
            3 => answers!(cancel_issuance),
            4 => answers!(rework_issuance),
            5 => answers!(scrap_device),
            6 => answers!(get_issuance),
            7 => other!(list_issuances),
            8 => other!(open_lot),
            9 => other!(close_lot),
            10 => other!(get_lot),
            11 => other!(list_lots),
            12 => other!(get_issuance_story),
            13 => other!(get_issuance_proof),
            _ => other!(authorise_lot),
        };
        Some(answered)
    }
}

thread_local! {
    // The station waits for its disk within a call, which takes a runtime of several threads.
    static RUNTIME: Runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
}

/// Calls one after the other: the method, the caller's role, and the message, with the role's top bit as its tree.
fn station_api(octets: &[u8]) -> bool {
    RUNTIME.with(|runtime| runtime.block_on(calls(Parts::new(octets))))
}

async fn calls(mut parts: Parts<'_>) -> bool {
    const CALLS_MOST: usize = 12;
    let station = Station::new();
    for _ in 0..CALLS_MOST {
        if parts.is_empty() {
            break;
        }
        let (method, role) = (parts.octet(), parts.octet());
        let is_tree = role & 0x80 != 0;
        let role = Role::ALL[usize::from(role & 0x7F) % Role::ALL.len()];
        let built = if is_tree { tree::built(Form::Protobuf, parts.sized()) } else { parts.sized().to_vec() };
        let message = built.as_slice();
        match station.call(method, message, role).await {
            Some(Ok(issuance)) => {
                assert_eq!(
                    station.ledger.journal().synced(),
                    station.ledger.journal().length(),
                    "told before it is on the disk"
                );
                if method % 15 == 0 {
                    let again =
                        station.call(method, message, role).await.expect("as before").expect("it was taken before");
                    assert_eq!(again.name, issuance.name, "the same request began another issuance");
                }
            }
            Some(Err(refused)) => {
                assert!(!matches!(refused.code(), Code::Internal | Code::Unknown | Code::DataLoss), "{refused:?}");
                assert!(!refused.message().is_empty());
                let is_told = refused.code() != Code::InvalidArgument || !status::fields(&refused).is_empty();
                assert!(is_told, "no field is named: {refused:?}");
            }
            None => {}
        }
    }
    let (length, disk) = (station.ledger.journal().synced(), station.disk.clone());
    station.ledger.close().expect("a sound disk");
    drop(station);
    let (journal, _) = Journal::open_unthreaded(Arc::new(disk), &options()).expect("what was written is read");
    assert_eq!(journal.synced(), length);
    let rows = Projections::in_memory(&journal, StationRows).expect("its own records");
    drop(rows);
    length > 1
}

fn station_calls() -> Vec<Vec<u8>> {
    let text = |text: &str| text.to_owned();
    let call = |method: u8, message: Vec<u8>| {
        [vec![method, 0x83], sized(tree::taken_apart(Form::Protobuf, &message))].concat()
    };
    let lot = wire::OpenLotRequest { lot: text("lot-1"), profile: text("device-ca"), quantity: 10 };
    let open = call(8, lot.encode_to_vec());
    let start = |id: &str, serial: &str, fixture: &str| {
        let request = wire::StartIssuanceRequest {
            request_id: text(id),
            lot: text("lot-1"),
            device_serial: text(serial),
            fixture: text(fixture),
            badge: text("B-1"),
            ..Default::default()
        };
        call(0, request.encode_to_vec())
    };
    let id = text("issuances/01234567-89ab-7def-8123-456789abcdef");
    let named = |method: u8| call(method, wire::GetIssuanceRequest { name: id.clone() }.encode_to_vec());
    let list = wire::ListIssuancesRequest { device_serial: text("SN-1"), page_size: 5, ..Default::default() };
    let lots = wire::GetLotRequest { name: text("lots/lot-1") }.encode_to_vec();
    vec![
        [
            open.clone(),
            start("r-1", "SN-1", "fixture-1"),
            start("r-1", "SN-1", "fixture-1"),
            start("r-2", "SN-1", "fixture-2"),
        ]
        .concat(),
        [open.clone(), start("", "SN-1", ""), call(7, list.encode_to_vec())].concat(),
        [open.clone(), call(10, lots.clone()), call(9, lots), call(11, Vec::new())].concat(),
        [
            open,
            start("r-1", "SN-1", "fixture-1"),
            named(2),
            named(3),
            named(4),
            named(5),
            named(6),
            named(12),
            named(13),
        ]
        .concat(),
        call(14, wire::AuthoriseLotRequest { authorisation: text("a.b.c") }.encode_to_vec()),
    ]
}

/// What was submitted, and what may come back.
static SUBMITTED: LazyLock<(Issuance, PinnedProfile)> = LazyLock::new(|| (super::records::submitted(), profile()));

/// The first octet: an answer of a CA (0), or a message to a CA (1); with 2, as its tree.
fn ca_answer(octets: &[u8]) -> bool {
    let Some((choice, message)) = octets.split_first() else { return false };
    let built = (choice & 2 == 2).then(|| tree::built(Form::Protobuf, message));
    let message = built.as_deref().unwrap_or(message);
    if choice & 1 == 1 {
        return to_ca(message);
    }
    let Ok(response) = ca::IssueBatchResponse::decode(message) else { return false };
    let mut taken = false;
    for (_, answer) in response.results.into_iter().take(8).filter_map(grpc::answer) {
        let sealed_or_issued = matches!(answer, Answer::Issued { .. } | Answer::Sealed(_));
        match answer.into_input() {
            Ok(input) => taken |= answered(input),
            Err((_, words)) => assert!(!sealed_or_issued, "{words}"),
        }
    }
    taken
}

fn answered(input: Input) -> bool {
    let (before, pinned) = &*SUBMITTED;
    let fixture = before.fixture.clone();
    let context = Context {
        profile: &pinned.profile,
        issuers: &pinned.issuers,
        roots: &pinned.roots,
        endorsement: None,
        authority: "ca-1",
        terms: Terms::default(),
        fixture: &fixture,
        keystore: KeystoreKind::Pkcs11,
    };
    let Ok(decision) = before.decide(input, context, Timestamp(NOW)) else { return false };
    let after = decision.records.iter().fold(before.clone(), |state, record| state.apply(record, Timestamp(NOW)));
    if let State::Issued(issued) = &after.state {
        let is_recorded = decision.records.iter().any(|record| matches!(record, Record::Issued { .. }));
        let expectation = issuance::CertificateExpectation {
            public_key: issued.key.public_key.clone(),
            common_name: before.request.common_name.clone(),
            purpose: pinned.profile.purpose,
            issuers: pinned.issuers.clone(),
            intermediates: issued.chain.clone(),
            roots: pinned.roots.clone(),
            at: Timestamp(NOW),
        };
        let valid = ValidatedCertificate::validate(&issued.certificate, expectation);
        assert!(is_recorded && valid.is_ok(), "{valid:?}");
    }
    matches!(after.state, State::Issued(_))
}

fn to_ca(message: &[u8]) -> bool {
    let Ok(request) = ca::CertificationRequest::decode(message) else { return false };
    let submission = submission_from_wire(request);
    match super::authority::rehearse(submission) {
        Ok(_) => true,
        Err(Stop::Refuse(refusal)) => {
            assert_ne!(refusal.reason, Reason::LintFailed, "{refusal}");
            false
        }
        Err(Stop::Defer(later)) => panic!("nothing here gets better by waiting: {later:?}"),
    }
}

fn ca_answers() -> Vec<Vec<u8>> {
    use ca::issue_result::Outcome;
    let (before, _) = &*SUBMITTED;
    let id = before.id.to_string();
    let one = |outcome: Outcome| {
        let result = ca::IssueResult { issuance: id.clone(), outcome: Some(outcome) };
        [vec![0], ca::IssueBatchResponse { results: vec![result] }.encode_to_vec()].concat()
    };
    let (certificate, request) = super::records::answered();
    let residency = proto::evidence::v1::Residency { public_area: vec![1], ..Default::default() };
    let asked = ca::CertificationRequest {
        issuance: id.clone(),
        device_serial: "SN-1".to_owned(),
        profile: "device-ca".to_owned(),
        certification_request: request,
        residency: Some(residency),
        request_id: "r-1".to_owned(),
        ..Default::default()
    };
    let sealed = proto::evidence::v1::SealedCertificate { credential: vec![1], ..Default::default() };
    let plain = vec![
        one(Outcome::Issued(ca::Issued { certificate, chain: vec![intermediate()] })),
        one(Outcome::Sealed(sealed)),
        one(Outcome::Refused(ca::Refused { reason: "R".to_owned(), message: "m".to_owned() })),
        one(Outcome::Deferred(ca::Deferred { retry_after: None, message: "m".to_owned() })),
        [vec![1], asked.encode_to_vec()].concat(),
    ];
    let tree = |message: &Vec<u8>| [vec![message[0] | 2], tree::taken_apart(Form::Protobuf, &message[1..])].concat();
    let trees: Vec<Vec<u8>> = plain.iter().map(tree).collect();
    plain.into_iter().chain(trees).collect()
}
