//! Real handshakes on 127.0.0.1 with certificates made for the test.

mod authority;
mod exhaustion;
mod files;
mod handshake;
mod hardware;
mod limits;
mod renewal;
