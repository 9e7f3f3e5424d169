//! How long each kind of call may take before its worker is killed.

use std::time::Duration;

use super::message::Call;

/// Deadlines, for each kind of call. They bound a hang; a device that is merely slow must not meet them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadlines {
    /// [`identify`](issuance::Keystore::identify).
    pub identify: Duration,
    /// [`generate_key`](issuance::Keystore::generate_key).
    pub generate: Duration,
    /// [`attestation_key`](issuance::Keystore::attestation_key),
    /// [`activate_credential`](issuance::Keystore::activate_credential) and [`attest`](issuance::Keystore::attest).
    pub attest: Duration,
    /// [`find_key`](issuance::Keystore::find_key), [`residency_evidence`](issuance::Keystore::residency_evidence) and
    /// [`read_certificate`](issuance::Keystore::read_certificate).
    pub read: Duration,
    /// [`write_certificate`](issuance::Keystore::write_certificate),
    /// [`lock_certificate`](issuance::Keystore::lock_certificate),
    /// [`remove_certificate`](issuance::Keystore::remove_certificate) and [`remove_key`](issuance::Keystore::remove_key).
    pub write: Duration,
    /// [`sign`](issuance::Keystore::sign), however many messages.
    pub sign: Duration,
    /// Added to `sign` for each message.
    pub each_signature: Duration,
}

impl Deadlines {
    /// Starts the child, loads a vendor's module, and re-creates a storage root key: up to 10 s on a slow TPM. Some
    /// modules also wait 10 s for a network HSM.
    const IDENTIFY: Duration = Duration::from_secs(60);
    /// RSA-2048 took a TPM of 2016 up to two minutes; primes are luck.
    const GENERATE: Duration = Duration::from_secs(300);
    /// A primary RSA key is found anew from its seed: as long as one is generated.
    const ATTEST: Duration = Duration::from_secs(300);
    /// A read is tens of milliseconds, and a lost session is healed once in between.
    const READ: Duration = Duration::from_secs(30);
    /// NV writes are rate-limited by some TPMs to one in several seconds.
    const WRITE: Duration = Duration::from_secs(60);
    /// As a read, before the first signature.
    const SIGN: Duration = Duration::from_secs(30);
    /// An RSA signature of a slow TPM takes half a second.
    const EACH_SIGNATURE: Duration = Duration::from_secs(1);

    pub(super) fn of(&self, call: &Call) -> Duration {
        match call {
            Call::Identify => self.identify,
            Call::GenerateKey(..) => self.generate,
            Call::FindKey(_) | Call::ResidencyEvidence(_) | Call::ReadCertificate(_) => self.read,
            // Primary keys are re-created for these: seconds for an RSA one.
            Call::AttestationKey | Call::ActivateCredential(_) | Call::Attest(..) => self.attest,
            Call::WriteCertificate(..)
            | Call::LockCertificate(_)
            | Call::RemoveCertificate(..)
            | Call::RemoveKey(..) => self.write,
            Call::Sign(_, _, messages) => {
                self.sign + self.each_signature.saturating_mul(u32::try_from(messages.len()).unwrap_or(u32::MAX))
            }
        }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            identify: Self::IDENTIFY,
            generate: Self::GENERATE,
            attest: Self::ATTEST,
            read: Self::READ,
            write: Self::WRITE,
            sign: Self::SIGN,
            each_signature: Self::EACH_SIGNATURE,
        }
    }
}
