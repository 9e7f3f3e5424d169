//! A station that says what a test tells it to. Faults it can inject: any state, any refusal, silence, and an end in the
//! middle of a stream. The real station is tested in `tests/browser`.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use proto::station::v1::{
    AuthoriseLotRequest, BatchStartIssuancesRequest, BatchStartIssuancesResponse, CancelIssuanceRequest,
    CloseLotRequest, DeviceVerification, Event, Fixture, GetHealthRequest, GetIssuanceProofRequest, GetIssuanceRequest,
    GetIssuanceStoryRequest, GetLotRequest, GetStationRequest, Health, Issuance, IssuanceProof, IssuanceStory,
    ListIssuancesRequest, ListIssuancesResponse, ListLotsRequest, ListLotsResponse, Lot, LotReportPart, OpenLotRequest,
    Queue, ReleaseIssuanceRequest, ReportLotRequest, ReworkIssuanceRequest, ScrapDeviceRequest, StartIssuanceRequest,
    Station, Supervisor, VerifyDeviceRequest, WatchRequest,
    event::Change,
    fixture,
    issuance::State,
    lot,
    station_service_client::StationServiceClient,
    station_service_server::{StationService, StationServiceServer},
};
use tokio::{net::TcpListener, runtime::Runtime, sync::broadcast};
use tokio_stream::{Stream, StreamExt as _, wrappers::BroadcastStream};
use tonic::{
    Request, Response, Status,
    transport::{Endpoint, Server, server::TcpIncoming},
};

/// What the fake answers, and what it was asked.
pub(crate) struct Script {
    pub(crate) station: Station,
    pub(crate) lots: Vec<Lot>,
    /// What happened, as a journal.
    pub(crate) events: Vec<Event>,
    /// The answer to the next starts.
    pub(crate) answer: Result<Issuance, Status>,
    pub(crate) started: Vec<StartIssuanceRequest>,
    /// From where each stream was asked for.
    pub(crate) watched: Vec<Option<u64>>,
    /// What it can tell of issuances.
    pub(crate) stories: Vec<IssuanceStory>,
    pub(crate) health: Health,
    /// What supervisors decided: the act, why, and with which badge and PIN.
    pub(crate) decided: Vec<(String, String, String, String)>,
    /// The answer to the next decisions.
    pub(crate) ruling: Result<Issuance, Status>,
    /// The proof of every issuance.
    pub(crate) proof: Result<String, Status>,
    /// Which devices were to be checked.
    pub(crate) checked: Vec<VerifyDeviceRequest>,
    /// What a check comes to.
    pub(crate) verification: Result<DeviceVerification, Status>,
}

impl Service {
    fn decide(&self, act: &str, reason: String, supervisor: Option<Supervisor>) -> Result<Response<Issuance>, Status> {
        let mut script = self.script.lock().unwrap();
        let Supervisor { badge, pin } = supervisor.unwrap_or_default();
        script.decided.push((act.to_owned(), reason, badge, pin));
        script.ruling.clone().map(Response::new)
    }
}

#[derive(Clone)]
struct Service {
    script: Arc<Mutex<Script>>,
    live: broadcast::Sender<Event>,
}

/// A running fake.
pub(crate) struct Fake {
    service: Service,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Fake {
    /// Two empty fixtures and one open lot.
    pub(crate) async fn start() -> Self {
        let script = Script {
            station: Station {
                station: "station-1".into(),
                fixtures: vec![fixture("fixture-1", None), fixture("fixture-2", None)],
                queue: Some(Queue { bound: 100, link_up: true, ..Queue::default() }),
                profiles: vec!["device-ca".into()],
                ..Station::default()
            },
            lots: vec![lot("LOT-1", 10, 3)],
            events: Vec::new(),
            answer: Err(Status::unimplemented("the test gave no answer")),
            started: Vec::new(),
            watched: Vec::new(),
            stories: Vec::new(),
            health: Health::default(),
            decided: Vec::new(),
            ruling: Ok(Issuance::default()),
            proof: Ok("{}".into()),
            checked: Vec::new(),
            verification: Err(Status::unimplemented("the test gave no answer")),
        };
        let service = Service { script: Arc::new(Mutex::new(script)), live: broadcast::channel(1000).0 };
        let mut fake = Self { service, address: SocketAddr::from(([127, 0, 0, 1], 0)), runtime: None };
        fake.serve().await;
        fake
    }

    /// Serves, again at the same address after `stop`.
    pub(crate) async fn serve(&mut self) {
        // A runtime of its own, so that dropping it cuts every connection as a killed process does.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let bound = tokio::time::timeout(Duration::from_secs(15), async {
            loop {
                match TcpListener::bind(self.address).await {
                    Ok(listener) => break listener.into_std().unwrap(),
                    // The connections that were cut are still closing.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        });
        let listener = bound.await.expect("the address is free again");
        self.address = listener.local_addr().unwrap();
        let service = StationServiceServer::new(self.service.clone());
        runtime.spawn(async move {
            let incoming = TcpIncoming::from(TcpListener::from_std(listener).unwrap());
            Server::builder().add_service(service).serve_with_incoming(incoming).await
        });
        self.runtime = Some(runtime);
    }

    /// Ends at once, in the middle of whatever it does.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// A client, as the page is one.
    pub(crate) fn client(&self) -> StationServiceClient<service::traces::Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        StationServiceClient::new(endpoint.connect_timeout(Duration::from_secs(3)).connect_lazy().into())
    }

    /// Changes what it answers from now on.
    pub(crate) fn script<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.service.script.lock().unwrap())
    }

