//! A hundred thousand submissions that wait: what they cost while they do, and how they leave when the CA is back.

use std::{path::Path, time::Duration};

use issuance::IssuanceId;
use proto::{
    ca::v1::{
        CertificationRequest, IssueBatchRequest,
        certificate_authority_service_client::CertificateAuthorityServiceClient, issue_result::Outcome,
    },
    station::v1::ListIssuancesRequest,
};
use tokio::time::{Instant, sleep};
use tonic::Code;
use uuid::Uuid;

use crate::{
    Failed, because,
    device::Device,
    figure::{Goal, Report, median},
    past::{self, LOT, Stand},
    process,
    ready::SOON,
    station::{Place, station},
};

/// As the station sends them.
const BATCH: usize = 256;
/// A person or a machine that asks notices nothing below this, in milliseconds.
const AT_ONCE: f64 = 50.0;
/// Between two questions while it drains.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// A drain that makes no progress for so long hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures it.
pub(crate) async fn measure(binaries: &Path, waiting: usize, report: &mut Report) -> Result<(), Failed> {
    let mut place = Place::new(binaries).await?;
    let few = (waiting / 1_000).max(1);
    let mut residents = Vec::new();
    let mut before = 0;
    for count in [few, waiting / 10, waiting] {
        past::write(&place.configuration(), &format!("to-{count}"), count - before, Stand::Waiting)?;
        before = count;
        place.start().await?;
        residents.push(resident(&mut place).await?);
        if count < waiting {
            place.stop()?;
        }
    }
    let [first, tenth, all] = residents[..] else { return Ok(()) };
    let each = (all - first) / (waiting - few) as f64;
    println!(
        "bench memory: {:.1} MB with {few} waiting, {:.1} MB with {}, {:.1} MB with {waiting}",
        first / 1e6,
        tenth / 1e6,
        waiting / 10,
        all / 1e6
    );
    report.figure("memory-per-waiting", each, 1024.0, "B", Goal::AtMost(1.0));

    let ready = place.restarts().await?;
    report.figure("ready-status-waiting", ready.status, SOON, "s", Goal::AtMost(1.0));
    report.figure("ready-start-waiting", ready.start, SOON, "s", Goal::AtMost(1.0));

    // The CA's own rate, before and after: it has the same journal behind it on the average.
    let straight = (waiting / 10).max(2 * BATCH);
    let (first, second) = (requests("first", straight)?, requests("second", straight)?);
    place.stop()?;
    place.line.start_ca().await.map_err(because("start the CA"))?;
    let mut own = vec![rate(&place, first, report).await?];
    place.line.stop_ca().map_err(because("stop the CA"))?;
    place.start().await?;
    place.idle().await?;
    let drained = drain(&mut place, waiting, report).await?;
    place.stop()?;
    own.push(rate(&place, second, report).await?);
    println!("bench ca: {:.0} certificates a second before, {:.0} after", own[0], own[1]);
    report.figure("drain-rate", drained, (own[0] + own[1]) / 2.0, "/s", Goal::AtLeast(0.9));
    place.line.stop().map_err(because("stop the line"))
}

/// Resident memory of the station, in bytes, once it has answered some questions.
async fn resident(place: &mut Place) -> Result<f64, Failed> {
    let mut client = place.client()?;
    for _ in 0..10 {
        station(&mut client).await.map_err(because("ask the station"))?;
    }
    let process = place.line.station().process_id().ok_or_else(|| Failed::new("the station does not run"))?;
    Ok(process::resident(process)? as f64)
}

/// Certification requests of devices in software, in batches.
pub(crate) fn requests(prefix: &str, count: usize) -> Result<Vec<IssueBatchRequest>, Failed> {
    let mut batches = vec![];
    let mut batch = vec![];
    for number in 0..count {
        let serial = format!("{prefix}-{number}");
        let mut device = Device::new(&serial);
        batch.push(CertificationRequest {
            issuance: IssuanceId::from_uuid(Uuid::now_v7()).to_string(),
            certification_request: past::request(&mut device, &serial)?,
            device_serial: serial,
            lot: LOT.to_owned(),
            profile: past::PROFILE.to_owned(),
            supersedes: Vec::new(),
            residency: None,
            request_id: String::new(),
        });
        if batch.len() == BATCH || number + 1 == count {
            batches.push(IssueBatchRequest { requests: std::mem::take(&mut batch) });
        }
    }
    Ok(batches)
}

