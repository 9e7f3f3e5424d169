//! The server: the authority behind mutual TLS, with health and reflection.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use proto::ca::v1::{
    administration_service_server::AdministrationServiceServer,
    certificate_authority_service_server::CertificateAuthorityServiceServer, lot_service_server::LotServiceServer,
};
use service::{
    crash,
    gate::Gate,
    grpc::server,
    http,
    limits::Limits,
    metrics::Served,
    restart,
    roles::Callers,
    shutdown::Shutdown,
    tls::{HttpAcceptor, Listener, TlsError},
};
use tokio::{net::TcpListener, sync::watch};
use tonic::server::NamedService as _;
use tonic_health::{ServingStatus, server::HealthReporter};
use tracing::{error, info, warn};

use crate::{
    administration::Administration,
    authority::{Authority, Problem},
    callers::Door,
    configuration::Listen,
    crl_http,
    est::{self, EstClient, EstSettings},
    grpc::{REQUEST_BYTES_MAX, Service},
    lots::grpc::Lots,
    metrics,
    register::Condition,
    rules::RULES,
};

/// Says what is still wrong with the disk and the configuration, if anything. May block.
pub trait Well: Fn() -> Result<(), String> + Clone + Send + 'static {}

impl<F: Fn() -> Result<(), String> + Clone + Send + 'static> Well for F {}

/// A server that is bound and does not answer yet.
pub struct Server {
    listener: Listener,
    /// Where the CRLs are served.
    crls: Option<TcpListener>,
    est: Option<(TcpListener, HttpAcceptor, Arc<EstSettings>)>,
    metrics: Option<Served>,
    authority: Authority,
    callers: Callers,
    limits: Limits,
}

