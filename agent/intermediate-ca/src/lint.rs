//! The last look before a TBSCertificate is recorded and signed: what stands in the bytes, not what was asked of the
//! library that made them.

use issuance::{CommonName, KeyAlgorithm, PublicKey, Purpose};
use x509_parser::{
    certificate::TbsCertificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
};

use crate::pki::CaCertificate;

/// What the bytes must say.
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a CaCertificate,
    pub(crate) serial: &'a [u8],
    pub(crate) common_name: &'a CommonName,
    pub(crate) public_key: &'a PublicKey,
    pub(crate) purpose: Purpose,
    /// Seconds since 1970.
    pub(crate) not_before: i64,
    /// Seconds since 1970.
    pub(crate) not_after: i64,
}

/// Holds the bytes against what they must say; the error is the first difference.
pub(crate) fn lint(tbs: &[u8], expected: &Expected<'_>) -> Result<(), String> {
    let Ok(([], parsed)) = TbsCertificate::from_der(tbs) else {
        return Err("it is not a TBSCertificate".to_owned());
    };
    let must = |holds: bool, problem: &str| if holds { Ok(()) } else { Err(problem.to_owned()) };
    let issuer = expected.issuer;
    must(parsed.version().0 == 2, "it is not version 3")?;
    must(parsed.raw_serial() == expected.serial, "its certificate serial is not the reserved one")?;
    must(
        parsed.signature.algorithm.to_id_string() == signature_oid(issuer.public_key.algorithm()),
        "its signature algorithm is not the issuer's",
    )?;
    must(parsed.issuer.as_raw() == issuer.subject, "its issuer is not the CA's subject, byte for byte")?;
    must(parsed.subject_pki.raw == expected.public_key.spki(), "its key is not the request's, byte for byte")?;
    let validity = &parsed.validity;
    must(
        validity.not_before.timestamp() == expected.not_before && validity.not_after.timestamp() == expected.not_after,
        "its validity is not the planned one",
    )?;
    must(
        expected.not_before >= issuer.not_before
            && expected.not_after <= issuer.not_after
            && expected.not_before < expected.not_after,
        "its validity is not within its issuer's",
    )?;
    let subject: Vec<_> = parsed.subject.iter_attributes().collect();
    let common_names: Vec<_> = parsed.subject.iter_common_name().filter_map(|name| name.as_str().ok()).collect();
    must(
        subject.len() == 1 && common_names == [expected.common_name.as_str()],
        "its subject is not the request's CN alone",
    )?;
    lint_extensions(&parsed, expected, &must)
}

fn lint_extensions(
    parsed: &TbsCertificate<'_>,
    expected: &Expected<'_>,
    must: &impl Fn(bool, &str) -> Result<(), String>,
) -> Result<(), String> {
    let mut seen = [0_u8; 6];
    let mut saw = |which: usize| {
        seen[which] += 1;
        seen[which] == 1
    };
    let (is_ca, path_length) = match expected.purpose {
        Purpose::DeviceCa { path_length } => (true, Some(u32::from(path_length))),
        Purpose::DeviceIdentity | Purpose::Server => (false, None),
    };
    let is_server = expected.purpose == Purpose::Server;
    for extension in parsed.extensions() {
        let critical = extension.critical;
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) => must(
                saw(0) && critical && constraints.ca == is_ca && constraints.path_len_constraint == path_length,
                "its BasicConstraints is not the profile's",
            )?,
            ParsedExtension::KeyUsage(usage) => {
                // RFC 5280 §4.2.1.3: bit 0 digitalSignature, bit 5 keyCertSign.
                let bits = if is_ca { 1 | 1 << 5 } else { 1 };
                must(saw(1) && critical && usage.flags == bits, "its KeyUsage is not the profile's")?;
            }
            ParsedExtension::ExtendedKeyUsage(usage) => must(
                saw(2)
                    && !is_ca
                    && usage.server_auth == is_server
                    && usage.client_auth != is_server
                    && !(usage.any
                        || usage.code_signing
                        || usage.email_protection
                        || usage.time_stamping
                        || usage.ocsp_signing)
                    && usage.other.is_empty(),
                "its ExtendedKeyUsage is not the profile's",
            )?,
            ParsedExtension::SubjectKeyIdentifier(identifier) => {
                must(saw(3) && !critical && identifier.0.len() == 20, "its SubjectKeyIdentifier is not 20 octets")?;
            }
            ParsedExtension::AuthorityKeyIdentifier(identifier) => must(
                saw(4)
                    && !critical
                    && identifier.key_identifier.as_ref().is_some_and(|id| id.0 == expected.issuer.key_identifier),
                "its AuthorityKeyIdentifier is not the issuer's SubjectKeyIdentifier",
            )?,
            ParsedExtension::SubjectAlternativeName(names) => must(
                saw(5)
                    && is_server
                    && matches!(names.general_names.as_slice(),
                        [GeneralName::DNSName(name)] if *name == expected.common_name.as_str()),
                "its SubjectAltName is not the CN alone",
            )?,
            _ => return Err(format!("it has an extension {} that no profile gives", extension.oid)),
        }
    }
    must(seen == [1, 1, u8::from(!is_ca), 1, 1, u8::from(is_server)], "an extension that the profile gives is missing")
}

/// Whether a planned TBSCertificate was made for this issuer: its name and its key. One planned before the issuer's
/// key was replaced must not be signed with the new one.
pub(crate) fn is_issued_by(tbs: &[u8], issuer: &CaCertificate) -> bool {
    let Ok(([], parsed)) = TbsCertificate::from_der(tbs) else { return false };
    parsed.issuer.as_raw() == issuer.subject
        && parsed.extensions().iter().any(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(identifier) => {
                identifier.key_identifier.as_ref().is_some_and(|id| id.0 == issuer.key_identifier)
            }
            _ => false,
        })
}

