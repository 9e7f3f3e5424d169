//! The operators' web page of one station: a gRPC client of `station.v1` like any other.
//!
//! `feed` keeps one Watch stream and folds it into a `Board`; `page` renders a board; `browsers` pushes what changed to
//! each browser; `scan` starts a device, `operators` keeps who scanned; `words` has every word in every language; `guard` decides which requests are from this page at all.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod board;
pub mod browsers;
pub mod configuration;
pub mod feed;
pub mod guard;
pub mod history;
mod metrics;
pub mod operators;
pub mod page;
pub mod scan;
pub mod server;
pub mod tile;
pub mod words;