/// Why a server stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Certificates, key or address.
    #[error("could not listen")]
    Listen(#[source] TlsError),
    /// EST's certificates or key.
    #[error("could not listen for EST")]
    ListenForEst(#[source] TlsError),
    /// The address of CRLs, EST or metrics.
    #[error("could not listen")]
    ListenPlainly(#[source] io::Error),
    /// The description of the services is broken.
    #[error("reflection could not be set up")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("the server stopped")]
    Transport(#[source] tonic::transport::Error),
    /// The disk was well again, and the process could not begin anew.
    #[error("could not start anew")]
    Restart(#[source] io::Error),
    /// The journal was not closed in order.
    #[error("the CA did not close in order")]
    Close(#[source] io::Error),
}

impl Server {
    /// Reads the certificates and binds; `crls` is where the CRLs are served, `est` where and how devices enrol,
    /// `metrics` where Prometheus reads. Must be called within a tokio runtime.
    pub async fn bind(
        listen: &Listen,
        crls: Option<SocketAddr>,
        est: Option<&EstSettings>,
        metrics: Option<SocketAddr>,
        callers: Callers,
        limits: Limits,
        authority: Authority,
    ) -> Result<Self, ServeError> {
        let listener = Listener::bind(listen.address, &listen.files, &limits).await.map_err(ServeError::Listen)?;
        info!(address = %listener.local_address(), "listening");
        let crls = match crls {
            Some(address) => Some(http::bind(address).await.map_err(ServeError::ListenPlainly)?),
            None => None,
        };
        let est = match est {
            Some(settings) => {
                let acceptor = HttpAcceptor::new(&settings.files).map_err(ServeError::ListenForEst)?;
                let socket = http::bind(settings.address).await.map_err(ServeError::ListenPlainly)?;
                Some((socket, acceptor, Arc::new(settings.clone())))
            }
            None => None,
        };
        let metrics = match metrics {
            Some(address) => Some(Served::bind(address).await.map_err(ServeError::ListenPlainly)?),
            None => None,
        };
        if let Some(address) = metrics.as_ref().and_then(|served| served.local_address().ok()) {
            info!(%address, "metrics are served");
        }
        Ok(Self { listener, crls, est, metrics, authority, callers, limits })
    }

    /// Where the CRLs are served, with the port that port 0 became.
    #[must_use]
    pub fn crl_address(&self) -> Option<SocketAddr> {
        self.crls.as_ref().and_then(|socket| socket.local_addr().ok())
    }

    /// Where devices enrol, with the port that port 0 became.
    #[must_use]
    pub fn est_address(&self) -> Option<SocketAddr> {
        self.est.as_ref().and_then(|(socket, _, _)| socket.local_addr().ok())
    }

    /// Where it listens, with the port that port 0 became.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.local_address()
    }

    /// Serves until `shutdown`, answers what is under way, and closes the authority. While the journal's disk is at fault,
    /// `well` says whether it still is; then a restart is requested, and nothing is closed.
    pub async fn serve(self, shutdown: Shutdown, well: impl Well) -> Result<(), ServeError> {
        let Self { listener, crls, est, metrics: scraped, authority, callers, limits } = self;
        let keeping = tokio::spawn({
            let authority = authority.clone();
            async move { authority.keep_crls().await }
        });
        let witnessed = tokio::spawn({
            let (authority, shutdown) = (authority.clone(), shutdown.clone());
            async move { authority.keep_witnessed(shutdown.requested()).await }
        });
        // Dropping it stops what is served besides.
        let (stop, stopped) = watch::channel(());
        let until = || {
            let mut stopped = stopped.clone();
            async move { drop(stopped.changed().await) }
        };
        let est_clients = est.iter().flat_map(|(_, _, est)| &est.clients).map(EstClient::name).collect();
        let crls = crls.map(|socket| tokio::spawn(crl_http::serve(socket, authority.clone(), until())));
        let est = est.map(|(socket, acceptor, settings)| {
            tokio::spawn(est::serve(socket, acceptor, authority.clone(), settings, until()))
        });
        let scraped = scraped.map(|served| tokio::spawn(served.serve(metrics::registry(&authority), until())));
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_serving::<CertificateAuthorityServiceServer<Service>>().await;
        let watching = tokio::spawn(report(authority.clone(), reporter, shutdown.clone(), well));
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                // The descriptors hold the station's services as well, which do not answer here.
                .with_service_name("ca.v1.CertificateAuthorityService")
                .with_service_name("ca.v1.AdministrationService")
                .with_service_name("ca.v1.LotService")
                .with_service_name("grpc.health.v1.Health")
        };
        let callers = Door { callers, authority: authority.clone() };
        let gate = Gate::new(callers.clone(), RULES, &limits);
        let lots = LotServiceServer::new(Lots { authority: authority.clone() });
        let administration = Administration { authority: authority.clone(), callers, est_clients };
        let administration = AdministrationServiceServer::new(administration);
        let service = CertificateAuthorityServiceServer::new(Service { authority: authority.clone() })
            .max_decoding_message_size(REQUEST_BYTES_MAX);
        let served = server()
            .layer(gate)
            .add_service(health)
            .add_service(reflection().build_v1().map_err(ServeError::Reflection)?)
            .add_service(reflection().build_v1alpha().map_err(ServeError::Reflection)?)
            .add_service(service)
            .add_service(lots)
            .add_service(administration)
            .serve_with_incoming_shutdown(listener.incoming(), shutdown.requested())
            .await;
        crash::point("ca.stop.serving-ended");
        watching.abort();
        if shutdown.is_restart() {
            // What stands in memory is ahead of a disk that failed, and is not to reach it.
            return Err(ServeError::Restart(restart::exec()));
        }
        drop(stop);
        for besides in [crls, est, scraped].into_iter().flatten() {
            let _ = besides.await;
        }
        // A list that is under way is made anew at the next start.
        keeping.abort();
        let _ = witnessed.await;
        let closed = authority.close().await;
        served.map_err(ServeError::Transport)?;
        closed.map_err(|error| ServeError::Close(io::Error::other(error)))
    }
}

/// How often the CA looks how it is while nobody asks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often it looks at the token: seconds after an HSM went or came back, health says so.
const TOKEN_EVERY: Duration = Duration::from_secs(3);

/// Health follows what the CA finds wrong with itself: who cannot record or sign does not serve. When its disk is at fault,
/// the CA starts anew once `well` finds that it is not; for everything else it goes on as it is once that is well.
async fn report(authority: Authority, reporter: HealthReporter, shutdown: Shutdown, well: impl Well) {
    let looking = async {
        loop {
            authority.look_at_token().await;
            tokio::time::sleep(TOKEN_EVERY).await;
        }
    };
    tokio::select! {
        () = looking => {}
        () = follow(&authority, reporter, shutdown, well) => {}
    }
}

async fn follow(authority: &Authority, reporter: HealthReporter, shutdown: Shutdown, well: impl Well) {
    let mut condition = authority.condition();
    let mut told: Vec<Problem> = Vec::new();
    loop {
        let found = condition.borrow_and_update().clone();
        if found != Condition::Serving {
            error!(?found, "not serving");
            tell(&reporter, ServingStatus::NotServing).await;
            if matches!(found, Condition::DiskFailed(_)) {
                let clock = authority.clock().clone();
                let well = move || {
                    // A start believes the clock that it finds.
                    clock.now().map_err(|wrong| wrong.to_string())?;
                    well()
                };
                restart::once_well(&shutdown, well).await;
            }
            return;
        }
        let problems = authority.problems();
        let (was, is) = (told.iter().any(|problem| problem.red), problems.iter().any(|problem| problem.red));
        // By their reasons: what they say of the time changes from second to second.
        let is_new =
            |problem: &&Problem| !told.iter().any(|other| (other.reason, other.red) == (problem.reason, problem.red));
        for Problem { reason, message, red } in problems.iter().filter(is_new) {
            if *red { error!(reason, "{message}") } else { warn!(reason, "{message}") }
        }
        if was != is {
            tell(&reporter, if is { ServingStatus::NotServing } else { ServingStatus::Serving }).await;
        }
        if was && !is {
            info!("all is well again: the CA goes on");
        }
        told = problems;
        if let Ok(Err(_)) = tokio::time::timeout(LOOK_EVERY, condition.changed()).await {
            return;
        }
    }
}

async fn tell(reporter: &HealthReporter, status: ServingStatus) {
    let service = CertificateAuthorityServiceServer::<Service>::NAME;
    reporter.set_service_status(service, status).await;
    reporter.set_service_status("", status).await;
}