/// RFC 5758 §3.2, RFC 4055 §5: what `KeyAlgorithm` signs with.
fn signature_oid(algorithm: KeyAlgorithm) -> &'static str {
    match algorithm {
        KeyAlgorithm::P256 => "1.2.840.10045.4.3.2",
        KeyAlgorithm::P384 => "1.2.840.10045.4.3.3",
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => "1.2.840.113549.1.1.11",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use issuance::Timestamp;
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
        KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber, SigningKey as _,
    };

    use super::*;
    use crate::{
        certificate::{IssuedBy, assemble, tbs_certificate},
        pki::{ca_tbs, moment},
        profile::tests::ca,
    };

    const START: i64 = 1_767_225_600;
    const END: i64 = START + 1_000;

    fn public(key: &KeyPair) -> PublicKey {
        PublicKey::from_der(&key.subject_public_key_info()).unwrap()
    }

    pub(crate) fn issuer(name: &str) -> CaCertificate {
        let key = KeyPair::generate().unwrap();
        let settings = ca(name, Some(1), 100);
        let tbs = ca_tbs(&settings, &public(&key), None, Timestamp(START * 1_000)).unwrap();
        let der = assemble(&tbs, &key.sign(&tbs).unwrap()).unwrap();
        CaCertificate::parse(&settings, &der, None).unwrap()
    }

    fn params(purpose: Purpose) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.not_before = moment(START).unwrap();
        params.not_after = moment(END).unwrap();
        params.serial_number = Some(SerialNumber::from_slice(&[7; 16]));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "name.example");
        params.use_authority_key_identifier_extension = true;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        match purpose {
            Purpose::DeviceCa { path_length } => {
                params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
                params.key_usages.push(KeyUsagePurpose::KeyCertSign);
            }
            Purpose::DeviceIdentity => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            Purpose::Server => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                params.subject_alt_names = vec![SanType::DnsName("name.example".try_into().unwrap())];
            }
        }
        params
    }

    const DEVICE_CA: Purpose = Purpose::DeviceCa { path_length: 0 };

    /// What a profile says passes; each single change of the bytes is told by its own words.
    #[test]
    fn each_difference_is_told() {
        use Purpose::{DeviceIdentity, Server};
        let (issuer, other) = (issuer("device-ca"), issuer("device-identity"));
        let key = public(&KeyPair::generate().unwrap());
        let common_name = CommonName::parse("name.example").unwrap();
        let found = |params: &CertificateParams, purpose, key_in: &PublicKey, by: &CaCertificate| {
            let by = IssuedBy::Ca { certificate: &by.der, key: &by.public_key };
            let expected = Expected {
                issuer: &issuer,
                serial: &[7; 16],
                common_name: &common_name,
                public_key: &key,
                purpose,
                not_before: START,
                not_after: END,
            };
            lint(&tbs_certificate(params, key_in, by).unwrap(), &expected)
        };
        for purpose in [DEVICE_CA, DeviceIdentity, Server] {
            assert_eq!(found(&params(purpose), purpose, &key, &issuer), Ok(()), "{purpose:?}");
        }
        type Change = fn(&mut CertificateParams);
        let changes: [(Purpose, Change, &str); 17] = [
            (Server, |p| p.serial_number = Some(SerialNumber::from_slice(&[8; 16])), "certificate serial"),
            (Server, |p| p.not_after = moment(END + 1).unwrap(), "planned one"),
            (Server, |p| p.not_before = moment(START - 1).unwrap(), "planned one"),
            (Server, |p| p.distinguished_name.push(DnType::OrganizationName, "O"), "CN alone"),
            (Server, |p| p.distinguished_name.push(DnType::CommonName, "other"), "CN alone"),
            (DEVICE_CA, |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), "BasicConstraints"),
            (DEVICE_CA, |p| p.is_ca = IsCa::ExplicitNoCa, "BasicConstraints"),
            (Server, |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)), "BasicConstraints"),
            (Server, |p| p.key_usages.push(KeyUsagePurpose::KeyCertSign), "KeyUsage"),
            (DEVICE_CA, |p| p.key_usages.truncate(1), "KeyUsage"),
            (DeviceIdentity, |p| p.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth), "ExtendedKeyUsage"),
            (DEVICE_CA, |p| p.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth), "ExtendedKeyUsage"),
            (DeviceIdentity, |p| p.extended_key_usages.clear(), "missing"),
            (Server, |p| p.subject_alt_names.clear(), "missing"),
            (DeviceIdentity, |p| p.is_ca = IsCa::NoCa, "missing"),
            (Server, |p| p.use_authority_key_identifier_extension = false, "missing"),
            (Server, |p| p.key_identifier_method = KeyIdMethod::PreSpecified(vec![1]), "SubjectKeyIdentifier"),
        ];
        for (purpose, change, words) in changes {
            let mut changed = params(purpose);
            change(&mut changed);
            let problem = found(&changed, purpose, &key, &issuer).unwrap_err();
            assert!(problem.contains(words), "{problem} lacks {words:?}");
        }
        let mut foreign = params(Server);
        foreign.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0])];
        assert!(found(&foreign, Server, &key, &issuer).unwrap_err().contains("1.2.3"));
        assert!(found(&params(Server), Server, &key, &other).unwrap_err().contains("issuer is not"));
        let stranger = public(&KeyPair::generate().unwrap());
        assert!(found(&params(Server), Server, &stranger, &issuer).unwrap_err().contains("key is not"));
    }
}