/// Certificates a second, when batches are sent straight to the CA, one after the other, as the station does.
async fn rate(place: &Place, batches: Vec<IssueBatchRequest>, report: &mut Report) -> Result<f64, Failed> {
    let channel = place.line.authority().map_err(because("reach the CA"))?;
    let mut client = CertificateAuthorityServiceClient::new(channel).max_decoding_message_size(64 << 20);
    let count: usize = batches.iter().map(|batch| batch.requests.len()).sum();
    let (mut issued, began) = (0, Instant::now());
    for batch in batches {
        let answer = client.issue_batch(batch).await.map_err(because("ask the CA"))?.into_inner();
        issued += answer.results.iter().filter(|result| matches!(result.outcome, Some(Outcome::Issued(_)))).count();
    }
    let seconds = began.elapsed().as_secs_f64();
    report.promise(issued == count, || format!("of {count} requests the CA issued {issued}"));
    Ok(count as f64 / seconds)
}

/// Starts the CA and asks the station while it drains; submissions a second.
async fn drain(place: &mut Place, waiting: usize, report: &mut Report) -> Result<f64, Failed> {
    let mut client = place.client()?;
    let length = |station: proto::station::v1::Station| station.queue.map_or(0, |queue| queue.length);
    let running = |process: Option<u32>| process.ok_or_else(|| Failed::new("it does not run"));
    let full = length(station(&mut client).await.map_err(because("ask the station"))?);
    report.promise(full >= waiting as u64, || format!("of {waiting} submissions {full} wait"));
    place.line.start_ca().await.map_err(because("start the CA"))?;
    let processes = [
        ("the station", running(place.line.station().process_id())?),
        ("the CA", running(place.line.ca().process_id())?),
    ];
    let mut before = Vec::new();
    for (_, process) in processes {
        before.push(process::times(process)?);
    }
    let (mut statuses, mut starts, mut lists) = (vec![], vec![], vec![]);
    let (mut began, mut left, mut moved) = (None, full, Instant::now());
    let drained = loop {
        let asked = Instant::now();
        let now = length(station(&mut client).await.map_err(because("ask the station"))?);
        statuses.push(asked.elapsed().as_secs_f64() * 1e3);
        if now < left {
            (left, moved) = (now, Instant::now());
            // What the first batch took to come is not the rate.
            began.get_or_insert((now, Instant::now()));
        }
        if left == 0 {
            let (from, since) = began.unwrap_or((full, moved));
            break from as f64 / since.elapsed().as_secs_f64();
        }
        if moved.elapsed() > PATIENCE {
            return Err(Failed::new(format!("{left} submissions wait, and none leaves")));
        }
        let asked = Instant::now();
        let page = ListIssuancesRequest { page_size: 20, ..ListIssuancesRequest::default() };
        client.list_issuances(page).await.map_err(because("list issuances"))?;
        lists.push(asked.elapsed().as_secs_f64() * 1e3);
        let asked = Instant::now();
        match place.scan().await {
            Ok(_) => starts.push(asked.elapsed().as_secs_f64() * 1e3),
            // The fixture is still at work on the one before.
            Err(refused) if refused.code() == Code::FailedPrecondition => {}
            Err(refused) => return Err(Failed::new(format!("a new issuance was refused: {refused}"))),
        }
        sleep(ASK_EVERY).await;
    };
    for ((name, process), before) in processes.into_iter().zip(&before) {
        let threads = process::times(process)?.since(before);
        let each = threads.whole().as_secs_f64() * 1e6 / full as f64;
        println!("bench drain: {name}, processor {each:.0} µs each: {}", threads.of(full as usize));
    }
    report.figure("drain-answer-status", median(statuses), AT_ONCE, "ms", Goal::AtMost(1.0));
    report.figure("drain-answer-list", median(lists), AT_ONCE, "ms", Goal::AtMost(1.0));
    report.figure("drain-answer-start", median(starts), AT_ONCE, "ms", Goal::AtMost(1.0));
    Ok(drained)
}
