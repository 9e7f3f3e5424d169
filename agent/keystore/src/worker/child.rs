//! The child: one keystore, served until the parent is gone.

use std::{
    io::{self, IsTerminal as _},
    os::{fd::AsFd as _, unix::net::UnixStream},
    process::ExitCode,
    thread,
    time::Duration,
};

use issuance::{Fault, FaultKind, Keystore, ValidatedCertificate};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{DumpableBehavior, Signal, getpid, kill_process},
};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{
    frame::{self, Limit},
    message::{Answer, Bytes, Call, Request, Response},
    settings::Opening,
};
use crate::{Pkcs11, Tpm};

/// A TPM is let go of when nothing was asked of it for this long: longer than the pause between two steps of one
/// issuance, shorter than what another program would notice.
const LINGER: Duration = Duration::from_millis(100);

/// How long the call under way may go on when the parent is gone. A driver killed in the middle may leave its device
/// half written (SoftHSM truncates a token's file at each login), so it is let finish; a hung one is not waited for longer.
const LAST_CALL: Duration = Duration::from_secs(10);

/// Serves one keystore to the parent, over the socket that is this process's standard input.
///
/// Ends when the parent closes the socket. Exit codes: 0 then, 2 when the socket breaks or was never one.
#[must_use]
pub fn run() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keystore worker: {error}");
            ExitCode::from(2)
        }
    }
}

fn serve() -> io::Result<()> {
    if io::stdin().is_terminal() {
        return Err(io::Error::other("it is started by a station or a CA, with a socket as its standard input"));
    }
    // The PIN is not to be in a core dump.
    if let Err(error) = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::debug!(%error, "core dumps stay possible");
    }
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    watch_parent(stream.try_clone()?)?;
    let Some(opening) = frame::receive(&stream, Limit::SETTINGS, None)? else { return Ok(()) };
    let mut served = Served::open(opening)?;
    loop {
        if !is_readable_within(&stream, LINGER)? {
            served.rest();
        }
        let Some(content) = frame::receive(&stream, Limit::CALL, None)? else { return Ok(()) };
        let Request { number, call } = frame::decode(&content)?;
        let outcome = answer(served.keystore(), call);
        let response = Response { number, outcome, rejected: served.rejected() };
        frame::send(&stream, &frame::encode(&response, Limit::CALL)?, None)?;
    }
}

/// Ends this process when the parent is gone and the call under way does not end.
fn watch_parent(stream: UnixStream) -> io::Result<()> {
    let watch = move || {
        // No event is asked for: a closed socket is always told.
        while let Err(rustix::io::Errno::INTR) = poll(&mut [PollFd::new(&stream, PollFlags::empty())], None) {}
        thread::sleep(LAST_CALL);
        // Exit handlers belong to the driver that hangs.
        let _ = kill_process(getpid(), Signal::KILL);
    };
    thread::Builder::new().name("parent-watch".to_owned()).spawn(watch).map(drop)
}

/// The device of this process.
enum Served {
    Tpm(Box<Tpm>),
    Pkcs11(Box<Pkcs11>),
}

impl Served {
    fn open(frame: Zeroizing<Vec<u8>>) -> io::Result<Self> {
        let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        Ok(match postcard::from_bytes(&frame).map_err(malformed)? {
            Opening::Tpm { tcti, visited } => Self::Tpm(Box::new(Tpm::lingering(tcti).visiting(visited))),
            Opening::Pkcs11 { module, token, pin, sessions, visited, rejected, login_in_doubt } => {
                let mut keystore = Pkcs11::new(module, token, SecretString::from(pin))
                    .with_sessions(sessions)
                    .visiting(visited.map(str::to_owned));
                keystore.reject(rejected.into_iter().map(str::to_owned));
                keystore.doubt_login(login_in_doubt);
                Self::Pkcs11(Box::new(keystore))
            }
        })
    }

