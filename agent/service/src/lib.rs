//! INTERFACE SKETCH: the bodies are to be written; signatures may grow but what stands here is what others code against.
#![allow(clippy::todo, unused_variables, missing_docs)]

pub mod configuration {
    //! TOML configuration that reports every mistake at once, with its place in the file.
    use std::path::{Path, PathBuf};

    /// One mistake: `file:line:column: key: what was wrong; what to do`.
    #[derive(Debug, Clone)]
    pub struct Mistake { pub place: String, pub key: String, pub message: String }
    /// All of them. Displays one a line.
    #[derive(Debug, thiserror::Error)]
    #[error("sketch")]
    pub struct Mistakes(pub Vec<Mistake>);

    /// A configuration file that was read and parsed as TOML.
    pub struct File {}
    impl File {
        /// Reads and parses. Unreadable or not TOML: that one mistake.
        pub fn read(path: &Path) -> Result<Self, Mistakes> { todo!() }
        pub fn root(&self) -> Table<'_> { todo!() }
        /// SHA-256 of the file's bytes.
        pub fn sha256(&self) -> [u8; 32] { todo!() }
        /// Every mistake that tables of this file collected, and every key that nobody asked for ("unknown key … did you mean …?").
        pub fn finish(self) -> Result<(), Mistakes> { todo!() }
    }
    /// One table. Asking for a key marks it as known. What is missing or wrong is collected and `None` returned, so
    /// that reading goes on to the next mistake.
    pub struct Table<'a> { _sketch: &'a () }
    impl<'a> Table<'a> {
        pub fn string(&self, key: &str) -> Option<String> { todo!() }
        pub fn optional_string(&self, key: &str) -> Option<String> { todo!() }
        /// A required string that `parse` accepts; its error's Display is the mistake.
        pub fn parsed<T, E: std::fmt::Display>(&self, key: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> { todo!() }
        pub fn optional_parsed<T, E: std::fmt::Display>(&self, key: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> { todo!() }
        /// An integer in a range; accepts TOML hexadecimal as well.
        pub fn integer(&self, key: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> { todo!() }
        pub fn integer_or(&self, key: &str, range: std::ops::RangeInclusive<i64>, default: i64) -> i64 { todo!() }
        pub fn boolean_or(&self, key: &str, default: bool) -> bool { todo!() }
        /// `"250ms"`, `"30s"`, `"10min"`, `"2h"`, `"365d"`.
        pub fn duration(&self, key: &str) -> Option<std::time::Duration> { todo!() }
        pub fn duration_or(&self, key: &str, default: std::time::Duration) -> std::time::Duration { todo!() }
        /// A path, relative ones from the file's directory.
        pub fn path(&self, key: &str) -> Option<PathBuf> { todo!() }
        pub fn optional_path(&self, key: &str) -> Option<PathBuf> { todo!() }
        /// A required sub-table.
        pub fn table(&self, key: &str) -> Option<Table<'a>> { todo!() }
        pub fn optional_table(&self, key: &str) -> Option<Table<'a>> { todo!() }
        /// `[[key]]`; empty when absent.
        pub fn tables(&self, key: &str) -> Vec<Table<'a>> { todo!() }
        /// The keys and string values of a free-form sub-table such as an environment; empty when absent.
        pub fn string_map(&self, key: &str) -> Vec<(String, String)> { todo!() }
        pub fn string_list(&self, key: &str) -> Vec<String> { todo!() }
        /// Adds a mistake at `key` (for contradictions that only the caller sees).
        pub fn mistake(&self, key: &str, message: impl Into<String>) { todo!() }
    }
}

pub mod tls {
    //! Mutual TLS 1.3 over rustls with aws-lc-rs. Files are re-read when they change; a bad new file keeps the old one.
    use std::{net::SocketAddr, path::PathBuf, sync::Arc};

    /// One end's certificate (chain, leaf first), key, and the roots whose **directly issued** certificates the other end may show.
    #[derive(Debug, Clone)]
    pub struct TlsFiles { pub certificate: PathBuf, pub key: PathBuf, pub trust: PathBuf }

    impl TlsFiles {
        /// Reads `certificate`, `key`, `trust` of a table.
        pub fn from_table(table: &crate::configuration::Table<'_>) -> Option<Self> { todo!() }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("sketch")]
    pub struct TlsError;

    /// Who the other end proved to be; an extension of every tonic request (`request.extensions().get::<Peer>()`).
    #[derive(Debug, Clone)]
    pub struct Peer { pub common_name: String, pub uris: Vec<String>, pub fingerprint_sha256: [u8; 32], pub address: SocketAddr }

    /// A listener's incoming mTLS connections, for `tonic::transport::Server::serve_with_incoming_shutdown`. Handshakes run
    /// beside each other, each bounded in time; a failed one is logged and ends only itself.
    pub struct Listener {}
    impl Listener {
        /// Binds. `address` in use is an error that names it.
        pub async fn bind(address: SocketAddr, files: &TlsFiles) -> Result<Self, TlsError> { todo!() }
        pub fn local_address(&self) -> SocketAddr { todo!() }
        /// A stream of connections that implement tonic's `Connected` with `ConnectInfo = Peer`.
        pub fn incoming(self) -> tokio_stream::wrappers::ReceiverStream<Result<Connection, std::io::Error>> { todo!() }
    }
    pub struct Connection {}

    /// A lazily connecting tonic channel to `https://name:port`; the server's certificate must be issued directly by
    /// `files.trust` and be valid for the endpoint's host.
    pub fn channel(endpoint: &str, files: &TlsFiles, connect_timeout: std::time::Duration) -> Result<(), TlsError> { todo!() /* -> tonic Channel */ }
}
