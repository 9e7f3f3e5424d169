//! A CA that serves EST, with its clients, and curl.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proto::ca::v1::{
    OpenLotRequest, certificate_authority_service_client::CertificateAuthorityServiceClient,
    lot_service_client::LotServiceClient,
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use super::place::{Place, Server};

pub(crate) const CERTS_ONLY: &str = "application/pkcs7-mime; smime-type=certs-only";
pub(crate) const USER: &str = "line-user:0123456789abcdef-secret";

const CONFIGURATION: &str = r#"
[[profile]]
name = "enrolled"
purpose = "device-identity"
issuer = "device-identity"
validity = "365d"
keys = ["P-256", "P-384", "RSA-2048"]
[profile.subject]
common_name = "{serial}.line.example"
[est]
address = "127.0.0.1:0"
certificate = "ca-1.pem"
key = "ca-1.key"
trust = "est-trust.pem"
[[est.label]]
name = "line-1"
profiles = ["enrolled", "device-ca"]
[[est.label]]
name = "line-7"
profiles = ["enrolled"]
lots = { enrolled = "lot-7" }
[[est.label]]
profiles = ["enrolled"]
[[est.label]]
name = "plain"
profiles = ["device-identity"]
[[est.client]]
common_name = "bootstrap-1"
labels = ["line-1"]
lots = { enrolled = "lot-7" }
[[est.client]]
user = "line-user"
password_file = "est-password"
labels = ["line-1", "line-7", "plain", "/"]
"#;

pub(crate) struct Shop {
    pub(crate) place: Place,
    server: Option<Server>,
    runtime: Runtime,
    files: AtomicU32,
}

/// What curl got.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    }
}

impl Shop {
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// With more in the configuration.
    pub(crate) fn with(more: &str) -> Self {
        let place = Place::new();
        place.run(&["init"], 0);
        place.add(&format!("{CONFIGURATION}{more}"));
        let secret = place.path("est-password");
        fs::write(&secret, USER.split_once(':').unwrap().1).unwrap();
        fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let issuer = authority(&place, "bootstrap-ca", "Test Bootstrap CA");
        client(&place, "bootstrap", "bootstrap-1", &issuer);
        client(&place, "stranger", "bootstrap-1", &authority(&place, "stranger-ca", "Test Bootstrap CA"));
        client(&place, "unlisted", "bootstrap-2", &issuer);
        let trust = [place.path("bootstrap-ca.pem"), place.path("pki/device-identity.pem")];
        let trust: String = trust.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        fs::write(place.path("est-trust.pem"), trust).unwrap();
        let server = Some(place.serve());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { place, server, runtime, files: AtomicU32::new(0) }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    pub(crate) fn restart(&mut self) {
        self.server.take().unwrap().kill();
        self.server = Some(self.place.serve());
    }

    /// `https://localhost:<port>`, without any path.
    pub(crate) fn origin(&self) -> String {
        format!("https://localhost:{}", self.server().est_port())
    }

    pub(crate) fn client(&self, name: &str) {
        self.place.write_client(self.server(), name);
    }

    #[track_caller]
    pub(crate) fn call(&self, arguments: &[&str], code: i32) -> String {
        self.place.call(arguments, code)
    }

    pub(crate) fn output(&self) -> String {
        self.place.output()
    }

    pub(crate) fn block_on<F: Future>(&self, call: F) -> F::Output {
        self.runtime.block_on(call)
    }

    fn channel(&self, name: &str) -> Channel {
        let _within = self.runtime.enter();
        self.place.channel(self.server(), name)
    }

    pub(crate) fn station(&self) -> CertificateAuthorityServiceClient<Channel> {
        self.station_named("station-1")
    }

    pub(crate) fn station_named(&self, name: &str) -> CertificateAuthorityServiceClient<Channel> {
        CertificateAuthorityServiceClient::new(self.channel(name))
    }

    pub(crate) fn call_lot(&self, lot: OpenLotRequest) {
        let mut client = LotServiceClient::new(self.channel("mes-1"));
        self.block_on(client.open_lot(lot)).unwrap();
    }

    pub(crate) fn get(&self, path: &str, more: &[&str]) -> Reply {
        self.curl(path, more, None)
    }

    pub(crate) fn post(&self, path: &str, body: &str, more: &[&str]) -> Reply {
        let kind = ["-H", "Content-Type: application/pkcs10", "-H", "Content-Transfer-Encoding: base64"];
        self.curl(path, &[&kind, more].concat(), Some(body))
    }

    pub(crate) fn curl(&self, path: &str, more: &[&str], body: Option<&str>) -> Reply {
        let out = self.try_curl(path, more, body);
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success(), "{path}: {} {}", String::from_utf8_lossy(&out.stderr), self.output());
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Reply { status, headers, body: body.to_owned() }
    }

    /// Its whole output: a handshake may fail.
    pub(crate) fn try_curl(&self, path: &str, more: &[&str], body: Option<&str>) -> std::process::Output {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-i", "--http1.1", "--max-time", "60", "-H", "Expect:", "--cacert", "control.pem"]);
        curl.args(more).current_dir(self.place.directory());
        if let Some(body) = body {
            let file = self.place.path(&format!("body-{}", self.files.fetch_add(1, Ordering::Relaxed)));
            fs::write(&file, body).unwrap();
            curl.arg("--data-binary").arg(format!("@{}", file.display()));
        }
        curl.arg(format!("{}/.well-known/est/{path}", self.origin())).output().unwrap()
    }

    /// OpenSSL's output of what it is given.
    pub(crate) fn openssl(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut openssl = Command::new("openssl");
        openssl.args(arguments).current_dir(self.place.directory());
        let mut child = openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// The certificates that OpenSSL finds in an answer, DER.
    #[track_caller]
    pub(crate) fn certificates(&self, reply: &Reply) -> Vec<Vec<u8>> {
        assert_eq!(reply.status, 200, "{reply:?}");
        let pem = self.openssl(
            &["pkcs7", "-inform", "DER", "-print_certs"],
            &STANDARD.decode(&reply.body).expect("unfolded base64"),
        );
        pem::parse_many(pem).unwrap().into_iter().map(pem::Pem::into_contents).collect()
    }

    /// Keeps a certificate and its key for curl.
    pub(crate) fn keep(&self, name: &str, certificate: &[u8], key: &KeyPair) {
        let certificate = pem::encode(&pem::Pem::new("CERTIFICATE", certificate));
        fs::write(self.place.path(&format!("{name}.pem")), certificate).unwrap();
        fs::write(self.place.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// A CA of its own, whose certificate stands in `<name>.pem`.
fn authority(place: &Place, name: &str, common_name: &str) -> Issuer<'static, KeyPair> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    fs::write(place.path(&format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
    Issuer::new(params, key)
}

/// A client certificate in `<name>.pem` and `<name>.key`.
pub(crate) fn client(place: &Place, name: &str, common_name: &str, issuer: &Issuer<'_, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    fs::write(place.path(&format!("{name}.pem")), params.signed_by(&key, issuer).unwrap().pem()).unwrap();
    fs::write(place.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
}

/// A certification request, DER, with a new key.
pub(crate) fn request(common_name: &str, more: impl FnOnce(&mut CertificateParams)) -> (KeyPair, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    more(&mut params);
    let der = params.serialize_request(&key).unwrap().der().to_vec();
    (key, der)
}

/// Base64 in lines of 64.
pub(crate) fn folded(der: &[u8], end: &str) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    lines.join(end) + end
}
