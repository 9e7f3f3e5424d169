//! A station's past, for whoever measures or tests what becomes of it with age.

pub mod device;
mod issuer;
pub mod past;

use std::{error::Error, fmt};

/// Something could not be done, in words.
#[derive(Debug)]
pub struct Failed(String);

impl Failed {
    /// In these words.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

impl Error for Failed {}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says what was attempted, with the error and its causes.
pub fn because<E: Error>(act: &'static str) -> impl Fn(E) -> Failed {
    move |error| Failed(format!("could not {act}: {}", service::in_full(&error)))
}
