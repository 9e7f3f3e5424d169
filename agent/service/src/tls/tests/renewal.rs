//! Files that change while a server runs.

use std::{
    fs, io,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::authority::{Authority, End, Server, client, server, write};
use crate::tls::{material::Material, reload::Reloading};

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
    write(&server_end.files.key, &key);
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
    write(&end.files.key, &key);
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
        (&files.key, "-----BEGIN PRIVATE KEY-----\n"),
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
    write(&files.key, &other_key);
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
    write(&end.files.key, &key);
    assert!(Arc::ptr_eq(&before, &reloading.current()));
}
