//! Requests that the station refuses: each with the right status, the field or the reason in its details, and nothing
//! recorded.

use proto::station::v1::{
    CloseLotRequest, GetIssuanceRequest, GetLotRequest, Issuance, ListIssuancesRequest, ListLotsRequest, Lot,
    OpenLotRequest, StartIssuanceRequest, WatchRequest,
};
use tonic::{Code, Response, Status};

use crate::asking::{bounded, complete, journal_length, line_of, mes, open_lot, refusal, scan, start, start_issuance};

/// Profiles whose CNs meet what they must differ from: a host name, a device ID, and the CN of the issuer.
fn meeting_profiles() -> String {
    [
        ("meets-host", "a{serial}", "{serial}A", "{serial}"),
        ("meets-id", "a{serial}", "{serial}", "{serial}A"),
        ("meets-issuer", "Demo {serial} CA", "{serial}", "{serial}"),
    ]
    .map(|(name, common_name, hostname, device_id)| {
        format!(
            r#"
[[profile]]
name = "{name}"
purpose = "device-ca"
path_length = 0
key = "P-256"
common_name = "{common_name}"
hostname = "{hostname}"
device_id = "{device_id}"
issuers = "pki/product/device-ca.pem"
roots = "pki/product/root.pem"
pkcs11 = {{ label = "{name}" }}
"#
        )
    })
    .concat()
}

/// What a refusal must say: code, reason, field; and a piece of its message.
struct Refusal(Code, &'static str, &'static str, &'static str);

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(what: &str, answered: Result<T, Status>, expected: &Refusal) {
    let Refusal(code, reason, field, words) = expected;
    let status = answered.expect_err(what);
    assert_eq!(refusal(&status), (*code, (*reason).to_owned(), (*field).to_owned()), "{what}: {status:?}");
    assert!(status.message().contains(words), "{what}: {}", status.message());
}

/// Every request that cannot be right, one after another at one station; then the journal has not grown, and a right
/// request for the same fixture goes through.
#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_and_leave_nothing() {
    let mut options = line_of(0, 2);
    options.station_extra = meeting_profiles();
    let line = start(options).await;
    for profile in ["meets-host", "meets-id", "meets-issuer"] {
        open_lot(&line, profile, profile, 5).await;
    }
    open_lot(&line, "OPEN", "device-ca", 3).await;
    open_lot(&line, "CLOSED", "device-ca", 3).await;
    let closed = mes(&line).close_lot(CloseLotRequest { name: "lots/CLOSED".into() }).await.unwrap().into_inner();
    assert_eq!(closed.state(), proto::station::v1::lot::State::Closed);
    let before = journal_length(&line).await;

    let invalid = |field, words| Refusal(Code::InvalidArgument, "INVALID_ARGUMENT", field, words);
    let (long, too_long, with_profile) = ("x".repeat(65), "x".repeat(62), |profile: &str| {
        let request = scan("OPEN", "SN-1", "fixture-1");
        StartIssuanceRequest { profile: profile.into(), ..request }
    });
    let with_id = |id: &str| StartIssuanceRequest { request_id: id.into(), ..scan("OPEN", "SN-1", "fixture-1") };
    let cases: Vec<(&str, StartIssuanceRequest, Refusal)> = vec![
        ("an empty serial", scan("OPEN", "", "fixture-1"), invalid("device_serial", "is empty")),
        ("a serial of 65", scan("OPEN", &long, "fixture-1"), invalid("device_serial", "65 characters")),
        ("a space", scan("OPEN", "SN 1", "fixture-1"), invalid("device_serial", "' ' at character 3")),
        ("a slash", scan("OPEN", "../SN", "fixture-1"), invalid("device_serial", "'/' at character 3")),
        ("an accent", scan("OPEN", "SN\u{e9}", "fixture-1"), invalid("device_serial", "at character 3")),
        ("a line's end", scan("OPEN", "SN-1\n", "fixture-1"), invalid("device_serial", "at character 5")),
        ("a NUL", scan("OPEN", "SN\0", "fixture-1"), invalid("device_serial", "at character 3")),
        ("two dots", scan("OPEN", "..", "fixture-1"), invalid("device_serial", "no letter and no digit")),
        ("an empty lot", scan("", "SN-1", "fixture-1"), invalid("lot", "is empty")),
        (
            "an unknown lot",
            scan("NOWHERE", "SN-1", "fixture-1"),
            Refusal(Code::NotFound, "NOT_FOUND", "", "no lot NOWHERE"),
        ),
        (
            "a closed lot",
            scan("CLOSED", "SN-1", "fixture-1"),
            Refusal(Code::FailedPrecondition, "LOT_CLOSED", "", "open another lot"),
        ),
        ("an unknown profile", with_profile("nothing"), invalid("profile", "no profile nothing")),
        ("a profile's name that is none", with_profile("a b"), invalid("profile", "' ' at character 2")),
        (
            "another profile than the lot's",
            with_profile("meets-host"),
            Refusal(Code::FailedPrecondition, "WRONG_PROFILE", "", "device-ca"),
        ),
        (
            "an unknown fixture",
            scan("OPEN", "SN-1", "fixture-9"),
            Refusal(Code::NotFound, "UNKNOWN_FIXTURE", "", "fixture-1, fixture-2"),
        ),
        (
            "no fixture, of two with new devices",
            scan("OPEN", "SN-1", ""),
            Refusal(Code::FailedPrecondition, "FIXTURE_AMBIGUOUS", "", "fixture-1, fixture-2"),
        ),
        ("a CN of 65", scan("OPEN", &too_long, "fixture-1"), invalid("device_serial", "65 characters")),
        ("a CN like the host name", scan("meets-host", "aa", "fixture-1"), invalid("device_serial", "host name")),
        ("a CN like the device ID", scan("meets-id", "aa", "fixture-1"), invalid("device_serial", "device ID")),
        ("a CN like the issuer's", scan("meets-issuer", "dEvIcE", "fixture-1"), invalid("device_serial", "issuer")),
        ("a request_id of 65", with_id(&long), invalid("request_id", "64")),
        ("a request_id with a line's end", with_id("a\nb"), invalid("request_id", "printable")),
    ];
    for (what, request, expected) in &cases {
        assert_refused(what, start_issuance(&line, request.clone()).await, expected);
    }
    refuse_the_rest(&line).await;

    assert_eq!(journal_length(&line).await, before, "a refused request left a record");
    let listed = mes(&line).list_issuances(ListIssuancesRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.issuances, []);
    assert_eq!(lot(&line, "OPEN").await.started, 0);
    names_and_quantities_are_used_once(&line).await;
}

