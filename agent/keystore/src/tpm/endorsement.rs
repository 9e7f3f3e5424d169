//! The endorsement key: who a TPM is, and what secrets for it are encrypted to.

use issuance::{DeviceIdentity, Fault, FaultKind, certificate, residency};
use tss_esapi::{
    Context,
    abstraction::{
        AsymmetricAlgorithmSelection as Algorithm, ek::create_ek_public_from_default_template_2 as template,
    },
    handles::{KeyHandle, TpmHandle},
    interface_types::{ecc::EccCurve, key_bits::RsaKeyBits, resource_handles::Hierarchy},
    structures::Public,
    traits::Marshall as _,
};

use super::{
    fault, identity,
    link::{Held, handles},
    session::authorised,
};

/// Where EKs are kept when they are kept (TCG registry of reserved handles).
const KEPT: std::ops::RangeInclusive<u32> = 0x8101_0000..=0x8101_FFFF;
/// More EKs than any TPM keeps.
const KEPT_MOST: u32 = 16;

/// The EK of a connection: the one that its certificate names.
#[derive(Debug, Clone)]
pub(super) struct Ek {
    /// Its certificate from NV; `None` when the TPM keeps none.
    pub(super) certificate: Option<Vec<u8>>,
    /// Of the template that re-creates it.
    algorithm: Algorithm,
    /// TPMT_PUBLIC.
    pub(super) public_area: Vec<u8>,
}

impl Ek {
    /// The EK of the TPM that was visited, or of whichever is there. A key that is not the certificate's is nobody's.
    pub(super) fn find<'c>(
        context: &'c mut Context,
        visited: Option<&DeviceIdentity>,
    ) -> Result<(Self, Held<'c>), Fault> {
        let (certificate, visited) = match visited {
            Some(DeviceIdentity::Tpm { ek_certificate, .. }) => (ek_certificate.clone(), true),
            _ => (identity::ek_certificate(context)?, false),
        };
        let other = || match visited {
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
        // Not a kept one: what tpm2-tss encrypts a salt to is what the TPM's answer said, and that of TPM2_ReadPublic cannot be
        // held against the certificate as it is kept there. That of TPM2_CreatePrimary is the one that is returned.
        let (held, public_area) = recreate(context, algorithm)?;
        let ek = Self { certificate, algorithm, public_area };
        match ek.is_its_certificates() {
            true => Ok((ek, held)),
            false => Err(other()),
        }
    }

    /// The same one, loaded again over a guarded link.
    pub(super) fn load<'c>(&self, context: &'c mut Context) -> Result<Held<'c>, Fault> {
        if let Some(handle) = self.kept(context)? {
            return Held::standing(context, handle).map_err(fault::during("could not open the endorsement key"));
        }
        let (held, public_area) = recreate(context, self.algorithm)?;
        match public_area == self.public_area {
            true => Ok(held),
            false => Err(Fault::new(FaultKind::NotSameDevice, "the TPM has another endorsement key than before")),
        }
    }

    /// Where it stands, when the TPM keeps it: re-creating an RSA key takes a TPM seconds.
    fn kept(&self, context: &mut Context) -> Result<Option<TpmHandle>, Fault> {
        const ACT: &str = "could not read the endorsement key";
        for handle in handles(context, *KEPT.start(), KEPT_MOST)? {
            if !KEPT.contains(&u32::from(handle)) {
                continue;
            }
            let mut held = Held::standing(context, handle).map_err(fault::during(ACT))?;
            let key = KeyHandle::from(held.handle());
            let (public, ..) = held.context().read_public(key).map_err(fault::during(ACT))?;
            if public.marshall().map_err(fault::during(ACT))? == self.public_area {
                return Ok(Some(handle));
            }
        }
        Ok(None)
    }

    /// Whether its use is authorised by policy (TCG EK Credential Profile, B.6: PolicyA), else by its own, empty,
    /// authorisation.
    pub(super) fn wants_policy(&self) -> Result<bool, tss_esapi::Error> {
        Ok(!template(self.algorithm, None)?.object_attributes().user_with_auth())
    }

    fn is_its_certificates(&self) -> bool {
        let is_of = |certificate: &Vec<u8>| residency::check_ek_certificate_key(&self.public_area, certificate).is_ok();
        self.certificate.as_ref().is_none_or(is_of)
    }
}

fn recreate(context: &mut Context, algorithm: Algorithm) -> Result<(Held<'_>, Vec<u8>), Fault> {
    const ACT: &str = "could not re-create the endorsement key";
    primary(context, template(algorithm, None).map_err(fault::during(ACT))?, ACT)
}

/// A primary key of the endorsement hierarchy, with its marshalled public area.
pub(super) fn primary<'c>(
    context: &'c mut Context,
    template: Public,
    act: &'static str,
) -> Result<(Held<'c>, Vec<u8>), Fault> {
    let created =
        authorised(context, |context| context.create_primary(Hierarchy::Endorsement, template, None, None, None, None))
            .map_err(fault::during(act))?;
    let held = Held::transient(context, created.key_handle.into());
    let public_area = created.out_public.marshall().map_err(fault::during(act))?;
    Ok((held, public_area))
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
