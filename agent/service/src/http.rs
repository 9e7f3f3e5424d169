//! HTTP/1.1 connections, bounded in number, size and time: what CRLs, EST and metrics are served over.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

/// What one listener bears.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// At once; further ones wait in the kernel's queue.
    pub connections: usize,
    /// From the connection, or the last answer, until a request's headers are there.
    pub headers: Duration,
    /// A connection's whole life.
    pub connection: Duration,
}

/// A request's headers: names, a few tokens and a client's boasts are under 4 KiB; hyper wants at least 8.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// File descriptors (EMFILE) come back when connections end; spinning meanwhile would keep them from ending.
const PAUSE_AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

/// What is under way when the server stops gets this long.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Accepts until `shutdown`; each connection is carried by `carry`, which ends when it does.
pub async fn accept<C: Future<Output = ()> + Send + 'static>(
    socket: TcpListener,
    limits: Limits,
    carry: impl Fn(TcpStream, SocketAddr) -> C,
    shutdown: impl Future<Output = ()>,
) {
    let permits = Arc::new(Semaphore::new(limits.connections));
    // Ends them all when it is dropped.
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let next = async {
            // Fails only when the semaphore is closed, which nobody does.
            let permit = permits.clone().acquire_owned().await.ok();
            (permit, socket.accept().await)
        };
        tokio::select! {
            () = &mut shutdown => break,
            // Takes the finished ones out.
            Some(_) = connections.join_next() => {}
            (permit, accepted) = next => match accepted {
                Ok((stream, address)) => {
                    let carried = timeout(limits.connection, carry(stream, address));
                    connections.spawn(async move {
                        let _permit = permit;
                        if carried.await.is_err() {
                            debug!(peer = %address, "a connection lasted too long, and was closed");
                        }
                    });
                }
                Err(error) => {
                    warn!(%error, "could not accept a connection; trying on");
                    sleep(PAUSE_AFTER_ACCEPT_ERROR).await;
                }
            },
        }
    }
    drop(socket);
    let _ = timeout(END_WITHIN, async { while connections.join_next().await.is_some() {} }).await;
}

/// Answers the requests of one connection.
pub async fn answer<S>(stream: S, address: SocketAddr, routes: Router, limits: Limits)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .await;
    if let Err(error) = served {
        debug!(peer = %address, error = crate::in_full(&error), "a connection ended early");
    }
}

/// Binds.
///
/// # Errors
/// The address cannot be listened on; the error names it.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("could not listen on {address}: {error}")))
}
