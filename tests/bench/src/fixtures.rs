//! Issuances at fixtures with real TPMs that take as long as real ones: what the station adds to the device's own time,
//! how many fixtures it serves at once, and how often it waits for the disk.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use hsm_sim::Relay;
use line::{Line, Options};
use proto::station::v1::{
    GetIssuanceRequest, OpenLotRequest, StartIssuanceRequest, issuance::State,
    station_service_client::StationServiceClient,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::transport::Channel;

use crate::{
    Failed, because,
    figure::{Goal, Report, median},
};

/// Added to each command, so that an issuance takes as long as with a TPM of the slower kind (HARDWARE.md: 1 to 10 s), and
/// sixteen of them do not measure two processors.
const LATENCY: Duration = Duration::from_millis(40);
/// Between two looks whether an issuance is done.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Who looks is told what is on the disk, and has it synced: where syncs are counted nobody does before it is done.
const LOOK_SELDOM: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(120);
const LOT: &str = "lot-1";

/// Devices that are alone at the station before all others come at once.
const ALONE: usize = 3;

/// Measures it with so many fixtures at once.
pub(crate) async fn measure(binaries: &Path, at_once: usize, report: &mut Report) -> Result<(), Failed> {
    let options = Options {
        tpms: ALONE + at_once,
        tokens: 0,
        page: false,
        faults: true,
        binaries: Some(binaries.to_owned()),
        ..Options::default()
    };
    let mut line = Line::start(options).await.map_err(because("start a line"))?;
    let lot = OpenLotRequest { lot: LOT.into(), profile: "device-ca".into(), quantity: 1000 };
    let mut client = line.mes().map_err(because("reach the station"))?;
    client.open_lot(lot).await.map_err(because("open a lot"))?;
    for number in 1..=ALONE + at_once {
        relay(&line, number)?.set_latency(LATENCY);
    }

    let (mut walls, mut ratios, mut syncs) = (vec![], vec![], None);
    for number in 1..=ALONE {
        // The last of them is traced, which costs time.
        let traced = number == ALONE;
        if traced {
            // On a slow device the steps in between are synced one by one, so that they can be told: nobody waits for it.
            relay(&line, number)?.set_latency(Duration::ZERO);
        }
        let trace = if traced { Trace::of(&mut line)? } else { None };
        let every = if traced { LOOK_SELDOM } else { LOOK_EVERY };
        let seconds = issue(line.mes().map_err(because("reach the station"))?, number, every).await?;
        syncs = trace.map(Trace::end).transpose()?.or(syncs);
        if !traced {
            walls.push(seconds);
            ratios.push(seconds / relay(&line, number)?.busy().as_secs_f64());
        }
    }
    let alone = median(walls);
    report.figure("issuance-wall", alone, alone / median(ratios), "s", Goal::AtMost(1.10));
    if let Some(syncs) = syncs {
        report.figure("issuance-syncs", syncs as f64, 6.0, "", Goal::AtMost(1.0));
    }

    let began = Instant::now();
    let mut issuances = JoinSet::new();
    for number in ALONE + 1..=ALONE + at_once {
        issuances.spawn(issue(line.mes().map_err(because("reach the station"))?, number, LOOK_EVERY));
    }
    while let Some(issued) = issuances.join_next().await {
        issued.map_err(because("wait for an issuance"))??;
    }
    let together = began.elapsed().as_secs_f64();
    let (rate, of_one) = (at_once as f64 / together, 1.0 / alone);
    // Of 16, at least 15.
    report.figure("fixtures-rate", rate, of_one, "/s", Goal::AtLeast(at_once as f64 * 15.0 / 16.0));
    line.stop().map_err(because("stop the line"))
}

fn relay(line: &Line, number: usize) -> Result<&Relay, Failed> {
    line.hardware().relay(number).ok_or_else(|| Failed::new(format!("fixture-{number} has no relay")))
}

/// Scans the device of a fixture and waits until it is done; seconds.
async fn issue(mut client: StationServiceClient<Channel>, number: usize, every: Duration) -> Result<f64, Failed> {
    let began = Instant::now();
    let request = StartIssuanceRequest {
        lot: LOT.into(),
        device_serial: format!("SN-{number}"),
        fixture: format!("fixture-{number}"),
        ..StartIssuanceRequest::default()
    };
    let mut issuance = client.start_issuance(request).await.map_err(because("start an issuance"))?.into_inner();
    while issuance.state() != State::Completed {
        if matches!(issuance.state(), State::Failed | State::Quarantined) || began.elapsed() > PATIENCE {
            return Err(Failed::new(format!("SN-{number} is not issued: {issuance:?}")));
        }
        sleep(every).await;
        let name = GetIssuanceRequest { name: issuance.name.clone() };
        issuance = client.get_issuance(name).await.map_err(because("ask for an issuance"))?.into_inner();
    }
    Ok(began.elapsed().as_secs_f64())
}

/// strace at the station, counting the journal's syncs.
struct Trace {
    strace: Child,
    /// Kept open: it says more.
    _errors: Option<BufReader<ChildStderr>>,
    output: PathBuf,
}

impl Trace {
    /// `None` where strace may not trace.
    fn of(line: &mut Line) -> Result<Option<Self>, Failed> {
        let process = line.station().process_id().ok_or_else(|| Failed::new("the station does not run"))?;
        let output = line.directory().join("syncs.strace");
        let strace = Command::new("strace")
            .args(["-f", "-y", "-e", "trace=fsync,fdatasync", "-o"])
            .arg(&output)
            .args(["-p", &process.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut strace) = strace else {
            println!("bench: strace is not here, so that no syncs are counted: run deploy/dependencies.sh test");
            return Ok(None);
        };
        // It says when it is there.
        let mut words = String::new();
        let mut errors = strace.stderr.take().map(BufReader::new);
        if let Some(errors) = &mut errors {
            errors.read_line(&mut words).map_err(because("read what strace says"))?;
        }
        if words.contains("attached") {
            return Ok(Some(Self { strace, _errors: errors, output }));
        }
        let _ = strace.wait();
        println!("bench: strace may not trace here, so that no syncs are counted: {}", words.trim());
        Ok(None)
    }

    /// How often the journal was synced.
    fn end(mut self) -> Result<u64, Failed> {
        hsm_sim::child::end_process(self.strace.id(), PATIENCE).map_err(because("end strace"))?;
        let _ = self.strace.wait();
        let text = fs::read_to_string(&self.output).map_err(because("read a trace"))?;
        Ok(text.lines().filter(|line| line.contains("sync(") && line.contains(".seg>")).count() as u64)
    }
}
