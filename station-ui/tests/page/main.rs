//! The page against a station that does what the test says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod binary;
mod fake;
mod live;
mod pages;
mod protection;
mod scan;
mod strangers;
mod visitor;
