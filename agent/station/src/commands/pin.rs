//! `pin`: a supervisor's line, made where the PIN is typed.

use std::{io, process::ExitCode};

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::client::say;
use crate::supervisors::PinHash;

pub(super) fn run(badge: &str) -> ExitCode {
    // The whole capacity at once: a string that grows leaves copies behind.
    let mut typed = Zeroizing::new(String::with_capacity(1024));
    eprint!("PIN for {badge}, 6 to 32 digits: ");
    if badge.is_empty() || badge.contains(char::is_whitespace) {
        eprintln!("\na badge has no spaces and is not empty");
        return ExitCode::FAILURE;
    }
    if let Err(error) = io::stdin().read_line(&mut typed) {
        eprintln!("\ncould not read the PIN: {error}");
        return ExitCode::FAILURE;
    }
    match PinHash::of(&SecretString::from(typed.trim())) {
        Ok(hash) => match say(format!("{badge} {}", hash.to_text())) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            eprintln!("\n{error}");
            ExitCode::FAILURE
        }
    }
}
