//! Traces, as a collector takes them that others wrote (Python's grpcio with OpenTelemetry's own protos).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use line::{Line, Options};
use proto::station::v1::{Issuance, StartIssuanceRequest, issuance::State};
use rustix::process::Signal;
use serde::Deserialize;
use tempfile::TempDir;
use tonic::{Request, metadata::MetadataValue};

use crate::{
    asking::{bounded, complete, line_of, mes, open_lot, scan, settled, start, told, until},
    looking::must,
    secrets::secrets,
};

/// Spans come within a second of their end; a machine that does much else takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a MES sends that traces as well: W3C Trace Context, sampled.
fn traceparent(trace: &str, span: &str) -> MetadataValue<tonic::metadata::Ascii> {
    format!("00-{trace}-{span}-01").parse().unwrap()
}

#[derive(Debug, Clone, Deserialize)]
struct Span {
    resource: BTreeMap<String, String>,
    name: String,
    kind: String,
    trace: String,
    span: String,
    parent: String,
    links: Vec<(String, String)>,
    attributes: BTreeMap<String, String>,
    status: String,
    lasted_ns: i64,
}

impl Span {
    fn service(&self) -> &str {
        &self.resource["service.name"]
    }

    fn says(&self, attribute: &str) -> &str {
        self.attributes.get(attribute).map(String::as_str).unwrap_or_default()
    }
}

/// A collector, and the spans that it took.
struct Collector {
    child: Child,
    address: String,
    lines: Receiver<String>,
    spans: Vec<Span>,
    place: TempDir,
}

impl Collector {
    fn start() -> Self {
        let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
        let python = target.join("mes/venv/bin/python");
        assert!(python.is_file(), "there is no {}: `deploy/dependencies.sh test` makes it", python.display());
        let place = tempfile::tempdir().unwrap();
        let mut command = Command::new(python);
        command.arg("-B").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/end-to-end/collector.py"));
        command.arg(place.path().join("raw")).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        let address = lines.recv_timeout(PATIENCE).expect("the collector says where it listens");
        Self { child, address, lines, spans: Vec::new(), place }
    }

    fn table(&self) -> String {
        format!("[traces]\nendpoint = \"http://{}\"\n", self.address)
    }

    /// Takes spans until what is looked for is among them.
    fn until<T>(&mut self, what: &str, find: impl Fn(&[Span]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = find(&self.spans) {
                return found;
            }
            let line = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("no {what} among {:#?}", self.spans));
            self.spans.push(serde_json::from_str(&line).unwrap());
        }
    }

    fn raw(&self) -> Vec<u8> {
        fs::read(self.place.path().join("raw")).unwrap()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line whose station, CA and page send their traces to one collector.
fn traced(collector: &Collector, options: Options) -> Options {
    let table = collector.table();
    Options { station_extra: table.clone(), ca_extra: table.clone(), page_extra: table, ..options }
}

async fn start_traced(line: &Line, request: StartIssuanceRequest, trace: &str, span: &str) -> Issuance {
    let mut request = Request::new(request);
    request.metadata_mut().insert("traceparent", traceparent(trace, span));
    bounded("an issuance to be accepted", mes(line).start_issuance(request)).await.unwrap().into_inner()
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const MES_SPAN: &str = "00f067aa0ba902b7";

/// The spans of a trace once these are there, each as often.
fn whole(spans: &[Span], trace: &str, names: &[(&str, usize)]) -> Option<Vec<Span>> {
    let of: Vec<Span> = spans.iter().filter(|span| span.trace == trace).cloned().collect();
    let all = names.iter().all(|(name, times)| of.iter().filter(|span| span.name == *name).count() >= *times);
    all.then_some(of)
}

fn one<'a>(spans: &'a [Span], service: &str, name: &str, kind: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| (span.service(), &*span.name, &*span.kind) == (service, name, kind));
    let first = found.next().unwrap_or_else(|| panic!("no {name} of {service} in {spans:#?}"));
    assert!(found.next().is_none(), "{name} twice in {spans:#?}");
    first
}

