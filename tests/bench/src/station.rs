//! A line whose station is asked, killed and started again.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use line::{Line, Options};
use proto::station::v1::{
    GetStationRequest, Issuance, StartIssuanceRequest, Station, fixture::State as FixtureState,
    station_service_client::StationServiceClient,
};
use tokio::time::{Instant, sleep};
use tonic::{Code, Status, transport::Channel};

use crate::{Failed, because, figure::median, past::LOT};

/// Between two attempts to reach a station that starts; a hundredth of what is measured.
const PAUSE: Duration = Duration::from_millis(5);
/// No start is as long; a hang ends here.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often a start is measured; the middle one counts.
const STARTS: usize = 3;

/// A client of the station, as the MES.
pub(crate) type Client = StationServiceClient<Channel>;

/// A line with one token in its one fixture, a CA that is away, and a station that does not run.
pub(crate) struct Place {
    pub(crate) line: Line,
    /// Devices that were scanned here.
    scanned: u64,
}

/// When a station answered, in seconds after its process was started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    /// The first question for its state.
    pub(crate) status: f64,
    /// The first request for a new issuance.
    pub(crate) start: f64,
}

impl Place {
    /// A new one.
    pub(crate) async fn new(binaries: &Path) -> Result<Self, Failed> {
        let options = Options {
            tpms: 0,
            tokens: 1,
            ca: false,
            page: false,
            binaries: Some(binaries.to_owned()),
            // A CA that comes back is met at once, so that no pause is measured.
            station_extra: "[queue]\nbound = 1000000\nretry_first = \"50ms\"\nretry_most = \"100ms\"\n".to_owned(),
            ..Options::default()
        };
        let mut line = Line::start(options).await.map_err(because("start a line"))?;
        line.stop_station().map_err(because("stop the station"))?;
        Ok(Self { line, scanned: 0 })
    }

    /// The station's configuration.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.line.directory().join("station.toml")
    }

    /// The station, as the MES sees it.
    pub(crate) fn client(&self) -> Result<Client, Failed> {
        self.line.mes().map_err(because("reach the station"))
    }

    /// Starts the station and waits until it is ready.
    pub(crate) async fn start(&mut self) -> Result<(), Failed> {
        self.line.start_station().await.map_err(because("start the station"))
    }

    /// Stops the station in order.
    pub(crate) fn stop(&mut self) -> Result<(), Failed> {
        self.line.stop_station().map_err(because("stop the station"))
    }

    /// Kills the running station and starts it again, some times; the middle of the times until it answered.
    pub(crate) async fn restarts(&mut self) -> Result<Answered, Failed> {
        let (mut statuses, mut starts) = (Vec::new(), Vec::new());
        for _ in 0..STARTS {
            self.idle().await?;
            self.line.kill_station().map_err(because("kill the station"))?;
            let answered = self.restart().await?;
            statuses.push(answered.status);
            starts.push(answered.start);
        }
        Ok(Answered { status: median(statuses), start: median(starts) })
    }

    async fn restart(&mut self) -> Result<Answered, Failed> {
        let began = Instant::now();
        self.line.station().spawn().map_err(because("start the station"))?;
        while station(&mut self.client()?).await.is_err() {
            self.may_still_come(began)?;
            sleep(PAUSE).await;
        }
        let status = began.elapsed().as_secs_f64();
        loop {
            match self.scan().await {
                Ok(_) => return Ok(Answered { status, start: began.elapsed().as_secs_f64() }),
                // Not ready for it yet.
                Err(refused) if refused.code() == Code::Unavailable => {}
                Err(refused) => return Err(Failed::new(format!("a new issuance was refused: {refused}"))),
            }
            self.may_still_come(began)?;
            sleep(PAUSE).await;
        }
    }

    fn may_still_come(&self, began: Instant) -> Result<(), Failed> {
        match began.elapsed() > PATIENCE {
            true => Err(Failed::new(format!("the station does not answer within {} s", PATIENCE.as_secs()))),
            false => Ok(()),
        }
    }

    /// Scans a device that was never seen. The token that sits there was, but that is found out later.
    pub(crate) async fn scan(&mut self) -> Result<Issuance, Status> {
        self.scanned += 1;
        let request = StartIssuanceRequest {
            lot: LOT.to_owned(),
            device_serial: format!("new-{}", self.scanned),
            fixture: "fixture-1".to_owned(),
            ..StartIssuanceRequest::default()
        };
        let mut client = self.client().map_err(|failed| Status::internal(failed.to_string()))?;
        client.start_issuance(request).await.map(tonic::Response::into_inner)
    }

    /// Waits until nothing is being done at the fixture.
    pub(crate) async fn idle(&self) -> Result<(), Failed> {
        let (began, mut client) = (Instant::now(), self.client()?);
        loop {
            let station = station(&mut client).await.map_err(because("ask the station"))?;
            if station.fixtures.iter().all(|fixture| fixture.state() == FixtureState::Idle) {
                return Ok(());
            }
            self.may_still_come(began)?;
            sleep(PAUSE).await;
        }
    }
}

/// The station's state.
pub(crate) async fn station(client: &mut Client) -> Result<Station, Status> {
    client.get_station(GetStationRequest {}).await.map(tonic::Response::into_inner)
}
