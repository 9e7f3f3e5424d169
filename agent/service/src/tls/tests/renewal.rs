//! Files that change while a server runs.

use std::{
    fs, io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rcgen::date_time_ymd;
use rustls::pki_types::{CertificateDer, UnixTime, pem::PemObject as _};
use tokio::sync::watch;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::authority::{Authority, End, PATIENCE, Server, client, server, write};
use crate::tls::{connection::unfit, material::Material, reload::Reloading};

/// Certificates renewed on both ends, and then the root itself, are taken up by new connections without a restart.
#[tokio::test]
async fn renewed_files_are_taken_up() {
    let (old, new) = (Authority::root("old"), Authority::root("new"));
    let server_end = End::new(old.issue(&server()), &old.pem);
    let serving = Server::start(&server_end.files).await;
    let old_client = End::new(old.issue(&client("old")), &old.pem);
    let new_client = End::new(new.issue(&client("new")), &new.pem);
    serving.call(&old_client.files).await.unwrap();
    serving.call(&new_client.files).await.unwrap_err();

    let (certificate, key) = new.issue(&server());
    write(server_end.files.key.file().unwrap(), &key);
    write(&server_end.files.certificate, &certificate);
    write(&server_end.files.trust, &new.pem);
    serving.call(&new_client.files).await.unwrap();
    serving.call(&old_client.files).await.unwrap_err();
    assert_eq!(serving.names(), ["old", "new"]);
}

/// A channel takes up its renewed files at its next connection.
#[tokio::test]
async fn a_channel_takes_up_renewed_files() {
    let root = Authority::root("root");
    let server_end = End::new(root.issue(&server()), &root.pem);
    let serving = Server::start(&server_end.files).await;
    let other = Authority::root("other");
    let end = End::new(other.issue(&client("renewed")), &root.pem);
    let channel = serving.channel(&end.files);
    super::authority::call(channel.clone()).await.unwrap_err();
    let (certificate, key) = root.issue(&client("renewed"));
    write(end.files.key.file().unwrap(), &key);
    write(&end.files.certificate, &certificate);
    super::authority::call(channel).await.unwrap();
    assert_eq!(serving.names(), ["renewed"]);
}

/// Every bad renewal keeps the old files; a good one after it is taken up.
#[tokio::test]
async fn a_bad_renewal_keeps_the_old() {
    let root = Authority::root("root");
    let server_end = End::new(root.issue(&server()), &root.pem);
    let serving = Server::start(&server_end.files).await;
    let end = End::new(root.issue(&client("mes-1")), &root.pem);
    let files = &server_end.files;
    let (other_certificate, other_key) = root.issue(&server());
    for (path, bad) in [
        (&files.certificate, other_certificate.as_str()),
        (&files.certificate, ""),
        (&files.key.file().unwrap().to_owned(), "-----BEGIN PRIVATE KEY-----\n"),
        (&files.trust, "no certificate"),
    ] {
        let good = fs::read_to_string(path).unwrap();
        write(path, bad);
        serving.call(&end.files).await.unwrap();
        fs::remove_file(path).unwrap();
        serving.call(&end.files).await.unwrap();
        write(path, &good);
        serving.call(&end.files).await.unwrap();
    }
    // Half of a renewal, then the other half.
    write(&files.certificate, &other_certificate);
    serving.call(&end.files).await.unwrap();
    write(files.key.file().unwrap(), &other_key);
    serving.call(&end.files).await.unwrap();
    assert_eq!(server_end.directory.path().read_dir().unwrap().count(), 3);
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// However often a bad file is looked at, it is warned of once; a change brings the next word.
#[test]
fn a_bad_renewal_is_warned_of_once() {
    let root = Authority::root("root");
    let end = End::new(root.issue(&server()), &root.pem);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let count = |words: &str| String::from_utf8(log.0.lock().unwrap().clone()).unwrap().matches(words).count();
    tracing::subscriber::with_default(subscriber, || {
        let reloading = Reloading::new(&end.files, Duration::ZERO, Material::read).unwrap();
        let look = || (0..3).for_each(|_| drop(reloading.current()));
        look();
        assert_eq!((count("cannot be used"), count("read again")), (0, 0));
        write(&end.files.trust, "nothing");
        look();
        assert_eq!((count("cannot be used"), count("holds no certificate"), count("read again")), (1, 1, 0));
        write(&end.files.trust, &root.pem);
        look();
        assert_eq!((count("cannot be used"), count("read again")), (1, 1));
    });
}

/// Within the time between two looks, nothing is read.
#[test]
fn files_are_not_looked_at_all_the_time() {
    let root = Authority::root("root");
    let end = End::new(root.issue(&server()), &root.pem);
    let reloading = Reloading::new(&end.files, Duration::from_secs(3600), Material::read).unwrap();
    let before = reloading.current();
    let (certificate, key) = root.issue(&server());
    write(&end.files.certificate, &certificate);
    write(end.files.key.file().unwrap(), &key);
    assert!(Arc::ptr_eq(&before, &reloading.current()));
}

/// A call over a connection that stands, and how it ends once the server's files change: a stream that waits for ever.
async fn ends_with(serving: &Server, end: &End, change: impl FnOnce()) -> bool {
    let channel = serving.channel(&end.files);
    super::authority::call(channel.clone()).await.unwrap();
    let request = HealthCheckRequest { service: String::new() };
    let mut changes = HealthClient::new(channel).watch(request).await.unwrap().into_inner();
    changes.message().await.unwrap();
    change();
    let ended = tokio::time::timeout(PATIENCE, changes.message()).await;
    matches!(ended, Ok(Err(_)))
}

/// A connection that stands ends, and its streams with it, once its client's certificate is revoked by a CRL beside its
/// issuer, or its issuer is trusted no more; another client's goes on, and a CRL that another one signed changes nothing.
#[tokio::test]
async fn a_connection_ends_with_its_clients_certificate() {
    let (root, other) = (Authority::root("root"), Authority::root("other"));
    let both = format!("{}{}", root.pem, other.pem);
    let server_end = End::new(root.issue(&server()), &both);
    let serving = Server::start(&server_end.files).await;
    let revoked = End::new(root.issue(&client("revoked")), &root.pem);
    let stays = serving.channel(&End::new(root.issue(&client("stays")), &root.pem).files);
    super::authority::call(stays.clone()).await.unwrap();
    let trust = &server_end.files.trust;

    let forged = Authority::root("root").crl(&[&revoked]);
    write(trust, &format!("{both}{forged}"));
    serving.call(&revoked.files).await.unwrap();
    let crl = root.crl(&[&revoked]);
    assert!(ends_with(&serving, &revoked, || write(trust, &format!("{both}{crl}"))).await, "revoked");
    serving.call(&revoked.files).await.unwrap_err();

    let gone = End::new(other.issue(&client("gone")), &root.pem);
    assert!(
        ends_with(&serving, &gone, || write(trust, &format!("{}{crl}", root.pem))).await,
        "of an issuer that is gone"
    );
    serving.call(&gone.files).await.unwrap_err();
    super::authority::call(stays).await.unwrap();
    assert_eq!(serving.names().iter().filter(|name| *name == "stays").count(), 2, "over one connection");
}

/// A connection ends when its client's certificate expires: shown with a clock that comes to its end at the third look.
#[tokio::test]
async fn a_connection_ends_when_its_clients_certificate_expires() {
    let root = Authority::root("root");
    let mut params = client("short");
    params.not_after = date_time_ymd(2100, 1, 1);
    let end = End::new(root.issue(&params), &root.pem);
    let material = Material::read(&end.files).unwrap();
    let certificate = CertificateDer::from_pem_file(&end.files.certificate).unwrap();
    let (_clients, watched) = watch::channel(Arc::new(material.clients()));
    let looks = AtomicU64::new(0);
    let now = || match looks.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => UnixTime::now(),
        // Some day in 2200; the root stands longer.
        _ => UnixTime::since_unix_epoch(Duration::from_secs(7_260_000_000)),
    };
    let why = tokio::time::timeout(PATIENCE, unfit(certificate, watched, Duration::from_millis(1), now)).await;
    assert_eq!((why.as_deref(), looks.load(Ordering::Relaxed)), (Ok("its certificate expired"), 3));
}