/// One device, started by a MES that traces: one trace goes from its call through the station's steps, queue and submission to the
/// CA's record, each span below the one that caused it, named and described as OpenTelemetry has it; and nothing in it is a secret
/// or a badge. What the page asks of its own accord makes no trace, and what a browser asks makes one through to the station.
#[tokio::test(flavor = "multi_thread")]
async fn one_trace_goes_from_the_mes_to_the_cas_record() {
    const START: &str = "station.v1.StationService/StartIssuance";
    const ISSUE: &str = "ca.v1.CertificateAuthorityService/IssueBatch";
    let mut collector = Collector::start();
    let mut line = start(traced(&collector, Options { page: true, ..line_of(1, 0) })).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    let badge = "B-badge-4711";
    let request = StartIssuanceRequest {
        request_id: "mes-0815".into(),
        badge: badge.into(),
        ..scan("LOT-1", "SN-1", "fixture-1")
    };
    let started = start_traced(&line, request, TRACE, MES_SPAN).await;
    let issuance = settled(&line, &started).await;
    assert_eq!(issuance.state(), State::Completed, "{}", told(&issuance));
    let names = [(START, 1), ("visit", 2), ("verify", 1), ("queue", 1), ("submission", 1), (ISSUE, 2), ("issue", 1)];
    let spans = collector.until("whole trace", |spans| whole(spans, TRACE, &names));
    let id = issuance.name.rsplit('/').next().unwrap();

    let served = one(&spans, "station-agent", START, "SERVER");
    assert_eq!(served.parent, MES_SPAN);
    let rpc = |span: &Span| {
        ["rpc.system", "rpc.service", "rpc.method"].map(|attribute| span.says(attribute).to_owned()).join(" ")
    };
    assert_eq!(rpc(served), "grpc station.v1.StationService StartIssuance");
    assert_eq!((served.says("rpc.grpc.status_code"), &*served.status), ("0", "UNSET"));
    assert_eq!(served.says("station_agent.fixture"), "fixture-1");
    assert_eq!(served.resource["service.instance.id"], "station-1");
    assert_eq!(served.resource["service.version"], env!("CARGO_PKG_VERSION"));
    // The identity, key and signature before the CA, the certificate after it.
    let visits: Vec<&Span> = spans.iter().filter(|span| span.name == "visit").collect();
    assert!(visits.iter().all(|visit| visit.parent == served.span && visit.kind == "INTERNAL"), "{visits:#?}");
    let steps: BTreeSet<&str> = spans
        .iter()
        .filter(|span| visits.iter().any(|visit| visit.span == span.parent))
        .map(|span| span.name.as_str())
        .collect();
    for step in ["identify", "find-key", "generate-key", "prove-residency", "sign-request", "write", "verify"] {
        assert!(steps.contains(step), "{step} is not in {steps:?}");
    }
    let submission = one(&spans, "station-agent", "submission", "INTERNAL");
    let queue = one(&spans, "station-agent", "queue", "INTERNAL");
    assert_eq!((&submission.parent, &queue.parent), (&served.span, &served.span));
    assert_eq!(queue.links, [(TRACE.to_owned(), submission.span.clone())]);
    assert!(queue.lasted_ns >= submission.lasted_ns / 2, "{queue:?} {submission:?}");
    let called = one(&spans, "station-agent", ISSUE, "CLIENT");
    let answered = one(&spans, "intermediate-ca", ISSUE, "SERVER");
    assert_eq!((&called.parent, &answered.parent), (&submission.span, &called.span));
    assert_eq!(rpc(called), rpc(answered));
    for step in ["turn", "propose", "reserve", "sign", "commit", "issue"] {
        assert_eq!(one(&spans, "intermediate-ca", step, "INTERNAL").parent, answered.span, "{step}");
    }
    for span in [served, visits[0], visits[1], queue, one(&spans, "intermediate-ca", "issue", "INTERNAL")] {
        let ids = (span.says("station_agent.issuance"), span.says("station_agent.request_id"));
        assert_eq!(ids, (id, "mes-0815"), "{span:?}");
    }

    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "10", "--output", "/dev/null"]);
    curl.arg(format!("{}/lots", line.page_url().unwrap()));
    must(curl);
    let page = collector.until("trace from the page", |spans| {
        let asked = spans.iter().find(|span| span.service() == "station-ui" && span.name == "GET /lots")?;
        whole(spans, &asked.trace, &[("station.v1.StationService/ListLots", 2)])
    });
    let asked = one(&page, "station-ui", "GET /lots", "SERVER");
    assert_eq!((asked.parent.as_str(), asked.says("http.route")), ("", "/lots"));
    assert_eq!(asked.says("http.response.status_code"), "200");
    let client = page.iter().find(|span| span.kind == "CLIENT").unwrap();
    assert_eq!(client.parent, asked.span);
    assert!(page.iter().any(|span| span.service() == "station-agent" && span.parent == client.span), "{page:#?}");
    // The page has asked it since before the first device.
    assert!(!collector.spans.iter().any(|span| span.name.ends_with("/GetStation")), "{:#?}", collector.spans);

    line.stop().unwrap();
    let raw = collector.raw();
    assert!(raw.len() > 4_000, "{} octets", raw.len());
    for secret in secrets(&line) {
        assert!(!secret.stands_in(&raw), "{} stands in the traces", secret.what);
    }
    assert!(memchr::memmem::find(&raw, badge.as_bytes()).is_none(), "a badge stands in the traces");
}

