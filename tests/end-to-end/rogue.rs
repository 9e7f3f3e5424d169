//! A CA that answers wrongly: the station's own service over real mTLS, with keys of the test's own.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use issuance::request::CertificationRequest as Pkcs10;
use line::Line;
use proto::ca::v1::{
    Authority, ConfirmBatchRequest, ConfirmBatchResponse, CosignCheckpointRequest, CosignCheckpointResponse,
    GetAuthorityRequest, IssueBatchRequest, IssueBatchResponse, IssueResult, Issued,
    certificate_authority_service_server::{CertificateAuthorityService, CertificateAuthorityServiceServer},
    issue_result::Outcome,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SubjectPublicKeyInfo,
};
use service::{limits::Limits, tls::Listener};
use time::{Duration, OffsetDateTime};
use tokio::{sync::Semaphore, task::JoinHandle};
use tonic::{Request, Response, Status};

type Ca = CertifiedIssuer<'static, KeyPair>;

/// A running rogue; it ends with this.
pub(crate) struct Rogue {
    pub(crate) address: SocketAddr,
    /// The serials of the devices for which it made a certificate, one for each.
    pub(crate) made: Arc<Mutex<Vec<String>>>,
    /// A permit lets one answer go that is held back.
    pub(crate) held: Arc<Semaphore>,
    serving: JoinHandle<()>,
}

impl Rogue {
    /// Starts it with the control plane's word that it is a CA, and puts its root and issuer in the place of the CA's.
    pub(crate) async fn start(line: &Line, pki: &Path) -> Self {
        let root = Ca::self_signed(ca("Rogue Root", None), KeyPair::generate().unwrap()).unwrap();
        let issuer =
            |root: &Ca| Ca::signed_by(ca("Rogue Issuer", Some(1)), KeyPair::generate().unwrap(), root).unwrap();
        let (trusted, other) = (issuer(&root), issuer(&root));
        fs::write(pki.join("root.pem"), root.pem()).unwrap();
        fs::write(pki.join("device-ca.pem"), trusted.pem()).unwrap();
        let files = line.control_plane().server("rogue").unwrap();
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), &files, &Limits::OF_A_CA).await.unwrap();
        let address = listener.local_address();
        let (made, held) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(Semaphore::new(0)));
        let answers =
            Answers { trusted, other, misled: Mutex::default(), made: Arc::clone(&made), held: Arc::clone(&held) };
        let service = CertificateAuthorityServiceServer::new(answers);
        let serve = service::grpc::server().add_service(service).serve_with_incoming(listener.incoming());
        Self { address, made, held, serving: tokio::spawn(async move { serve.await.unwrap() }) }
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn named(common_name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    let now = OffsetDateTime::now_utc();
    (parameters.not_before, parameters.not_after) = (now - Duration::hours(2), now + Duration::days(1));
    parameters.use_authority_key_identifier_extension = true;
    parameters
}

fn ca(common_name: &str, path_length: Option<u8>) -> CertificateParams {
    let mut parameters = named(common_name);
    parameters.is_ca = IsCa::Ca(path_length.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

struct Answers {
    /// What the station's profile trusts.
    trusted: Ca,
    /// The same name and root, with a key that the profile does not have.
    other: Ca,
    /// The issuances that were answered under another's name.
    misled: Mutex<Vec<String>>,
    made: Arc<Mutex<Vec<String>>>,
    held: Arc<Semaphore>,
}

impl Answers {
    /// The certificate for a device: what is wrong with it stands in its serial.
    fn certificate(&self, device_serial: &str, request: &[u8]) -> Vec<u8> {
        let request = Pkcs10::from_der(request).unwrap();
        let own = SubjectPublicKeyInfo::from_der(request.public_key().spki()).unwrap();
        let mut parameters = ca(request.common_name().as_str(), Some(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        match device_serial {
            "WRONG-KEY" => {
                let other = KeyPair::generate().unwrap().subject_public_key_info();
                let other = SubjectPublicKeyInfo::from_der(&other).unwrap();
                return parameters.signed_by(&other, &self.trusted).unwrap().der().to_vec();
            }
            "WRONG-NAME" => {
                parameters.distinguished_name = rcgen::DistinguishedName::new();
                parameters.distinguished_name.push(DnType::CommonName, "SOMEBODY-ELSE.ca");
            }
            "NO-CA" => {
                parameters.is_ca = IsCa::ExplicitNoCa;
                parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            }
            "WRONG-PATHLEN" => parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(1)),
            "NO-PATHLEN" => parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            "EXPIRED" => parameters.not_after = OffsetDateTime::now_utc() - Duration::hours(1),
            "WITH-EKU" => parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            "NOT-CHAINING" => return parameters.signed_by(&own, &self.other).unwrap().der().to_vec(),
            "NO-CERTIFICATE" => return b"not a certificate".to_vec(),
            _ => {}
        }
        parameters.signed_by(&own, &self.trusted).unwrap().der().to_vec()
    }

    /// Whether this one is to be answered under another's name: once for each.
    fn misleads(&self, device_serial: &str, issuance: &str) -> bool {
        let mut misled = self.misled.lock().unwrap();
        let misleads = device_serial == "MISADDRESSED" && !misled.iter().any(|before| before == issuance);
        if misleads {
            misled.push(issuance.to_owned());
        }
        misleads
    }
}

#[tonic::async_trait]
impl CertificateAuthorityService for Answers {
    async fn issue_batch(&self, batch: Request<IssueBatchRequest>) -> Result<Response<IssueBatchResponse>, Status> {
        let answer = |request: proto::ca::v1::CertificationRequest| {
            let certificate = self.certificate(&request.device_serial, &request.certification_request);
            let misleads = self.misleads(&request.device_serial, &request.issuance);
            let elsewhere = "01890000-0000-7000-8000-000000000000".to_owned();
            IssueResult {
                issuance: if misleads { elsewhere } else { request.issuance },
                outcome: Some(Outcome::Issued(Issued { certificate, chain: vec![self.trusted.der().to_vec()] })),
            }
        };
        let requests = batch.into_inner().requests;
        // What happens to the answer stands in the serial, once for each device.
        let mut fate = None;
        {
            let mut made = self.made.lock().unwrap();
            for request in &requests {
                if !made.contains(&request.device_serial) {
                    fate = request.device_serial.split('-').next().map(str::to_owned);
                }
                made.push(request.device_serial.clone());
            }
        }
        let mut results: Vec<_> = requests.into_iter().map(answer).collect();
        match fate.as_deref() {
            Some("LOST") => return Err(Status::internal("the answer is lost")),
            Some("SILENT") => results.clear(),
            Some("HELD") => self.held.acquire().await.unwrap().forget(),
            _ => {}
        }
        Ok(Response::new(IssueBatchResponse { results }))
    }

    async fn confirm_batch(&self, _: Request<ConfirmBatchRequest>) -> Result<Response<ConfirmBatchResponse>, Status> {
        Err(Status::unimplemented("nobody asks this"))
    }

    async fn get_authority(&self, _: Request<GetAuthorityRequest>) -> Result<Response<Authority>, Status> {
        Err(Status::unimplemented("nobody asks this"))
    }

    async fn cosign_checkpoint(
        &self,
        _: Request<CosignCheckpointRequest>,
    ) -> Result<Response<CosignCheckpointResponse>, Status> {
        Err(Status::unimplemented("it is no witness"))
    }
}
