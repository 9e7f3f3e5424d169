//! The server: the authority behind mutual TLS, with health and reflection.

use std::{io, net::SocketAddr};

use proto::ca::v1::{
    certificate_authority_service_server::CertificateAuthorityServiceServer, lot_service_server::LotServiceServer,
};
use service::{
    crash,
    grpc::server,
    restart,
    roles::Callers,
    shutdown::Shutdown,
    tls::{Listener, TlsError},
};
use tonic_health::server::HealthReporter;
use tracing::{error, info};

use crate::{
    authority::Authority,
    configuration::Listen,
    grpc::{REQUEST_BYTES_MAX, Service},
    lots::grpc::Lots,
    register::Condition,
};

/// Says what is still wrong with the disk and the configuration, if anything. May block.
pub trait Well: Fn() -> Result<(), String> + Clone + Send + 'static {}

impl<F: Fn() -> Result<(), String> + Clone + Send + 'static> Well for F {}

/// A server that is bound and does not answer yet.
pub struct Server {
    listener: Listener,
    authority: Authority,
    callers: Callers,
}

/// Why a server stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Certificates, key or address.
    #[error("could not listen")]
    Listen(#[source] TlsError),
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
    /// Reads the certificates and binds. Must be called within a tokio runtime.
    pub async fn bind(listen: &Listen, callers: Callers, authority: Authority) -> Result<Self, ServeError> {
        let listener = Listener::bind(listen.address, &listen.files).await.map_err(ServeError::Listen)?;
        info!(address = %listener.local_address(), "listening");
        Ok(Self { listener, authority, callers })
    }

    /// Where it listens, with the port that port 0 became.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.local_address()
    }

    /// Serves until `shutdown`, answers what is under way, and closes the authority. While the journal's disk is at fault,
    /// `well` says whether it still is; then a restart is requested, and nothing is closed.
    pub async fn serve(self, shutdown: Shutdown, well: impl Well) -> Result<(), ServeError> {
        let Self { listener, authority, callers } = self;
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_serving::<CertificateAuthorityServiceServer<Service>>().await;
        let watching = tokio::spawn(report(authority.clone(), reporter, shutdown.clone(), well));
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                // The descriptors hold the station's services as well, which do not answer here.
                .with_service_name("ca.v1.CertificateAuthorityService")
                .with_service_name("ca.v1.LotService")
                .with_service_name("grpc.health.v1.Health")
        };
        let lots = LotServiceServer::new(Lots { authority: authority.clone(), callers: callers.clone() });
        let service = CertificateAuthorityServiceServer::new(Service { authority: authority.clone(), callers })
            .max_decoding_message_size(REQUEST_BYTES_MAX);
        let served = server()
            .add_service(health)
            .add_service(reflection().build_v1().map_err(ServeError::Reflection)?)
            .add_service(reflection().build_v1alpha().map_err(ServeError::Reflection)?)
            .add_service(service)
            .add_service(lots)
            .serve_with_incoming_shutdown(listener.incoming(), shutdown.requested())
            .await;
        crash::point("ca.stop.serving-ended");
        watching.abort();
        if shutdown.is_restart() {
            // What stands in memory is ahead of a disk that failed, and is not to reach it.
            return Err(ServeError::Restart(restart::exec()));
        }
        let closed = authority.close().await;
        served.map_err(ServeError::Transport)?;
        closed.map_err(|error| ServeError::Close(io::Error::other(error)))
    }
}

/// Health follows the register: who cannot record does not serve. When its disk is at fault, the CA starts anew once
/// `well` finds that it is not.
async fn report(authority: Authority, reporter: HealthReporter, shutdown: Shutdown, well: impl Well) {
    let mut condition = authority.condition();
    loop {
        let found = condition.borrow_and_update().clone();
        if found != Condition::Serving {
            error!(?found, "not serving");
            reporter.set_not_serving::<CertificateAuthorityServiceServer<Service>>().await;
            reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
            if matches!(found, Condition::DiskFailed(_)) {
                restart::once_well(&shutdown, well).await;
            }
            return;
        }
        if condition.changed().await.is_err() {
            return;
        }
    }
}
