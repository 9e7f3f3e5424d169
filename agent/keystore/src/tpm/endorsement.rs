//! The endorsement key: who a TPM is, and what secrets for it are encrypted to.

use issuance::{DeviceIdentity, Fault, FaultKind, certificate, residency};
use tss_esapi::{
    Context,
    abstraction::{
        AsymmetricAlgorithmSelection as Algorithm, ek::create_ek_public_from_default_template_2 as template,
    },
    interface_types::{ecc::EccCurve, key_bits::RsaKeyBits},
};

use super::{attest, fault, identity, link::Held, primary::Primary};

/// What is known of a TPM from one connection to the next.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) ek: Ek,
    /// The AK, once it was asked for.
    ak: Option<Primary>,
}

impl Keys {
    /// Those of the TPM that was visited, or of whichever is there. One that says to have the EK certificate of those that are
    /// `known`, and knows what their TPM saved, is that TPM, or it cannot answer in a session that is salted to their EK.
    pub(super) fn find<'c>(
        context: &'c mut Context,
        visited: Option<&DeviceIdentity>,
        known: Option<Self>,
    ) -> Result<(Self, Held<'c>), Fault> {
        let (certificate, is_visited) = match visited {
            Some(DeviceIdentity::Tpm { ek_certificate, .. }) => (ek_certificate.clone(), true),
            _ => (identity::ek_certificate(context)?, false),
        };
        // Without a certificate only a visit says that it is to be the same one.
        let is_known = |known: &Self| known.ek.certificate == certificate && (certificate.is_some() || is_visited);
        if let Some(known) = known.filter(is_known)
            && let Some(object) = known.ek.key.take_back(context)?
        {
            return Ok((known, Held::transient(context, object)));
        }
        let (ek, held) = Ek::make(context, certificate, is_visited)?;
        Ok((Self { ek, ak: None }, held))
    }

    /// The AK, with its marshalled public area.
    pub(super) fn ak<'c>(&mut self, context: &'c mut Context) -> Result<(Held<'c>, Vec<u8>), Fault> {
        if let Some(known) = &mut self.ak {
            return Ok((known.load(context)?, known.public_area.clone()));
        }
        let (made, held) = attest::make_ak(context)?;
        let known = self.ak.insert(made);
        Ok((held, known.public_area.clone()))
    }
}

/// The EK of a connection: the one that its certificate names.
#[derive(Debug)]
pub(super) struct Ek {
    /// Its certificate from NV; `None` when the TPM keeps none.
    pub(super) certificate: Option<Vec<u8>>,
    /// Of the template that makes it.
    algorithm: Algorithm,
    pub(super) key: Primary,
}

impl Ek {
    /// A key that is not the certificate's is nobody's. Never one that the TPM keeps at a handle: what tpm2-tss encrypts a salt
    /// to is what the TPM's answer said, and that of TPM2_ReadPublic cannot be held against the certificate as it is kept
    /// there. That of TPM2_CreatePrimary is the one that is returned.
    fn make(context: &mut Context, certificate: Option<Vec<u8>>, is_visited: bool) -> Result<(Self, Held<'_>), Fault> {
        const ACT: &str = "could not re-create the endorsement key";
        let other = || match is_visited {
            true => Fault::new(FaultKind::NotSameDevice, "another TPM is there than was identified"),
            false => {
                Fault::new(FaultKind::Mismatch, "the TPM's endorsement key is not the one that its certificate names")
            }
        };
        // The EK that stands for a TPM without an EK certificate.
        let uncertified = Algorithm::Ecc(EccCurve::NistP256);
        let algorithm = match &certificate {
            Some(certificate) => algorithm(certificate).ok_or_else(other)?,
            None => uncertified,
        };
        let (key, held) = Primary::make(context, template(algorithm, None).map_err(fault::during(ACT))?, ACT)?;
        let ek = Self { certificate, algorithm, key };
        match ek.is_its_certificates() {
            true => Ok((ek, held)),
            false => Err(other()),
        }
    }

    /// Whether its use is authorised by policy (TCG EK Credential Profile, B.6: PolicyA), else by its own, empty,
    /// authorisation.
    pub(super) fn wants_policy(&self) -> Result<bool, tss_esapi::Error> {
        Ok(!template(self.algorithm, None)?.object_attributes().user_with_auth())
    }

    fn is_its_certificates(&self) -> bool {
        let is_of =
            |certificate: &Vec<u8>| residency::check_ek_certificate_key(&self.key.public_area, certificate).is_ok();
        self.certificate.as_ref().is_none_or(is_of)
    }
}

/// Of the key in an EK certificate; `None` when no EK has such a one (TCG EK Credential Profile, B.3).
fn algorithm(certificate: &[u8]) -> Option<Algorithm> {
    let key = certificate::subject_public_key(certificate)?;
    match (key.first()?, key.len()) {
        (0x04, 65) => Some(Algorithm::Ecc(EccCurve::NistP256)),
        (0x04, 97) => Some(Algorithm::Ecc(EccCurve::NistP384)),
        (0x04, 133) => Some(Algorithm::Ecc(EccCurve::NistP521)),
        // RSAPublicKey: modulus, exponent and their tags and lengths.
        (0x30, 260..=290) => Some(Algorithm::Rsa(RsaKeyBits::Rsa2048)),
        (0x30, 390..=420) => Some(Algorithm::Rsa(RsaKeyBits::Rsa3072)),
        (0x30, 516..=546) => Some(Algorithm::Rsa(RsaKeyBits::Rsa4096)),
        _ => None,
    }
}
