//! The station: fixtures, the driver, the submission queue, gRPC and the command line.
//!
//! One issuance flows one way: [`grpc`] parses and asks the [`ledger`], the [`fixtures`]' threads run the [`driver`], the
//! driver's requests wait in the ledger's queue, [`submission`] takes them to the CA through a [`connector`], and the
//! answer goes back to the fixture. [`station`] is the one file that names the concrete parts.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod attest;
pub mod board;
pub mod commands;
pub mod configuration;
pub mod confirmation;
pub mod connector;
pub mod csr;
pub mod driver;
pub mod events;
pub mod files;
pub mod fixtures;
pub mod grpc;
pub mod health;
pub mod inspection;
pub mod ledger;
pub mod metrics;
pub mod profiles;
pub mod records;
pub mod rows;
pub mod seek;
pub mod station;
pub mod story;
pub mod submission;
pub mod supervisors;
#[cfg(test)]
mod testing;
pub mod trails;
pub mod view;
pub mod watch;
mod watchman;
pub mod witness;
pub mod words;
