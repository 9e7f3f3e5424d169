//! A gRPC server's limits, the same in every process that serves.

use std::time::Duration;

use tonic::transport::Server;

/// A batch of 256 certification requests of RSA-2048 is under 512 KiB; both ends of every service use the same bound
/// (`max_decoding_message_size`, `max_encoding_message_size`).
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Calls under way on one connection: a page watches every fixture and asks a little besides.
const CALLS_PER_CONNECTION: usize = 128;

/// Names, tokens and trace contexts are under 4 KiB; RFC 9113 §10.5.1 leaves the bound to us.
const HEADER_BYTES_MAX: u32 = 16 * 1024;

/// Below the minute or so after which firewalls forget a silent connection.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(20);

/// A client that is alive answers a ping in milliseconds; a page's machine may be asleep.
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(10);

/// A server with limits on calls, headers and dead connections; add a [`crate::gate::Gate`], which bounds the time of calls,
/// services, health and reflection, and serve a [`crate::tls::Listener`]'s connections.
pub fn server() -> Server {
    Server::builder()
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
        .max_concurrent_streams(u32::try_from(CALLS_PER_CONNECTION).unwrap_or(u32::MAX))
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_ANSWER))
}
