//! The operators' page in a real browser.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod accessible;
mod busy;
mod chromium;
#[path = "../../station-ui/tests/page/fake.rs"]
mod fake;
mod hardware;
mod keyboard;
mod odd;
mod quick;
mod real;
mod states;
mod supervised;