    /// Something happens: it is written down and streamed.
    pub(crate) fn happens(&self, change: Change) -> u64 {
        let mut script = self.service.script.lock().unwrap();
        let sequence = script.events.len() as u64 + 1;
        let event = Event { sequence, time: None, change: Some(change) };
        script.events.push(event.clone());
        let _ = self.service.live.send(event);
        sequence
    }

    /// An issuance comes to stand in a fixture, and everybody is told.
    pub(crate) fn shows(&self, place: &str, shown: Issuance) -> u64 {
        let station = self.script(|script| {
            let name = format!("fixtures/{place}");
            let fixture = script.station.fixtures.iter_mut().find(|fixture| fixture.name == name).unwrap();
            let busy = !matches!(shown.state(), State::Completed | State::Failed | State::Quarantined);
            fixture.state = if busy { fixture::State::Busy } else { fixture::State::Idle }.into();
            fixture.issuance = Some(shown.clone());
            script.station.clone()
        });
        self.happens(Change::Station(station))
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A fixture.
pub(crate) fn fixture(name: &str, issuance: Option<Issuance>) -> Fixture {
    Fixture { name: format!("fixtures/{name}"), keystore: "tpm".into(), state: fixture::State::Idle.into(), issuance }
}

/// An open lot.
pub(crate) fn lot(name: &str, quantity: u32, completed: u32) -> Lot {
    Lot {
        name: format!("lots/{name}"),
        profile: "device-ca".into(),
        quantity,
        started: completed,
        completed,
        state: lot::State::Open.into(),
        create_time: None,
        authorisation_id: String::new(),
    }
}

/// An issuance.
pub(crate) fn issuance(device_serial: &str, state: State) -> Issuance {
    let now = std::time::SystemTime::now();
    Issuance {
        name: format!("issuances/{device_serial}"),
        lot: "LOT-1".into(),
        device_serial: device_serial.into(),
        profile: "device-ca".into(),
        fixture: "fixture-1".into(),
        common_name: format!("{device_serial}.ca"),
        state: state.into(),
        create_time: Some((now - Duration::from_millis(3_200)).into()),
        update_time: Some(now.into()),
        next_action: match state {
            State::Submitted => "Waiting for the CA. The device may go on the shelf: scan it again later.",
            State::Completed => "Ship it.",
            State::Issued => "The certificate is here. If the device was taken out, put it back and scan it again.",
            _ => "Leave the device in the fixture.",
        }
        .into(),
        sequence: 1 + u64::try_from(i32::from(state)).unwrap(),
        ..Issuance::default()
    }
}

#[tonic::async_trait]
impl StationService for Service {
    async fn start_issuance(&self, request: Request<StartIssuanceRequest>) -> Result<Response<Issuance>, Status> {
        let mut script = self.script.lock().unwrap();
        script.started.push(request.into_inner());
        script.answer.clone().map(Response::new)
    }

    async fn get_station(&self, _: Request<GetStationRequest>) -> Result<Response<Station>, Status> {
        Ok(Response::new(self.script.lock().unwrap().station.clone()))
    }

    async fn list_lots(&self, _: Request<ListLotsRequest>) -> Result<Response<ListLotsResponse>, Status> {
        let lots = self.script.lock().unwrap().lots.clone();
        Ok(Response::new(ListLotsResponse { lots, next_page_token: String::new() }))
    }

    type ReportLotStream = Pin<Box<dyn Stream<Item = Result<LotReportPart, Status>> + Send>>;

    async fn report_lot(&self, _: Request<ReportLotRequest>) -> Result<Response<Self::ReportLotStream>, Status> {
        Err(Status::unimplemented("the page does not ask for it"))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let mut script = self.script.lock().unwrap();
        let after = request.into_inner().after_sequence;
        script.watched.push(after);
        if after.is_some_and(|after| after > script.events.len() as u64) {
            return Err(Status::out_of_range("the journal is not that long"));
        }
        let before: Vec<Event> =
            script.events.iter().filter(|event| after.is_some_and(|after| event.sequence > after)).cloned().collect();
        let live = BroadcastStream::new(self.live.subscribe()).filter_map(Result::ok);
        Ok(Response::new(Box::pin(tokio_stream::iter(before).chain(live).map(Ok))))
    }

    async fn release_issuance(&self, request: Request<ReleaseIssuanceRequest>) -> Result<Response<Issuance>, Status> {
        let ReleaseIssuanceRequest { supervisor, new_hardware, .. } = request.into_inner();
        self.decide(if new_hardware { "release with new hardware" } else { "release" }, String::new(), supervisor)
    }

    async fn batch_start_issuances(
        &self,
        _: Request<BatchStartIssuancesRequest>,
    ) -> Result<Response<BatchStartIssuancesResponse>, Status> {
        Err(Status::unimplemented("the page does not ask for it"))
    }

    async fn authorise_lot(&self, _: Request<AuthoriseLotRequest>) -> Result<Response<Lot>, Status> {
        Err(Status::unimplemented("the page does not ask for it"))
    }

    async fn cancel_issuance(&self, request: Request<CancelIssuanceRequest>) -> Result<Response<Issuance>, Status> {
        let CancelIssuanceRequest { reason, supervisor, .. } = request.into_inner();
        self.decide("cancel", reason, supervisor)
    }

    async fn rework_issuance(&self, request: Request<ReworkIssuanceRequest>) -> Result<Response<Issuance>, Status> {
        let ReworkIssuanceRequest { reason, supervisor, new_key, new_hardware, fixture, .. } = request.into_inner();
        let act = match (new_key, new_hardware) {
            (true, _) => "rework with a new key".to_owned(),
            (_, true) => format!("rework with new hardware in {fixture}"),
            _ => "rework".to_owned(),
        };
        self.decide(&act, reason, supervisor)
    }

    async fn scrap_device(&self, request: Request<ScrapDeviceRequest>) -> Result<Response<Issuance>, Status> {
        let ScrapDeviceRequest { reason, supervisor, .. } = request.into_inner();
        self.decide("scrap", reason, supervisor)
    }

    async fn get_issuance_proof(&self, _: Request<GetIssuanceProofRequest>) -> Result<Response<IssuanceProof>, Status> {
        self.script.lock().unwrap().proof.clone().map(|proof| Response::new(IssuanceProof { proof }))
    }

    async fn get_issuance(&self, _: Request<GetIssuanceRequest>) -> Result<Response<Issuance>, Status> {
        Err(Status::unimplemented("the page does not ask for it"))
    }

    async fn list_issuances(
        &self,
        request: Request<ListIssuancesRequest>,
    ) -> Result<Response<ListIssuancesResponse>, Status> {
        let asked = request.into_inner();
        if asked.device_serial.contains(' ') || asked.certificate_serial.contains('-') {
            return Err(Status::invalid_argument("this is none"));
        }
        let script = self.script.lock().unwrap();
        let fits = |issuance: &&Issuance| {
            (!asked.lot.is_empty() && issuance.lot == asked.lot)
                || (!asked.device_serial.is_empty() && issuance.device_serial == asked.device_serial)
                || (!asked.common_name.is_empty() && issuance.common_name == asked.common_name)
                || (!asked.certificate_serial.is_empty() && issuance.certificate_serial == asked.certificate_serial)
        };
        let told = script.stories.iter().filter_map(|story| story.issuance.as_ref());
        let issuances = told.filter(fits).cloned().collect();
        Ok(Response::new(ListIssuancesResponse { issuances, next_page_token: String::new() }))
    }

    async fn get_health(&self, _: Request<GetHealthRequest>) -> Result<Response<Health>, Status> {
        Ok(Response::new(self.script.lock().unwrap().health.clone()))
    }

    async fn get_issuance_story(
        &self,
        request: Request<GetIssuanceStoryRequest>,
    ) -> Result<Response<IssuanceStory>, Status> {
        let script = self.script.lock().unwrap();
        let name = request.into_inner().name;
        let told = script.stories.iter().find(|story| story.issuance.as_ref().is_some_and(|told| told.name == name));
        told.cloned().map(Response::new).ok_or_else(|| Status::not_found("there is no such issuance"))
    }

    async fn verify_device(
        &self,
        request: Request<VerifyDeviceRequest>,
    ) -> Result<Response<DeviceVerification>, Status> {
        let mut script = self.script.lock().unwrap();
        script.checked.push(request.into_inner());
        script.verification.clone().map(Response::new)
    }

    async fn open_lot(&self, _: Request<OpenLotRequest>) -> Result<Response<Lot>, Status> {
        Err(Status::unimplemented("the page does not ask for it"))
    }

    async fn close_lot(&self, _: Request<CloseLotRequest>) -> Result<Response<Lot>, Status> {
        Err(Status::unimplemented("the page does not ask for it"))
    }

    async fn get_lot(&self, _: Request<GetLotRequest>) -> Result<Response<Lot>, Status> {
        Err(Status::unimplemented("the page does not ask for it"))
    }
}
