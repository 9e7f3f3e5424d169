//! The station put together: the one file that names the concrete parts.

mod recording;

use std::{
    fs, io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use issuance::{Keystore as _, record::Provenance, submission::Repeats};
use journal::{Journal, JournalError, LogError, Projections, TransparencyLog};
use keystore::worker::{Deadlines, Worker, WorkerSettings};
use proto::station::v1::station_service_server::StationServiceServer;
use service::{
    crash,
    gate::Gate,
    grpc as grpc_server,
    grpc::MESSAGE_BYTES_MAX,
    metrics::Served,
    restart,
    shutdown::Shutdown,
    tls::{Listener, TlsError},
    traces::BeginError,
};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use self::recording::{AnswerDesk, FixtureRecords};
use crate::{
    board::Board,
    configuration::{FixtureSettings, StationConfiguration},
    confirmation,
    connector::grpc::GrpcConnector,
    driver::{Driver, Halted, Records as _},
    events::{
        self, Follower,
        webhook::{self, Webhook},
    },
    fixtures::{self, Fixtures, Task},
    grpc::{RULES, StationApi},
    health::Health,
    inspection,
    ledger::{Change, Ledger, LedgerRefused},
    metrics,
    rows::StationRows,
    submission::{self, Link},
    supervisors::Supervisors,
    watchman::{Watchman, halt, halt_for},
    witness,
};

/// What is not on the disk by itself is written after this long, so that it can be told: a person sees no difference, and
/// on a fast device the steps in between share their syncs.
const TOLD_WITHIN: Duration = Duration::from_millis(300);

/// Why the station did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum StationError {
    /// The journal or its rows.
    #[error("could not open the journal in {}", directory.display())]
    Journal {
        /// Where.
        directory: PathBuf,
        /// Why.
        source: LogError,
    },
    /// The journal's end.
    #[error("could not close the journal")]
    Close(#[source] JournalError),
    /// A directory.
    #[error("could not make the directory {}", directory.display())]
    Directory {
        /// Which.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The rows do not fit the journal.
    #[error("could not read the station's open issuances")]
    Open(#[source] LedgerRefused),
    /// A listener or connector.
    #[error("could not set up TLS")]
    Tls(#[from] TlsError),
    /// The export of traces.
    #[error("could not begin to export traces")]
    Traces(#[from] BeginError),
    /// A thread or this program's own path.
    #[error("could not start {what}")]
    Start {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A disk was well again, and the process could not begin anew.
    #[error("could not start anew")]
    Restart(#[source] io::Error),
    /// The server ended.
    #[error("the gRPC server failed")]
    Serve(#[from] tonic::transport::Error),
}

impl StationError {
    /// Whether the disk is at fault.
    #[must_use]
    pub fn is_of_disk(&self) -> bool {
        match self {
            Self::Journal { source, .. } => source.is_of_disk(),
            Self::Directory { .. } => true,
            _ => false,
        }
    }
}

/// Runs a station until shutdown is requested. `ready` is told the address once requests are answered.
pub async fn run(
    configuration: StationConfiguration,
    shutdown: Shutdown,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), StationError> {
    let StationConfiguration { listen, callers, authority, queue, fixtures: settings, devices, .. } = &configuration;
    make_directory(&configuration.journal)?;
    make_directory(devices)?;
    let listener = Listener::bind(listen.address, &listen.tls, &configuration.limits).await?;
    // Whoever makes a second certificate when asked again is listened to for longer than the queue waits.
    let longer = if authority.terms.repeats == Repeats::New { submission::LATE_MOST } else { Duration::ZERO };
    let connector = GrpcConnector::new(authority, queue.timeout + longer)?;
    let confirmer = connector.clone();
    let lots = Arc::new(connector.clone());

    let (changes, changed) = mpsc::unbounded_channel();
    let (ledger, log) = open_ledger(&configuration, changes)?;
    let ledger = Arc::new(ledger);
    let witness = connector.witness(log.clone());
    let last_witness = witness.clone();
    let (link, link_view) = watch::channel(Link::default());
    let board = Arc::new(Board::new(provenance(&configuration), link_view, shutdown.clone()));
    spawn("publisher", {
        let (journal, board) = (ledger.journal().clone(), Arc::clone(&board));
        // Ends with the ledger's last handle.
        move || publish(changed, &journal, &board)
    })?;

    if let Err(wrong) = ledger.clock().now() {
        halt(&board, &wrong.into());
    }
    let (fixtures, threads) = start_fixtures(&configuration, settings, &ledger, &board)?;
    go_on(&ledger, &fixtures).map_err(StationError::Open)?;
    let sender = tokio::spawn(submission::run(
        Arc::clone(&ledger),
        connector,
        Arc::new(AnswerDesk {
            ledger: Arc::clone(&ledger),
            fixtures: Arc::clone(&fixtures),
            authority: authority.name.clone(),
            board: Arc::clone(&board),
        }),
        *queue,
        link,
        shutdown.clone(),
    ));

    let told = match &configuration.webhook {
        Some(settings) => {
            let receiver = Webhook::new(&configuration.station, settings)?;
            let cursor = events::cursor_file(&configuration.journal, webhook::KIND);
            let follower = Follower::new(Arc::clone(&ledger), Arc::clone(&board), receiver, cursor, *queue);
            let standing = follower.standing();
            tokio::spawn(follower.follow(shutdown.clone()));
            Some(standing)
        }
        None => None,
    };
    let witnessing = tokio::spawn(witness::run(witness, Arc::clone(&board), shutdown.clone()));
    let confirming = tokio::spawn(confirmation::run(Arc::clone(&ledger), confirmer, *queue, shutdown.clone()));

    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<StationServiceServer<StationApi>>().await;
    let watchman = Watchman {
        ledger: Arc::clone(&ledger),
        board: Arc::clone(&board),
        sender: sender.abort_handle(),
        health,
        directory: configuration.journal.clone(),
        file: configuration.file.clone(),
    };
    let watchman = tokio::spawn(watchman.watch(shutdown.clone()));
    let supervisors = Supervisors::new(configuration.supervisors.clone(), &configuration.journal)
        .map_err(|source| StationError::Start { what: "the count of supervisors' tries", source })?;
    let api = StationApi::new(Arc::clone(&ledger), Arc::clone(&fixtures), Arc::clone(&board), supervisors, lots)
        .with_health(Health::of(&configuration).with_events(told.clone()))
        .with_log(configuration.checkpoints.directory.clone());
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // The descriptors hold the CA's service as well, which does not answer here.
            .with_service_name("station.v1.StationService")
            .with_service_name("grpc.health.v1.Health")
    };
    let failed = |source| StationError::Start { what: "reflection", source: io::Error::other(source) };
    // Python's grpcio-reflection and older grpcurl know the alpha alone.
    let (reflection, alpha) = (reflection().build_v1().map_err(failed)?, reflection().build_v1alpha().map_err(failed)?);

    let metrics = match configuration.metrics {
        Some(address) => {
            Some(Served::bind(address).await.map_err(|source| StationError::Start { what: "metrics", source })?)
        }
        None => None,
    };
    let scraped = metrics.map(|served| {
        if let Ok(address) = served.local_address() {
            info!(%address, "metrics are served");
        }
        let registry = metrics::registry(Arc::clone(&ledger), Arc::clone(&fixtures), Arc::clone(&board), told);
        tokio::spawn(served.serve(registry, shutdown.requested()))
    });
    let address = listener.local_address();
    info!(%address, fixtures = settings.len(), "the station is ready");
    crash::point("station.start.serving");
    ready(address);
    let served = grpc_server::server()
        .layer(Gate::new(callers.clone(), RULES, &configuration.limits))
        .add_service(health_service)
        .add_service(reflection)
        .add_service(alpha)
        .add_service(
            StationServiceServer::new(api)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
        )
        .serve_with_incoming_shutdown(listener.incoming(), shutdown.requested())
        .await;

    if let Some(scraped) = scraped {
        shutdown.request();
        let _ = scraped.await;
    }
    // Stop accepting, finish the current act, stop connectors, last sync, rows (DESIGN §9).
    crash::point("station.stop.serving-ended");
    shutdown.request();
    drop(fixtures);
    let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join()))).await;
    if joined.is_err() {
        warn!("a fixture's thread did not end well");
    }
    crash::point("station.stop.fixtures-ended");
    let _ = sender.await;
    let _ = confirming.await;
    let _ = watchman.await;
    if shutdown.is_restart() {
        // Nothing is closed: what stands in memory is ahead of a disk that failed, and is not to reach it.
        return Err(StationError::Restart(restart::exec()));
    }
    let _ = witnessing.await;
    if let Ok(Err(wrong)) = tokio::task::spawn_blocking(move || log.close()).await {
        warn!(wrong, "the last checkpoint was not written; the next start makes it");
    }
    if board.halted().is_none() {
        last_witness.farewell().await;
    }
    ledger.close().map_err(StationError::Close)?;
    served.map_err(StationError::Serve)
}

fn make_directory(directory: &Path) -> Result<(), StationError> {
    fs::create_dir_all(directory).map_err(|source| StationError::Directory { directory: directory.to_owned(), source })
}

fn open_ledger(
    configuration: &StationConfiguration,
    changes: mpsc::UnboundedSender<Change>,
) -> Result<(Ledger, TransparencyLog), StationError> {
    let directory = &configuration.journal;
    let failed = |source| StationError::Journal { directory: directory.clone(), source };
    let (journal, log, recovery) =
        TransparencyLog::open(&configuration.journal_options(), configuration.checkpoints.clone()).map_err(failed)?;
    let failed = |source: JournalError| failed(source.into());
    if let Some(torn) = &recovery.torn {
        warn!(%torn, "the journal had a torn tail, which was never acknowledged and is cut");
    }
    crash::point("station.start.journal-open");
    let mut progress = |done: u64, all: u64| info!(done, all, "reading the journal");
    // A lost row could let a CN be given twice: the CA has a register of its own, and refuses.
    let rows =
        Projections::open_soon(&journal, &directory.join("projections"), StationRows, &mut progress).map_err(failed)?;
    crash::point("station.start.rows-open");
    info!(records = recovery.records, "the journal is open");
    let authority = &configuration.authority;
    let ledger = Ledger::new(journal, rows, configuration.profiles.clone(), configuration.queue.bound, changes);
    let ledger = ledger.map(|ledger| ledger.with_authority(&authority.name, authority.terms)).map_err(failed)?;
    Ok((ledger, log))
}

fn this_program() -> Result<PathBuf, StationError> {
    std::env::current_exe().map_err(|source| StationError::Start { what: "this program's path", source })
}

fn provenance(configuration: &StationConfiguration) -> Provenance {
    Provenance {
        site: configuration.site.clone(),
        line: configuration.line.clone(),
        station: configuration.station.clone(),
        part_revision: configuration.part_revision.clone(),
        software_version: env!("CARGO_PKG_VERSION").to_owned(),
        configuration_sha256: configuration.sha256,
        profile_sha256: [0; 32],
    }
}

/// Tells watchers what changed, once it is on the disk.
fn publish(mut changed: mpsc::UnboundedReceiver<Change>, journal: &Journal, board: &Board) {
    while let Some(first) = changed.blocking_recv() {
        let mut batch = vec![first];
        while let Ok(next) = changed.try_recv() {
            batch.push(next);
        }
        if let Err(error) = journal.sync_within(TOLD_WITHIN) {
            return halt_for(board, &error);
        }
        for change in batch {
            board.tell(change);
        }
    }
}

fn start_fixtures(
    configuration: &StationConfiguration,
    settings: &[FixtureSettings],
    ledger: &Arc<Ledger>,
    board: &Arc<Board>,
) -> Result<(Arc<Fixtures>, Vec<JoinHandle<()>>), StationError> {
    let program = this_program()?;
    let mut places = Vec::with_capacity(settings.len());
    for fixture in settings {
        let last = ledger.last_at(&fixture.name).map_err(StationError::Open)?;
        places.push((fixture.name.clone(), fixture.kind(), last));
    }
    let (fixtures, receivers) = Fixtures::new(places);
    let fixtures = Arc::new(fixtures);
    let mut threads = Vec::with_capacity(settings.len());
    for (settings, receiver) in settings.iter().zip(receivers) {
        let mut worker = Worker::new(WorkerSettings {
            program: program.clone(),
            arguments: vec!["keystore-worker".into()],
            keystore: settings.keystore.clone(),
            environment: settings.environment.clone(),
            lock: Some(configuration.journal.join(format!("{}.lock", settings.name))),
            deadlines: Deadlines::default(),
        });
        let records = FixtureRecords {
            ledger: Arc::clone(ledger),
            fixture: settings.name.clone(),
            kind: settings.kind(),
            authority: configuration.authority.name.clone(),
            board: Arc::clone(board),
        };
        let (devices, board, weak) = (configuration.devices.clone(), Arc::clone(board), Arc::downgrade(&fixtures));
        let (fixture, alarm) = (settings.name.clone(), Arc::clone(&board));
        let mut perform = move |task| {
            let tell: Box<dyn FnOnce()> = match task {
                Task::Look(answer) => {
                    let seen = worker.identify();
                    Box::new(move || drop(answer.send(seen)))
                }
                Task::Inspect(asked, answer) => {
                    let found = inspection::inspect(&mut worker, &records.ledger, &asked);
                    if let Err(refused) = &found {
                        halt(&board, refused);
                    }
                    Box::new(move || drop(answer.send(found)))
                }
                Task::Work(id, asked) => {
                    let mut driver = Driver { keystore: &mut worker, records: &records, devices: &devices };
                    if let Err(Halted(words)) = records.visit(id).within(|| driver.work(id, asked)) {
                        board.halt(&words);
                    }
                    Box::new(|| ())
                }
            };
            let Some(fixtures) = weak.upgrade() else { return false };
            if let Some(fixture) = fixtures.get(&records.fixture) {
                fixtures.release(fixture);
            }
            // Only now: who asked reserves the fixture next. It may have stopped waiting.
            tell();
            !records.is_stopping()
        };
        // A mistake of ours must be seen, not be a fixture that never gets free.
        let perform = move |task| {
            catch_unwind(AssertUnwindSafe(|| perform(task))).unwrap_or_else(|_| {
                alarm.halt(&format!("The work at {fixture} ended unexpectedly: restart the station, keep its log."));
                false
            })
        };
        let thread = fixtures::spawn(&settings.name, receiver, perform)
            .map_err(|source| StationError::Start { what: "a fixture's thread", source })?;
        threads.push(thread);
    }
    Ok((fixtures, threads))
}

/// After a start: what was under way goes on where its device last was. What was under way at a fixture that has since
/// met another device waits for its own to be scanned.
fn go_on(ledger: &Ledger, fixtures: &Fixtures) -> Result<(), LedgerRefused> {
    for fixture in fixtures.all() {
        let Some(id) = fixture.status().1 else { continue };
        let Some((issuance, _)) = ledger.get(id)? else { continue };
        if ledger.profiles().get(&issuance.request.profile).is_none() {
            warn!(issuance = %id, profile = %issuance.request.profile, "the last issuance's profile is gone");
        } else if issuance.state.stop().is_none() && issuance.state.awaits_answer().is_none() {
            fixtures.go_on(&issuance.fixture, id);
        }
    }
    Ok(())
}

fn spawn(what: &'static str, body: impl FnOnce() + Send + 'static) -> Result<(), StationError> {
    std::thread::Builder::new()
        .name(what.to_owned())
        .spawn(body)
        .map(drop)
        .map_err(|source| StationError::Start { what, source })
}
