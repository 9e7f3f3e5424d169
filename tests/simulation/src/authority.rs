//! The CA: idempotent by the issuance's id, and moody.

use std::collections::BTreeMap;

use issuance::{
    IssuanceId, KeyAlgorithm, Profile, ProfileName, Purpose,
    profile::{NameTemplate, Pkcs11Places},
    request::CertificationRequest,
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber, SubjectPublicKeyInfo,
};
use station::profiles::{PinnedProfile, Profiles};

use crate::said;

/// The profile whose key has a place of its own for each line of issuances.
pub const DEVICE_CA: &str = "device-ca";
/// The profile whose key has one place on every device.
pub const NAMED: &str = "named";

/// What an issuance asked for, and what it got.
#[derive(Debug, Clone)]
pub struct Issued {
    request: Vec<u8>,
    /// DER: one, if the CA is as it should be.
    pub certificates: Vec<Vec<u8>>,
}

/// A root, its intermediate, and what it issued.
pub struct Authority {
    root: Vec<u8>,
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
    issued: BTreeMap<IssuanceId, Issued>,
    /// Certificates that were made, right and wrong ones.
    made: u64,
    /// A planted bug: another certificate for the same issuance.
    forgetful: bool,
}

/// Signs until the signature has 71 bytes, as every second one has: what a run puts on the disk then has the same size each
/// time, to the byte. Both other lengths differ by one.
///
/// # Errors
/// As `sign`.
pub fn of_even_length(mut sign: impl FnMut() -> Result<Vec<u8>, String>) -> Result<Vec<u8>, String> {
    loop {
        let signed = sign()?;
        if signed.len().checked_sub(71).is_some_and(|at| signed[at..].starts_with(&[0x30, 0x45, 0x02])) {
            return Ok(signed);
        }
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(1 << 62));
    params
}

fn ca(name: &str, path_length: u8) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

impl Authority {
    /// A CA with new keys. A forgetful one makes another certificate each time.
    ///
    /// # Errors
    /// In words, when no key can be made.
    pub fn new(forgetful: bool) -> Result<Self, String> {
        let (root_key, key) =
            (KeyPair::generate().map_err(said("root"))?, KeyPair::generate().map_err(said("issuer"))?);
        let root = of_even_length(|| Ok(ca("Root", 2).self_signed(&root_key).map_err(said("root"))?.der().to_vec()))?;
        let issuer = Issuer::new(ca("Root", 2), root_key);
        let der = of_even_length(|| {
            Ok(ca("Factory CA", 1).signed_by(&key, &issuer).map_err(said("issuer"))?.der().to_vec())
        })?;
        Ok(Self {
            root,
            der,
            issuer: Issuer::new(ca("Factory CA", 1), key),
            issued: BTreeMap::new(),
            made: 0,
            forgetful,
        })
    }

    /// The chain of its certificates, DER.
    #[must_use]
    pub fn chain(&self) -> Vec<Vec<u8>> {
        vec![self.der.clone()]
    }

    /// What it issued for each issuance.
    #[must_use]
    pub fn issued(&self) -> &BTreeMap<IssuanceId, Issued> {
        &self.issued
    }

    /// The certificate for a request: the same for the same issuance.
    ///
    /// # Errors
    /// In words: the request is not one, or is another than before.
    pub fn issue(&mut self, issuance: IssuanceId, request: &[u8]) -> Result<Vec<u8>, String> {
        let before = self.issued.get(&issuance);
        if before.is_some_and(|before| before.request != request) {
            return Err("an issuance was submitted again with another request".to_owned());
        }
        if let Some(certificate) = before.filter(|_| !self.forgetful).and_then(|before| before.certificates.first()) {
            return Ok(certificate.clone());
        }
        let certificate = self.certificate(request, None)?;
        let new = || Issued { request: request.to_vec(), certificates: vec![] };
        self.issued.entry(issuance).or_insert_with(new).certificates.push(certificate.clone());
        Ok(certificate)
    }

    /// A certificate that is not what was asked for: it has another name.
    ///
    /// # Errors
    /// In words.
    pub fn wrong(&mut self, request: &[u8]) -> Result<Vec<u8>, String> {
        self.certificate(request, Some("somebody.else"))
    }

    fn certificate(&mut self, request: &[u8], name: Option<&str>) -> Result<Vec<u8>, String> {
        let request = CertificationRequest::from_der(request).map_err(said("the request"))?;
        let mut params = named(name.unwrap_or(request.common_name().as_str()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        self.made += 1;
        params.serial_number = Some(SerialNumber::from((1 << 62) + self.made));
        let key = SubjectPublicKeyInfo::from_der(request.public_key().spki()).map_err(said("the key"))?;
        let sign = || Ok(params.signed_by(&key, &self.issuer).map_err(said("the certificate"))?.der().to_vec());
        of_even_length(sign)
    }

    /// The profiles that the station issues under.
    ///
    /// # Errors
    /// In words; never.
    pub fn profiles(&self) -> Result<Profiles, String> {
        let profile = |name: &str, common_name: &str, cka_id: Option<Vec<u8>>| {
            Ok(PinnedProfile {
                profile: Profile {
                    name: ProfileName::parse(name).map_err(said("profile"))?,
                    purpose: Purpose::DeviceCa { path_length: 0 },
                    key_algorithm: KeyAlgorithm::P256,
                    common_name: NameTemplate::parse(common_name).map_err(said("template"))?,
                    hostname: NameTemplate::parse("{serial}").map_err(said("template"))?,
                    device_id: NameTemplate::parse("{serial}").map_err(said("template"))?,
                    tpm: None,
                    pkcs11: Some(Pkcs11Places { cka_id, label: "device".to_owned() }),
                },
                issuers: vec![self.der.clone()],
                issuer_names: vec!["Factory CA".to_owned()],
                roots: vec![self.root.clone()],
                endorsement: None,
                sha256: [1; 32],
            })
        };
        let profiles: Result<Vec<_>, String> =
            [profile(DEVICE_CA, "{serial}.ca", None), profile(NAMED, "{serial}.id", Some(vec![1]))]
                .into_iter()
                .collect();
        Ok(Profiles::new(profiles?))
    }
}
