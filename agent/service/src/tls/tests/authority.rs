//! Certification authorities and ends for the tests, and a server that speaks `grpc.health.v1`.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tonic::{Request, Status, service::interceptor::InterceptedService, transport::Channel};
use tonic_health::{
    pb::{HealthCheckRequest, health_client::HealthClient, health_server::HealthServer},
    server::{HealthReporter, HealthService},
};

use crate::{
    grpc,
    limits::Limits,
    shutdown::Shutdown,
    tls::{Listener, Peer, TlsFiles, channel::channel_with},
};

/// Beyond this, something hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A CA with its key.
pub(super) struct Authority {
    pub(super) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What an end's certificate says; changed by the tests that need something else.
pub(super) fn params(common_name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.subject_alt_names.extend([1, 77].map(|last| SanType::IpAddress([127, 0, 0, last].into())));
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.extended_key_usages = vec![usage];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

pub(super) fn client(common_name: &str) -> CertificateParams {
    params(common_name, ExtendedKeyUsagePurpose::ClientAuth)
}

pub(super) fn server() -> CertificateParams {
    params("server", ExtendedKeyUsagePurpose::ServerAuth)
}

pub(super) fn authority_params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    pub(super) fn root(common_name: &str) -> Self {
        Self::root_from(authority_params(common_name))
    }

    pub(super) fn root_from(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A CA below this one.
    pub(super) fn below(&self, common_name: &str) -> Self {
        let (params, key) = (authority_params(common_name), KeyPair::generate().unwrap());
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A CRL of these ends' certificates, PEM.
    pub(super) fn crl(&self, revoked: &[&End]) -> String {
        let revoked = revoked.iter().map(|end| {
            let pem = fs::read(&end.files.certificate).unwrap();
            let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
            RevokedCertParams {
                serial_number: SerialNumber::from_slice(pem.parse_x509().unwrap().raw_serial()),
                revocation_time: date_time_ymd(2020, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2020, 1, 2),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// Certificate and key, PEM.
    pub(super) fn issue(&self, params: &CertificateParams) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        (self.issue_for(params, &key), key.serialize_pem())
    }

    /// A certificate for that key, PEM.
    pub(super) fn issue_for(&self, params: &CertificateParams, key: &KeyPair) -> String {
        params.signed_by(key, &self.issuer).unwrap().pem()
    }
}

/// The files of one end, in a directory that goes with them.
pub(super) struct End {
    pub(super) directory: TempDir,
    pub(super) files: TlsFiles,
}

impl End {
    pub(super) fn new((certificate, key): (String, String), trust: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let files = TlsFiles { certificate: at("certificate.pem"), key: at("key.pem").into(), trust: at("trust.pem") };
        write(&files.certificate, &certificate);
        write(files.key.file().unwrap(), &key);
        write(&files.trust, trust);
        Self { directory, files }
    }
}

/// As a careful renewal does it: whole or not at all.
pub(super) fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

/// Serves health checks until dropped, and remembers who asked.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) callers: Arc<Mutex<Vec<Peer>>>,
    shutdown: Shutdown,
}

impl Server {
    pub(super) async fn start(files: &TlsFiles) -> Self {
        Self::start_with(files, Duration::ZERO, PATIENCE).await
    }

    pub(super) async fn start_limited(files: &TlsFiles, limits: &Limits) -> Self {
        let (address, forever) = (([127, 0, 0, 1], 0).into(), Duration::from_secs(24 * 3600));
        Self::serve(Listener::bind_with(address, files, limits, Duration::ZERO, forever).await.unwrap())
    }

    pub(super) async fn start_with(files: &TlsFiles, look_every: Duration, handshake_time: Duration) -> Self {
        let address = ([127, 0, 0, 1], 0).into();
        Self::serve(
            Listener::bind_with(address, files, &Limits::OF_A_STATION, look_every, handshake_time).await.unwrap(),
        )
    }

    pub(super) fn serve(listener: Listener) -> Self {
        let (address, shutdown) = (listener.local_address(), Shutdown::new());
        let callers = Arc::new(Mutex::new(Vec::new()));
        let remembered = callers.clone();
        let remember = move |request: Request<()>| {
            let peer = request.extensions().get::<Peer>().cloned().ok_or_else(|| Status::internal("no peer"))?;
            remembered.lock().unwrap().push(peer);
            Ok::<_, Status>(request)
        };
        let health = HealthServer::new(HealthService::from_health_reporter(HealthReporter::new()));
        let serving = grpc::server()
            .add_service(InterceptedService::new(health, remember))
            .serve_with_incoming_shutdown(listener.incoming(), shutdown.requested());
        tokio::spawn(serving);
        Self { address, callers, shutdown }
    }

    pub(super) fn channel(&self, files: &TlsFiles) -> Channel {
        self.channel_to("localhost", files)
    }

    /// A channel that asks for the server under another name. "localhost" may be ::1 first: then 127.0.0.1 is next.
    pub(super) fn channel_to(&self, host: &str, files: &TlsFiles) -> Channel {
        let endpoint = format!("https://{host}:{}", self.address.port());
        channel_with(&endpoint, files, PATIENCE, Duration::ZERO).unwrap()
    }

    /// One call over a new connection.
    pub(super) async fn call(&self, files: &TlsFiles) -> Result<(), Status> {
        call(self.channel(files)).await
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.callers.lock().unwrap().iter().map(|peer| peer.common_name.clone()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

pub(super) async fn call(channel: Channel) -> Result<(), Status> {
    let request = HealthCheckRequest { service: String::new() };
    timeout(PATIENCE, HealthClient::new(channel).check(request)).await.expect("a call hangs").map(drop)
}

/// A connection from 127.0.0.`last` that never says anything.
pub(super) async fn silent(last: u8, to: SocketAddr) -> TcpStream {
    let from = TcpSocket::new_v4().unwrap();
    from.bind(([127, 0, 0, last], 0).into()).unwrap();
    from.connect(to).await.unwrap()
}
