//! Accepting connections.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, info, warn};

use super::{
    Connection, GRPC_VERSIONS, Peer, TlsError, TlsFiles,
    material::Material,
    reload::{LOOK_EVERY, Reloading},
    trust::{ClientsOf, in_words},
};
use crate::limits::{Counted, Limits, One};

/// A whole line of fixtures and pages is some dozens of callers; 256 leaves room for their reconnecting all at once
/// after a network failure, and holds an attacker to a few MiB. Further ones wait in the kernel's queue.
const HANDSHAKES_MAX: usize = 256;

/// Of one address, so that whoever has no certificate keeps nobody else out: half of them all, for addresses that many share.
const HANDSHAKES_OF_ONE_ADDRESS: usize = HANDSHAKES_MAX / 2;

/// A handshake takes three packets and under 10 ms of work; ten seconds forgive a lossy link.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Finished handshakes that the server has not taken yet; it takes them at once.
const READY_MAX: usize = 32;

/// File descriptors (EMFILE) come back when connections end; spinning meanwhile would keep them from ending.
const PAUSE_AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

/// A listener's incoming mTLS connections, for `tonic::transport::Server::serve_with_incoming_shutdown`. Handshakes run
/// beside each other, each bounded in time; a failed one is logged and ends only itself.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    acceptor: Arc<Acceptor>,
}

struct Acceptor {
    config: Reloading<Accepting>,
    /// As of the newest files, for the connections that stand.
    clients: watch::Sender<Arc<ClientsOf>>,
    look_every: Duration,
    handshake_time: Duration,
    /// All connections, also those that shake hands.
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    of_addresses: Arc<Counted<IpAddr>>,
    of_callers: Arc<Counted<[u8; 32]>>,
}

/// What an accepted connection takes up; without `handshake` once that is over.
struct Places {
    connection: Option<OwnedSemaphorePermit>,
    handshake: Option<OwnedSemaphorePermit>,
}

/// What is made of the files.
struct Accepting {
    server: Arc<ServerConfig>,
    clients: Arc<ClientsOf>,
}

impl Accepting {
    fn of(files: &TlsFiles) -> Result<Self, TlsError> {
        let material = Material::read(files)?;
        Ok(Self { server: Arc::new(material.server_config(GRPC_VERSIONS)?), clients: Arc::new(material.clients()) })
    }
}

impl Listener {
    /// Reads the files and binds. Port 0 takes a free one: see [`Listener::local_address`].
    ///
    /// # Errors
    /// A file that cannot be used, or an address that cannot be bound; the error says what to do.
    pub async fn bind(address: SocketAddr, files: &TlsFiles, limits: &Limits) -> Result<Self, TlsError> {
        Self::bind_with(address, files, limits, LOOK_EVERY, HANDSHAKE_TIME).await
    }