/// What is wrong with requests other than for an issuance.
async fn refuse_the_rest(line: &line::Line) {
    let invalid = |field, words| Refusal(Code::InvalidArgument, "INVALID_ARGUMENT", field, words);
    let open = async |lot: &str, profile: &str, quantity| -> Result<Response<Lot>, Status> {
        mes(line).open_lot(OpenLotRequest { lot: lot.into(), profile: profile.into(), quantity }).await
    };
    assert_refused("a lot's bad name", open("a/b", "device-ca", 1).await, &invalid("lot", "'/'"));
    assert_refused("a lot for nothing", open("L", "nothing", 1).await, &invalid("profile", "device-ca"));
    assert_refused("an empty lot", open("L", "device-ca", 0).await, &invalid("quantity", "0 is no quantity"));
    assert_refused("a huge lot", open("L", "device-ca", 10_000_001).await, &invalid("quantity", "10000000"));
    let exists = Refusal(Code::AlreadyExists, "LOT_EXISTS", "", "quantity 3");
    assert_refused("a lot with another quantity", open("OPEN", "device-ca", 4).await, &exists);
    assert_refused("a closed lot again", open("CLOSED", "device-ca", 3).await, &exists);
    assert_eq!(open("OPEN", "device-ca", 3).await.unwrap().into_inner().quantity, 3, "the same again is no mistake");

    let get = |name: &str| GetLotRequest { name: name.into() };
    assert_refused("no lot's name", mes(line).get_lot(get("OPEN")).await, &invalid("name", "lots/"));
    let absent = Refusal(Code::NotFound, "NOT_FOUND", "", "no lot X");
    assert_refused("an unknown lot", mes(line).get_lot(get("lots/X")).await, &absent);
    let close = CloseLotRequest { name: "lots/X".into() };
    assert_refused("closing an unknown lot", mes(line).close_lot(close).await, &absent);

    let get = |name: &str| GetIssuanceRequest { name: name.into() };
    let unknown = "issuances/01890000-0000-7000-8000-000000000000";
    assert_refused("no issuance's name", mes(line).get_issuance(get("SN-1")).await, &invalid("name", "issuances/"));
    let absent = Refusal(Code::NotFound, "NOT_FOUND", "", "no issuance 01890000");
    assert_refused("an unknown issuance", mes(line).get_issuance(get(unknown)).await, &absent);

    let list = |page_size, page_token: &str| {
        let page_token = page_token.into();
        ListIssuancesRequest { page_size, page_token, ..Default::default() }
    };
    assert_refused("a huge page", mes(line).list_issuances(list(1001, "")).await, &invalid("page_size", "1000"));
    for made_up in ["x", "+5", "05"] {
        assert_refused(made_up, mes(line).list_issuances(list(1, made_up)).await, &invalid("page_token", "token"));
        let lots = ListLotsRequest { page_size: 1, page_token: made_up.to_owned() };
        assert_refused(made_up, mes(line).list_lots(lots).await, &invalid("page_token", "token"));
    }
    let future = WatchRequest { after_sequence: Some(u64::MAX), ..Default::default() };
    let ahead = Refusal(Code::OutOfRange, "SEQUENCE_OUT_OF_RANGE", "", "newest sequence");
    assert_refused("the future", mes(line).watch(future).await, &ahead);
}

