//! Issues to every device through the public gRPC API, as an MES would, and follows the watch stream.

use std::{
    collections::BTreeMap,
    error::Error,
    time::{Duration, Instant},
};

use line::Line;
use proto::station::v1::{
    Event, Issuance, OpenLotRequest, StartIssuanceRequest, WatchRequest, event::Change, issuance::State,
};
use tokio::{task::JoinSet, time::interval};
use tonic::{Code, Status};

use crate::{CHECK_EVERY, start_ca_after};

const LOT: &str = "DEMO-LOT-1";
const LOT_QUANTITY: u32 = 10;
const PROFILE: &str = "device-ca";
/// A TPM makes an RSA-2048 key in seconds; four devices on a busy machine want patience. Waiting for a late CA comes on
/// top.
const PATIENCE: Duration = Duration::from_secs(120);

/// One device and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) fixture: String,
    pub(crate) device_serial: String,
    /// As the watch stream last had it.
    pub(crate) issuance: Issuance,
    /// From the request to its end.
    pub(crate) took: Duration,
}

impl Row {
    fn is_over(&self) -> bool {
        matches!(
            self.issuance.state(),
            State::Completed | State::Failed | State::Quarantined | State::Cancelled | State::InDoubt
        )
    }
}

/// Opens a lot, starts an issuance for the device in each fixture, all at once, and returns when each has come to an end.
pub(crate) async fn to_every_device(
    line: &mut Line,
    ca_late: Option<Duration>,
    begun: Instant,
) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut mes = line.mes()?;
    let lot = OpenLotRequest { lot: LOT.into(), profile: PROFILE.into(), quantity: LOT_QUANTITY };
    mes.open_lot(lot).await.map_err(|status| refused("to open the lot", &status))?;
    println!("Lot {LOT}: {LOT_QUANTITY} devices with the profile {PROFILE}.");
    let mut events =
        mes.watch(WatchRequest::default()).await.map_err(|status| refused("to watch", &status))?.into_inner();

    let mut rows = BTreeMap::new();
    let mut starts = JoinSet::new();
    for number in 1..=line.hardware().devices().count() {
        let (fixture, device_serial) = (format!("fixture-{number}"), format!("DEMO-{number:04}"));
        let request = StartIssuanceRequest {
            request_id: format!("demo-{device_serial}"),
            lot: LOT.into(),
            device_serial: device_serial.clone(),
            fixture: fixture.clone(),
            ..Default::default()
        };
        let mut mes = line.mes()?;
        starts.spawn(async move { (request.device_serial.clone(), mes.start_issuance(request).await) });
        let row =
            Row { fixture, device_serial: device_serial.clone(), issuance: Issuance::default(), took: Duration::ZERO };
        rows.insert(device_serial, row);
    }

    let deadline = begun + PATIENCE + ca_late.unwrap_or_default();
    if let Some(delay) = ca_late {
        println!("The CA starts in {} s; until then its work waits in the station's queue.", delay.as_secs());
    }
    let mut link = Link::default();
    let mut follow = async |line: Option<&mut Line>| -> Result<(), Box<dyn Error>> {
        let mut line = line;
        let mut tick = interval(CHECK_EVERY);
        while !rows.values().all(Row::is_over) {
            tokio::select! {
                event = events.message() => match event.map_err(|status| refused("to go on with the watch", &status))? {
                    Some(event) => follow_event(event, &mut rows, &mut link, begun),
                    None => return Err("the station ended the watch".into()),
                },
                Some(started) = starts.join_next() => {
                    let (device_serial, started) = started?;
                    started.map_err(|status| refused(&format!("to start the issuance for {device_serial}"), &status))?;
                }
                _ = tick.tick() => {
                    if let Some(line) = line.as_mut() {
                        line.check()?;
                    }
                    if Instant::now() > deadline {
                        let open = rows.values().filter(|row| !row.is_over()).map(still_open).collect::<Vec<_>>();
                        return Err(format!("not done in {} s: {}", begun.elapsed().as_secs(), open.join("; ")).into());
                    }
                }
            }
        }
        Ok(())
    };
    match ca_late {
        Some(delay) => {
            let ca = async { start_ca_after(line, delay).await.map_err(Box::from) };
            tokio::try_join!(follow(None), ca)?;
        }
        None => follow(Some(line)).await?,
    }
    Ok(rows.into_values().collect())
}

/// How the link to the CA was last told.
#[derive(Debug, Default)]
struct Link {
    down: bool,
}

fn follow_event(event: Event, rows: &mut BTreeMap<String, Row>, link: &mut Link, begun: Instant) {
    match event.change {
        Some(Change::Issuance(issuance)) => {
            let Some(row) = rows.get_mut(&issuance.device_serial) else { return };
            let before = (row.issuance.sequence != 0).then(|| row.issuance.state());
            if before != Some(issuance.state()) {
                let said = words(&issuance);
                println!("{:6.2} s  {}  {}  {said}", begun.elapsed().as_secs_f64(), row.fixture, row.device_serial);
            }
            row.took = begun.elapsed();
            row.issuance = issuance;
        }
        Some(Change::Station(station)) => {
            let Some(queue) = station.queue else { return };
            let down = !queue.link_up && !queue.last_error.is_empty();
            if down != link.down {
                let said = match down {
                    true => format!("The CA is away ({}); in the queue: {}", queue.last_error, queue.length),
                    false => format!("The CA is back; in the queue: {}", queue.length),
                };
                println!("{:6.2} s  {said}", begun.elapsed().as_secs_f64());
                link.down = down;
            }
        }
        Some(Change::Lot(_) | Change::GoldenCheck(_)) | None => {}
    }
}

/// Where an issuance stands, for a person.
fn words(issuance: &Issuance) -> String {
    let said = match issuance.state() {
        State::Unspecified => "in a state this program does not know",
        State::Requested => "accepted",
        State::DeviceIdentified => "device identified",
        State::KeyGenerationStarted => "key being generated in the device",
        State::KeyGenerated => "key generated in the device",
        State::ResidencyProven => "key proven to live in the device",
        State::RequestSigned => "certification request signed by the device",
        State::Submitted => "submitted to the CA",
        State::Issued => "certificate issued",
        State::WriteStarted => "certificate being written to the device",
        State::Written => "certificate written to the device",
        State::Verified => "verified on the device",
        State::Completed => "done",
        State::Failed => "FAILED",
        State::Quarantined => "SET ASIDE",
        State::Cancelled => "CANCELLED",
        State::InDoubt => "IN DOUBT",
    };
    match &issuance.failure {
        Some(failure) => format!("{said}: {} ({})", failure.message, failure.reason),
        None => said.to_owned(),
    }
}

fn still_open(row: &Row) -> String {
    let state = if row.issuance.sequence == 0 { "not heard of".to_owned() } else { words(&row.issuance) };
    format!("{} in {}: {state}", row.device_serial, row.fixture)
}

fn refused(what: &str, status: &Status) -> String {
    match status.code() {
        Code::Unavailable => format!("the station was asked {what} and could not be reached: {}", status.message()),
        code => format!("the station refused {what}: {} ({code:?})", status.message()),
    }
}