    pub(super) async fn bind_with(
        address: SocketAddr,
        files: &TlsFiles,
        limits: &Limits,
        look_every: Duration,
        handshake_time: Duration,
    ) -> Result<Self, TlsError> {
        let config = Reloading::new(files, look_every, Accepting::of)?;
        let clients = watch::Sender::new(Arc::clone(&config.current().clients));
        let failed = |source: io::Error| TlsError::Bind { address, problem: bind_problem(&source), source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        // Not zero, as a test has it.
        let look_every = look_every.max(Duration::from_millis(10));
        let acceptor = Acceptor {
            config,
            clients,
            look_every,
            handshake_time,
            connections: Arc::new(Semaphore::new(limits.connections)),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            of_addresses: Counted::new(HANDSHAKES_OF_ONE_ADDRESS),
            of_callers: Counted::new(limits.connections_per_caller),
        };
        Ok(Self { socket, address, acceptor: Arc::new(acceptor) })
    }

    /// The address that was bound, with the port that port 0 became.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// A stream of connections that implement tonic's `Connected` with `ConnectInfo = Peer`. It never yields an error and
    /// ends with its listener. Dropping it stops listening and ends the handshakes under way.
    ///
    /// Must be called within a tokio runtime.
    pub fn incoming(self) -> ReceiverStream<io::Result<Connection>> {
        let (ready, incoming) = mpsc::channel(READY_MAX);
        tokio::spawn(self.accept_all(ready));
        ReceiverStream::new(incoming)
    }

    async fn accept_all(self, ready: mpsc::Sender<io::Result<Connection>>) {
        // Ends them all when it is dropped.
        let mut handshakes = JoinSet::new();
        let mut look = interval(self.acceptor.look_every);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = ready.closed() => return,
                _ = look.tick() => self.acceptor.look(),
                // Takes the finished ones out.
                Some(_) = handshakes.join_next() => {}
                (places, accepted) = self.accept() => match accepted {
                    Ok((stream, address)) => match self.acceptor.of_addresses.one(address.ip()) {
                        Some(of_address) => {
                            let shaking = self.acceptor.clone().shake_hands(stream, address, places, of_address, ready.clone());
                            handshakes.spawn(shaking);
                        }
                        None => info!(peer = %address, "refused a connection: too many of its address shake hands already"),
                    },
                    Err(error) => {
                        warn!(address = %self.address, %error, "could not accept a connection; trying on");
                        sleep(PAUSE_AFTER_ACCEPT_ERROR).await;
                    }
                },
            }
        }
    }

    async fn accept(&self) -> (Places, io::Result<(TcpStream, SocketAddr)>) {
        let Acceptor { connections, handshakes, .. } = &*self.acceptor;
        // Fails only when a semaphore is closed, which nobody does.
        let connection = connections.clone().acquire_owned().await.ok();
        let handshake = handshakes.clone().acquire_owned().await.ok();
        (Places { connection, handshake }, self.socket.accept().await)
    }
}

impl Acceptor {
    /// Has the connections that stand held against the files as they are now.
    fn look(&self) {
        let current = self.config.current();
        self.clients.send_if_modified(|clients| {
            let changed = !Arc::ptr_eq(clients, &current.clients);
            if changed {
                *clients = Arc::clone(&current.clients);
            }
            changed
        });
    }

    async fn shake_hands(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        Places { connection, handshake: shaking }: Places,
        of_address: One<IpAddr>,
        ready: mpsc::Sender<io::Result<Connection>>,
    ) {
        // Small messages go out at once; without it they wait for the other end's acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(peer = %address, %error, "could not switch off Nagle's algorithm");
        }
        let handshake = TlsAcceptor::from(Arc::clone(&self.config.current().server)).accept(stream);
        let stream = match timeout(self.handshake_time, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return info!(peer = %address, "refused a connection: {}", in_words(&error)),
            Err(_) => return info!(peer = %address, "refused a connection: no handshake in {:?}", self.handshake_time),
        };
        drop((shaking, of_address));
        let peer = match stream.get_ref().1.peer_certificates() {
            Some([certificate, ..]) => {
                Peer::of(certificate, address).map(|peer| (peer, certificate.clone().into_owned()))
            }
            _ => Err("is missing"),
        };
        match peer {
            Ok((peer, certificate)) => {
                let Some(of_caller) = self.of_callers.one(peer.fingerprint_sha256) else {
                    let common_name = &peer.common_name;
                    return info!(peer = %address, %common_name, "closed a connection: its certificate has as many as it may");
                };
                debug!(peer = %address, common_name = %peer.common_name, "accepted a connection");
                // Fails when the server has stopped taking connections: then this one ends.
                // It is held against nothing older than what it was accepted by.
                self.look();
                let places = (connection, of_caller);
                let connection = Connection::new(stream, peer, certificate, self.clients.subscribe(), places);
                let _ = ready.send(Ok(connection)).await;
            }
            Err(problem) => info!(peer = %address, "refused a connection: its certificate {problem}"),
        }
    }
}

fn bind_problem(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the address is in use; stop the process that has it (`ss -ltnp` names it) or configure another port"
                .to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; configure one of its own (`ip address` lists them)".to_owned()
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege; configure a higher port".to_owned(),
        _ => error.to_string(),
    }
}
