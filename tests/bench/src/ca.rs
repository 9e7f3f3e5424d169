//! The CA alone, over its real front: certificates a second and the processor's time for each, beside what the token, one
//! verification and one sync cost in the same run, and beside `openssl ca` with the same token.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use issuance::request::CertificationRequest;
use proto::ca::v1::{
    IssueBatchRequest, certificate_authority_service_client::CertificateAuthorityServiceClient, issue_result::Outcome,
};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    Failed, because,
    c_sign::{self, Raw},
    drain,
    figure::{Goal, Report, median},
    openssl,
    process::{self, Times},
    station::Place,
};

/// Requests that are sent before anything is measured.
const WARM: usize = 32;
/// How often one verification and one sync are measured.
const SAMPLES: usize = 64;

/// What one stage took.
struct Stage {
    /// Certificates a second.
    rate: f64,
    /// Seconds of the processor for one, in the server and its keystore worker.
    cpu: f64,
    /// The middle answer, in seconds.
    answer: f64,
    /// By thread.
    threads: Times,
}

/// Measures it.
pub(crate) async fn measure(binaries: &Path, most: usize, openssl: usize, report: &mut Report) -> Result<(), Failed> {
    let mut place = Place::new(binaries).await?;
    let raw = c_sign_of(&place)?;
    let verify = verify()?;
    let sync = sync(place.line.directory())?;
    println!(
        "bench ca: C_Sign {:.0}/s, {:.1} µs of it processor; verify {:.1} µs; sync {:.2} ms",
        raw.rate,
        raw.cpu * 1e6,
        verify * 1e6,
        sync * 1e3
    );
    let own = verify + raw.cpu;
    let plain = openssl::measure(&place.line, openssl)?;
    report.figure("openssl-ca", plain.rate, raw.rate, "/s", Goal::Told);
    report.figure("openssl-ca-cpu", plain.cpu * 1e6, own * 1e6, "us", Goal::Told);
    place.line.start_ca().await.map_err(because("start the CA"))?;
    stage(&mut place, "warm", 1, 1, WARM, report).await?;
    let alone = stage(&mut place, "alone", 1, 1, (most / 32).max(WARM), report).await?;
    let some = stage(&mut place, "some", 16, 1, (most / 4).max(WARM), report).await?;
    let many = stage(&mut place, "many", 256, 1, most, report).await?;
    let batched = stage(&mut place, "batched", 2, 128, most, report).await?;
    let stages = [("ca-cpu-1", &alone), ("ca-cpu-16", &some), ("ca-cpu-256", &many), ("ca-cpu-256-batched", &batched)];
    for (name, stage) in stages {
        report.figure(name, stage.cpu * 1e6, own * 1e6, "us", Goal::AtMost(2.0));
    }
    report.figure("ca-rate-1", alone.rate, raw.rate, "/s", Goal::Told);
    report.figure("ca-rate-16", some.rate, raw.rate, "/s", Goal::Told);
    report.figure("ca-rate-256", many.rate, raw.rate, "/s", Goal::AtLeast(0.3));
    report.figure("ca-rate-256-batched", batched.rate, raw.rate, "/s", Goal::AtLeast(0.3));
    report.figure("ca-rate-openssl", many.rate, plain.rate, "/s", Goal::Told);
    report.figure("ca-answer-1", alone.answer * 1e3, (sync + raw.wall) * 1e3, "ms", Goal::AtMost(5.0));
    place.line.stop().map_err(because("stop the line"))
}

