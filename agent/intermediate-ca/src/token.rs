//! The CA's token, in a process of its own: a hung or crashing PKCS#11 module takes nothing else with it.

use std::{env, io, path::PathBuf};

use issuance::Keystore;
use keystore::{Deadlines, KeystoreSettings, Worker, WorkerSettings};
use service::secrets::{self, SecretError};

use crate::configuration::Token;

/// Why the token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The PIN's file.
    #[error("the token's PIN cannot be read")]
    Pin(#[from] SecretError),
    /// This program could not be found again to start the worker.
    #[error("the path of this program cannot be told, so that no keystore worker can be started")]
    Program(#[source] io::Error),
}

/// The token behind a worker: this same program, started with `keystore-worker` by the first call. So whoever embeds the
/// CA must answer to that argument with [`keystore::worker::run`].
///
/// `lock` is for who generates keys: two of them do not work on the token at the same time ([`WorkerSettings::lock`]).
///
/// # Errors
/// [`TokenError`]; whether the token is there tells the first call.
pub fn open_token(token: &Token, lock: Option<PathBuf>) -> Result<Box<dyn Keystore>, TokenError> {
    let pin = secrets::read(&token.pin_file)?;
    let program = env::current_exe().map_err(TokenError::Program)?;
    let keystore = KeystoreSettings::Pkcs11 {
        module: token.module.clone(),
        token: token.label.clone(),
        pin,
        sessions: token.sessions,
    };
    Ok(Box::new(Worker::new(WorkerSettings {
        program,
        arguments: vec!["keystore-worker".into()],
        keystore,
        environment: token.environment.clone(),
        lock,
        deadlines: Deadlines::default(),
    })))
}