/// A CN is given once, a request_id too, and a lot has its quantity: shown with the one device that is issued to.
async fn names_and_quantities_are_used_once(line: &line::Line) {
    let first = StartIssuanceRequest { request_id: "once".into(), ..scan("OPEN", "SN-1", "fixture-1") };
    let issued = complete(line, first.clone()).await;
    open_lot(line, "SMALL", "device-ca", 1).await;
    let before = journal_length(line).await;

    let taken = Refusal(Code::AlreadyExists, "COMMON_NAME_TAKEN", "", "SN-1");
    let again = async |request| -> Result<Issuance, Status> { start_issuance(line, request).await };
    assert_refused("a CN in another lot", again(scan("SMALL", "SN-1", "fixture-2")).await, &taken);
    assert_refused("a CN in another case", again(scan("OPEN", "sn-1", "fixture-2")).await, &taken);
    let reused = Refusal(Code::AlreadyExists, "REQUEST_ID_REUSED", "", "use a new one");
    let other = StartIssuanceRequest { device_serial: "SN-2".into(), ..first.clone() };
    assert_refused("a request_id for another device", again(other).await, &reused);
    assert_eq!(journal_length(line).await, before, "a refused request left a record");

    // The device in fixture-1 is known by now, so that a scan without a fixture can only mean the other one.
    let found = complete(line, scan("SMALL", "SN-2", "")).await;
    assert_eq!(found.fixture, "fixture-2");
    let used_up = Refusal(Code::FailedPrecondition, "LOT_USED_UP", "", "1 of 1");
    assert_refused("one device too many", again(scan("SMALL", "SN-3", "fixture-2")).await, &used_up);
    assert_eq!((lot(line, "SMALL").await.started, lot(line, "OPEN").await.started), (1, 1));
    let same = bounded("the issuance", mes(line).get_issuance(GetIssuanceRequest { name: issued.name.clone() })).await;
    assert_eq!(same.unwrap().into_inner(), issued, "what was issued before stands as it stood");
}

async fn lot(line: &line::Line, name: &str) -> Lot {
    mes(line).get_lot(GetLotRequest { name: format!("lots/{name}") }).await.unwrap().into_inner()
}
