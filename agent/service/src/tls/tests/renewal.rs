//! Files that change while a server runs.

use std::fs;

use super::authority::{Authority, End, Server, client, server, write};

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
