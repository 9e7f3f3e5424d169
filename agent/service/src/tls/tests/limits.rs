//! How many connections there may be at once.

use tokio::{io::AsyncReadExt as _, time::timeout};
use tonic::transport::Channel;

use super::authority::{Authority, End, PATIENCE, Server, call, client, server, silent};
use crate::limits::Limits;

/// A connection that stays, and has carried a call.
async fn stays(server: &Server, end: &End) -> Result<Channel, tonic::Status> {
    let channel = server.channel(&end.files);
    call(channel.clone()).await.map(|()| channel)
}

/// One certificate has as many connections as it may, and a place again for each that ends; another one's are its own.
#[tokio::test]
async fn connections_of_one_caller_are_counted() {
    let root = Authority::root("root");
    let end = End::new(root.issue(&server()), &root.pem);
    let limits = Limits { connections_per_caller: 2, ..Limits::OF_A_STATION };
    let server = Server::start_limited(&end.files, &limits).await;
    let [mes, other] = ["mes-1", "mes-2"].map(|name| End::new(root.issue(&client(name)), &root.pem));
    let mut stand = vec![stays(&server, &mes).await.unwrap(), stays(&server, &mes).await.unwrap()];
    assert!(stays(&server, &mes).await.is_err(), "a third connection of one certificate");
    stays(&server, &other).await.unwrap();
    call(stand[0].clone()).await.unwrap();
    stand.pop();
    // The server notices the end in its own time.
    let again = async { while stays(&server, &mes).await.is_err() {} };
    timeout(PATIENCE, again).await.expect("a place that is free is not given");
}

/// As many connections as may be: a further one waits until another ends.
#[tokio::test]
async fn all_connections_are_counted() {
    let root = Authority::root("root");
    let end = End::new(root.issue(&server()), &root.pem);
    let server = Server::start_limited(&end.files, &Limits { connections: 1, ..Limits::OF_A_STATION }).await;
    let end = End::new(root.issue(&client("mes-1")), &root.pem);
    let stands = stays(&server, &end).await.unwrap();
    let mut waits = tokio::spawn(call(server.channel(&end.files)));
    call(stands.clone()).await.unwrap();
    assert!(futures_are_pending(&mut waits).await, "a second connection was taken");
    drop(stands);
    timeout(PATIENCE, waits).await.expect("a place that is free is not given").unwrap().unwrap();
}

/// Not done yet, after whoever else is ready had a turn.
async fn futures_are_pending<T>(task: &mut tokio::task::JoinHandle<T>) -> bool {
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    !task.is_finished()
}

/// Connections of one address that never shake hands take half of the places at most: what is beyond is closed at once, and
/// whoever comes from another address is served.
#[tokio::test]
async fn silent_connections_of_one_address_keep_nobody_out() {
    let root = Authority::root("root");
    let end = End::new(root.issue(&server()), &root.pem);
    let server = Server::start_limited(&end.files, &Limits::OF_A_STATION).await;
    let mut stand = Vec::new();
    for _ in 0..300 {
        stand.push(silent(2, server.address).await);
    }
    let last = stand.last_mut().unwrap();
    let read = timeout(PATIENCE, last.read(&mut [0])).await.expect("it was taken, and nobody is left to be");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    let end = End::new(root.issue(&client("mes-1")), &root.pem);
    server.call(&end.files).await.unwrap();
    // The first ones still stand: their time is a day.
    assert!(timeout(std::time::Duration::ZERO, stand[0].read(&mut [0])).await.is_err());
}