/// A batch is nobody's alone: its trace is its own, with a link to each issuance's, and each issuance's wait links back to it. Had
/// by a CA that is stopped in the middle of a call, while others queue.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_linked_to_each_issuances_trace() {
    let mut collector = Collector::start();
    let mut line = start(traced(&collector, line_of(0, 4))).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    // It is connected now.
    complete(&line, scan("LOT-1", "SN-4", "fixture-4")).await;
    line.ca().signal(Signal::STOP).unwrap();
    let mut waiting = Vec::new();
    for number in 1..=3 {
        let request = scan("LOT-1", &format!("SN-{number}"), &format!("fixture-{number}"));
        let started = start_traced(&line, request, &format!("{number:032x}"), &format!("{number:016x}")).await;
        until(&line, &started, "the queue", |issuance| issuance.state() == State::Submitted).await;
        waiting.push(started);
    }
    line.ca().signal(Signal::CONT).unwrap();
    for started in &waiting {
        let issuance = settled(&line, started).await;
        assert_eq!(issuance.state(), State::Completed, "{}", told(&issuance));
    }
    // Whichever were still apart when the first call left, two were behind it or with it.
    let (batch, waits) = collector.until("batch and all waits", |spans| {
        let batch = spans.iter().find(|span| span.name == "submission" && span.links.len() > 1)?;
        let waits = (1..=3).map(|number| whole(spans, &format!("{number:032x}"), &[("queue", 1), ("visit", 2)]));
        Some((batch.clone(), waits.collect::<Option<Vec<_>>>()?))
    });
    assert_eq!((&*batch.parent, batch.says("station_agent.submissions")), ("", &*batch.links.len().to_string()));
    let linked: Vec<&Vec<Span>> =
        waits.iter().filter(|spans| batch.links.iter().any(|(trace, _)| *trace == spans[0].trace)).collect();
    assert_eq!(linked.len(), batch.links.len());
    for spans in linked {
        let queue = one(spans, "station-agent", "queue", "INTERNAL");
        assert_eq!(queue.links, [(batch.trace.clone(), batch.span.clone())]);
        let served = spans.iter().find(|span| span.kind == "SERVER").unwrap();
        assert!(batch.links.contains(&(served.trace.clone(), served.span.clone())), "{batch:?} {served:?}");
    }
    let answered = collector.until("the CA's part", |spans| {
        spans.iter().find(|span| span.trace == batch.trace && span.kind == "SERVER").cloned()
    });
    assert_eq!(answered.service(), "intermediate-ca");
    line.stop().unwrap();
}

/// A collector that takes connections and says nothing, and one that nobody is: devices are certified all the same, and both
/// processes end in order within their deadline (a late one ends with another code).
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_or_is_away_stops_nothing() {
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap()
    };
    let table = |address| format!("[traces]\nendpoint = \"http://{address}\"\n");
    let station_extra = table(hangs.local_addr().unwrap());
    let mut line = start(Options { station_extra, ca_extra: table(gone), ..line_of(0, 1) }).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    for end in [Line::station, Line::ca] {
        let process = end(&mut line);
        process.signal(Signal::TERM).unwrap();
        let status = process.await_end(PATIENCE).unwrap().expect("it ends");
        assert!(status.success(), "{}: {status}", process.name());
    }
    drop(hangs);
}

/// What each process tells Prometheus has its version, and what became of its spans.
#[tokio::test(flavor = "multi_thread")]
async fn figures_say_what_became_of_the_spans() {
    let mut collector = Collector::start();
    let metrics = "[metrics]\naddress = \"127.0.0.1:0\"\n";
    let both = traced(&collector, line_of(0, 1));
    let extra = |table: &str| format!("{metrics}{table}");
    let line = start(Options {
        page: true,
        station_extra: extra(&both.station_extra),
        ca_extra: extra(&both.ca_extra),
        page_extra: extra(&both.page_extra),
        ..both
    })
    .await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--max-time", "10", "--output", "/dev/null", &line.page_url().unwrap()]);
    must(curl);
    for service in ["station-agent", "intermediate-ca", "station-ui"] {
        collector.until(service, |spans| spans.iter().find(|span| span.service() == service).map(drop));
    }
    let log = |name: &str| -> PathBuf { line.directory().join(format!("logs/{name}.log")) };
    for (log, prefix) in
        [(log("station-agent"), "station"), (log("intermediate-ca"), "ca"), (log("station-ui"), "station_ui")]
    {
        let figures = crate::metrics::scraped(&crate::metrics::address(&log));
        let version = format!("{prefix}_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
        assert_eq!(figures.get(&version), Some(&1.0), "{figures:?}");
        assert!(figures[&format!("{prefix}_spans_exported_total")] >= 1.0, "{figures:?}");
    }
    let page = crate::metrics::scraped(&crate::metrics::address(&log("station-ui")));
    assert_eq!(page["station_ui_link_up"], 1.0, "{page:?}");
    let asked = "station_ui_http_server_request_duration_seconds_count{http_request_method=\"GET\",http_route=\"/\",\
                 http_response_status_code=\"200\"}";
    assert!(page[asked] >= 1.0, "{page:?}");
}