    fn keystore(&mut self) -> &mut dyn Keystore {
        match self {
            Self::Tpm(keystore) => keystore.as_mut(),
            Self::Pkcs11(keystore) => keystore.as_mut(),
        }
    }

    fn rest(&mut self) {
        match self {
            Self::Tpm(keystore) => keystore.release(),
            // A token serves many at once; its session stays.
            Self::Pkcs11(_) => {}
        }
    }

    fn rejected(&self) -> Vec<String> {
        match self {
            Self::Tpm(_) => Vec::new(),
            Self::Pkcs11(keystore) => keystore.rejected().iter().cloned().collect(),
        }
    }
}

fn answer(keystore: &mut dyn Keystore, call: Call) -> Result<Answer, Fault> {
    Ok(match call {
        Call::Identify => Answer::Identity(keystore.identify()?),
        Call::FindKey(location) => Answer::Found(keystore.find_key(&location)?),
        Call::GenerateKey(location, algorithm) => Answer::Generated(keystore.generate_key(&location, algorithm)?),
        Call::AttestationKey => Answer::AttestationKey(keystore.attestation_key()?),
        Call::ActivateCredential(credential) => Answer::Secret(Bytes(keystore.activate_credential(&credential)?)),
        Call::ResidencyEvidence(location) => Answer::Evidence(keystore.residency_evidence(&location)?),
        Call::Attest(location, challenge) => Answer::Attested(keystore.attest(&location, challenge)?),
        Call::Sign(location, hash, messages) => {
            let messages: Vec<Vec<u8>> = messages.into_iter().map(|message| message.0).collect();
            let signatures = match hash {
                None => keystore.sign(&location, &messages)?,
                Some(hash) => keystore.sign_with(&location, hash, &messages)?,
            };
            Answer::Signatures(signatures.into_iter().map(Bytes).collect())
        }
        Call::ReadCertificate(location) => Answer::Certificate(keystore.read_certificate(&location)?.map(Bytes)),
        Call::WriteCertificate(location, der, expectation) => {
            let certificate = ValidatedCertificate::validate(&der.0, *expectation).map_err(|error| {
                Fault::caused(FaultKind::CertificateRejected, "did not write the certificate", error)
            })?;
            keystore.write_certificate(&location, &certificate)?;
            Answer::Written
        }
        Call::LockCertificate(location) => {
            keystore.lock_certificate(&location)?;
            Answer::Locked
        }
        Call::RemoveCertificate(location, der) => {
            keystore.remove_certificate(&location, &der.0)?;
            Answer::Removed
        }
        Call::RemoveKey(location, public_key) => {
            keystore.remove_key(&location, &public_key)?;
            Answer::Removed
        }
    })
}

fn is_readable_within(stream: &UnixStream, patience: Duration) -> io::Result<bool> {
    let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
    let mut watched = [PollFd::new(stream, PollFlags::IN)];
    match poll(&mut watched, Some(&patience)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use issuance::{CertificateExpectation, CertificateLocation, CommonName, PublicKey, Purpose, Timestamp};

    use super::*;
    use crate::der;

    /// A parent that sends a certificate which does not pass is refused before the device is asked: it would be absent.
    #[test]
    fn a_certificate_is_validated_again() {
        let expectation = CertificateExpectation {
            public_key: PublicKey::from_der(&der::rsa_public_key(&[0xC1; 256], &[1, 0, 1])).unwrap(),
            common_name: CommonName::parse("device").unwrap(),
            purpose: Purpose::DeviceIdentity,
            issuers: Vec::new(),
            intermediates: Vec::new(),
            roots: Vec::new(),
            at: Timestamp(0),
        };
        let place = CertificateLocation::NvIndex(0x0180_0010);
        let call = Call::WriteCertificate(place, Bytes(vec![0x30, 0x00]), Box::new(expectation));
        let refused = answer(&mut Tpm::new("swtpm:path=/nowhere"), call).unwrap_err();
        assert_eq!(refused.kind, FaultKind::CertificateRejected);
    }
}
