//! A CA in software, for the completed issuances of a station's past.

use issuance::request::CertificationRequest;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SubjectPublicKeyInfo,
};
use station::profiles::{PinnedProfile, Profiles};

use crate::{Failed, because};

/// Its intermediate's key, and what a station must be pinned to.
pub(crate) struct SoftwareIssuer {
    root: Vec<u8>,
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

const NAME: &str = "Former Device CA";

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn ca(name: &str, path_length: u8) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

impl SoftwareIssuer {
    /// A root and an intermediate with new keys; the intermediate's certificate is longer by so many octets.
    pub(crate) fn new(longer: usize) -> Result<Self, Failed> {
        let failed = because("make a CA in software");
        let (root_key, key) = (KeyPair::generate().map_err(&failed)?, KeyPair::generate().map_err(&failed)?);
        let root = ca("Former Root", 2).self_signed(&root_key).map_err(&failed)?;
        let mut params = ca(NAME, 1);
        if longer > 0 {
            // ITU-T X.660 keeps 2.999 for examples. It is not critical.
            params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 999, 1], vec![0; longer])];
        }
        let der = params.signed_by(&key, &Issuer::new(ca("Former Root", 2), root_key)).map_err(&failed)?;
        Ok(Self { root: root.der().to_vec(), der: der.der().to_vec(), issuer: Issuer::new(ca(NAME, 1), key) })
    }

    /// The chain of its certificates, DER.
    pub(crate) fn chain(&self) -> Vec<Vec<u8>> {
        vec![self.der.clone()]
    }

    /// A device CA's certificate for what the request asks.
    pub(crate) fn issue(&self, request: &[u8]) -> Result<Vec<u8>, Failed> {
        let request = CertificationRequest::from_der(request).map_err(because("read a certification request"))?;
        let mut params = named(request.common_name().as_str());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        let failed = because("issue a certificate in software");
        let key = SubjectPublicKeyInfo::from_der(request.public_key().spki()).map_err(&failed)?;
        Ok(params.signed_by(&key, &self.issuer).map_err(&failed)?.der().to_vec())
    }

    /// These profiles, pinned to this CA instead of their own.
    pub(crate) fn pinned(&self, profiles: &Profiles) -> Profiles {
        let pin = |pinned: &PinnedProfile| PinnedProfile {
            issuers: vec![self.der.clone()],
            issuer_names: vec![NAME.to_owned()],
            roots: vec![self.root.clone()],
            endorsement: None,
            ..pinned.clone()
        };
        Profiles::new(profiles.iter().map(pin).collect())
    }
}