/// So many certificates, by so many calls at the same time with so many requests each: one, or a batch as stations send it.
async fn stage(
    place: &mut Place,
    name: &str,
    calls_at_once: usize,
    batch: usize,
    count: usize,
    report: &mut Report,
) -> Result<Stage, Failed> {
    let mut waiting = drain::requests(name, count)?.into_iter().flat_map(|batch| batch.requests);
    let channel = place.line.authority().map_err(because("reach the CA"))?;
    let client = CertificateAuthorityServiceClient::new(channel).max_decoding_message_size(64 << 20);
    let process = place.line.ca().process_id().ok_or_else(|| Failed::new("the CA does not run"))?;
    let before = process::times(process)?;
    let (mut answers, mut issued, began) = (Vec::with_capacity(count), 0, Instant::now());
    let mut calls = JoinSet::new();
    loop {
        while calls.len() < calls_at_once {
            let requests: Vec<_> = waiting.by_ref().take(batch).collect();
            if requests.is_empty() {
                break;
            }
            let mut client = client.clone();
            calls.spawn(async move {
                let asked = Instant::now();
                let answer = client.issue_batch(IssueBatchRequest { requests }).await;
                (asked.elapsed(), answer)
            });
        }
        let Some(ended) = calls.join_next().await else { break };
        let (took, answer): (Duration, _) = ended.map_err(because("ask the CA"))?;
        let results = answer.map_err(because("ask the CA"))?.into_inner().results;
        issued += results.iter().filter(|result| matches!(result.outcome, Some(Outcome::Issued(_)))).count();
        answers.push(took.as_secs_f64());
    }
    let seconds = began.elapsed().as_secs_f64();
    let threads = process::times(process)?.since(&before);
    report.promise(issued == count, || format!("of {count} requests the CA issued {issued}"));
    let stage = Stage {
        rate: count as f64 / seconds,
        cpu: threads.whole().as_secs_f64() / count as f64,
        answer: median(answers),
        threads,
    };
    println!(
        "bench ca: {} in flight, {batch} in a call: {:.0}/s, an answer {:.2} ms, processor {:.0} µs each: {}",
        calls_at_once * batch,
        stage.rate,
        stage.answer * 1e3,
        stage.cpu * 1e6,
        stage.threads.of(count)
    );
    Ok(stage)
}

/// This program again, with the token's environment, on the CA's own token while the CA does not run.
fn c_sign_of(place: &Place) -> Result<Raw, Failed> {
    let token = place.line.hardware().ca();
    let program = std::env::current_exe().map_err(because("find this program"))?;
    let mut command = Command::new(program);
    command.arg("--c-sign").arg(token.module()).envs(token.environment());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(because("start this program again"))?;
    if let Some(input) = child.stdin.as_mut() {
        input.write_all(format!("{}\n{}\n", token.label(), token.pin()).as_bytes()).map_err(because("tell the PIN"))?;
    }
    let output = child.wait_with_output().map_err(because("wait for the raw signatures"))?;
    c_sign::read(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| Failed::new("the token's raw signatures could not be measured"))
}

/// One request read and its proof of possession verified, in seconds.
fn verify() -> Result<f64, Failed> {
    let requests: Vec<Vec<u8>> = drain::requests("verify", SAMPLES)?
        .into_iter()
        .flat_map(|batch| batch.requests)
        .map(|request| request.certification_request)
        .collect();
    let mut each = Vec::new();
    for request in &requests {
        let began = std::time::Instant::now();
        CertificationRequest::from_der(request).map_err(because("verify a request"))?;
        each.push(began.elapsed().as_secs_f64());
    }
    Ok(median(each))
}

/// A KiB appended and synced where the CA's journal is, in seconds.
fn sync(directory: &Path) -> Result<f64, Failed> {
    let path = directory.join("sync");
    let failed = because("measure a sync");
    let mut file = File::create(&path).map_err(&failed)?;
    let mut each = Vec::new();
    for _ in 0..SAMPLES {
        let began = std::time::Instant::now();
        file.write_all(&[0; 1_024]).and_then(|()| file.sync_data()).map_err(&failed)?;
        each.push(began.elapsed().as_secs_f64());
    }
    std::fs::remove_file(path).map_err(failed)?;
    Ok(median(each))
}
