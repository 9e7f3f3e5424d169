//! The server: the authority behind mutual TLS, with health and reflection.

use std::{io, net::SocketAddr};

use proto::ca::v1::{
    certificate_authority_service_server::CertificateAuthorityServiceServer, lot_service_server::LotServiceServer,
};
use service::{
    crash,
    grpc::server,
    roles::Callers,
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

    /// Serves until `shutdown`, answers what is under way, and closes the authority.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let Self { listener, authority, callers } = self;
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_serving::<CertificateAuthorityServiceServer<Service>>().await;
        let watching = tokio::spawn(report(authority.clone(), reporter));
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
            .serve_with_incoming_shutdown(listener.incoming(), shutdown)
            .await;
        crash::point("ca.stop.serving-ended");
        watching.abort();
        let closed = authority.close().await;
        served.map_err(ServeError::Transport)?;
        closed.map_err(|error| ServeError::Close(io::Error::other(error)))
    }
}

/// Health follows the register: who cannot record does not serve.
async fn report(authority: Authority, reporter: HealthReporter) {
    let mut condition = authority.condition();
    loop {
        let failed = match &*condition.borrow_and_update() {
            Condition::Failed(reason) => Some(reason.clone()),
            Condition::Serving => None,
        };
        if let Some(reason) = failed {
            error!(%reason, "not serving");
            reporter.set_not_serving::<CertificateAuthorityServiceServer<Service>>().await;
            return reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        }
        if condition.changed().await.is_err() {
            return;
        }
    }
}
