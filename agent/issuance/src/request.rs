//! Certification requests (PKCS#10, RFC 2986): parsed, and held to proof of possession.

use x509_parser::{
    certification_request::X509CertificationRequest, cri_attributes::ParsedCriAttribute, extensions::ParsedExtension,
    prelude::FromDer, public_key::PublicKey as ParsedKey,
};

use crate::{
    CommonName, PublicKey,
    certificate::name_constraints::{GivenName, given_name},
    names::NameError,
    public_key::{PublicKeyError, algorithm_words, signature_hash},
};

/// A certification request whose signature was verified with the key that it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificationRequest {
    der: Vec<u8>,
    info: Vec<u8>,
    common_name: CommonName,
    public_key: PublicKey,
    extensions: RequestedExtensions,
}

/// What the request's extensionRequest attribute asks for; absent extensions ask for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestedExtensions {
    /// BasicConstraints: cA and pathLenConstraint.
    pub basic_constraints: Option<(bool, Option<u32>)>,
    /// KeyUsage has keyCertSign. Its other bits are the profile's matter: many clients ask for some by habit.
    pub key_cert_sign: bool,
    /// KeyUsage has cRLSign.
    pub crl_sign: bool,
    /// EKU has clientAuth.
    pub client_auth: bool,
    /// EKU has serverAuth.
    pub server_auth: bool,
    /// Every other purpose of the EKU, as a dotted object identifier or RFC 5280's word.
    pub other_usages: Vec<String>,
    /// dNSName entries of the SAN.
    pub dns_names: Vec<String>,
    /// Every other entry of the SAN.
    pub other_names: Vec<GivenName>,
}

/// Why bytes are not a certification request that we accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificationRequestError {
    /// Not one PKCS#10.
    #[error("the certification request is not one DER-encoded PKCS#10 (RFC 2986)")]
    NotDer,
    /// Of another version than RFC 2986 knows.
    #[error("the certification request says version {0}: RFC 2986 §4.1 knows 0 alone")]
    Version(u32),
    /// An RSA key whose exponent nobody should use: with 1 everybody signs.
    #[error(
        "the certification request's RSA key has a public exponent of {0} bit: an odd one above 2^16 and below 2^256 is \
         accepted (FIPS 186-5 §5.1), 65537 as a rule"
    )]
    Exponent(usize),
    /// Over [`CertificationRequest::MAX`].
    #[error("the certification request has {0} bytes: at most 16384 are accepted")]
    TooLarge(usize),
    /// Its key is of an algorithm that we do not accept.
    #[error("the certification request's key is not accepted")]
    Key(#[source] PublicKeyError),
    /// Its signature algorithm does not belong to its key, or is weak.
    #[error(
        "the certification request is signed with {0}: sign with the key's own algorithm and SHA-256, SHA-384 or SHA-512"
    )]
    SignatureAlgorithm(String),
    /// No proof of possession.
    #[error(
        "the certification request's signature does not verify with the key it holds: the key's possession is not proven"
    )]
    NoProofOfPossession,
    /// No CN, or several.
    #[error("the certification request's subject has {0} common names (CN): give exactly one")]
    CommonNames(usize),
    /// A CN in a string that is not read.
    #[error("the certification request's CN is {0}: write it as UTF8String or PrintableString (RFC 5280 §4.1.2.4)")]
    CommonNameString(&'static str),
    /// A CN that breaks a rule.
    #[error("the certification request's subject is not accepted")]
    CommonName(#[source] NameError),
    /// An extension that asks twice, or cannot be read: it would not be clear what was asked for.
    #[error("the certification request asks for {0}: ask for each extension once, as RFC 5280 §4.2 has it")]
    Extension(&'static str),
}

impl CertificationRequest {
    /// An RSA-4096 request with evidence-free attributes has under 2 KiB; 16 KiB leaves room for long SANs and no more.
    pub const MAX: usize = 16_384;

    /// Parses a request and verifies its signature with its own key.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificationRequestError> {
        use CertificationRequestError as Error;
        if der.len() > Self::MAX {
            return Err(Error::TooLarge(der.len()));
        }
        let (rest, parsed) = X509CertificationRequest::from_der(der).map_err(|_| Error::NotDer)?;
        if !rest.is_empty() {
            return Err(Error::NotDer);
        }
        let info = &parsed.certification_request_info;
        if info.version.0 != 0 {
            return Err(Error::Version(info.version.0));
        }
        let public_key = PublicKey::from_der(info.subject_pki.raw).map_err(Error::Key)?;
        if let Ok(ParsedKey::RSA(rsa)) = info.subject_pki.parsed() {
            check_exponent(rsa.exponent)?;
        }
        // Allow-listed before anything is verified.
        let oid = parsed.signature_algorithm.algorithm.to_id_string();
        let Some(hash) = signature_hash(&oid, public_key.algorithm().is_rsa()) else {
            return Err(Error::SignatureAlgorithm(algorithm_words(&oid)));
        };
        if !public_key.verifies_with(hash, info.raw, &parsed.signature_value.data) {
            return Err(Error::NoProofOfPossession);
        }

        let names: Vec<_> = info.subject.iter_common_name().collect();
        let [name] = names.as_slice() else { return Err(Error::CommonNames(names.len())) };
        let text = name.as_str().map_err(|_| Error::CommonNameString(string_of(name.attr_value().tag().0)))?;
        let common_name = CommonName::parse(text).map_err(Error::CommonName)?;

        let mut extensions = RequestedExtensions::default();
        let mut asked = Vec::new();
        for attribute in info.iter_attributes() {
            if let ParsedCriAttribute::ExtensionRequest(request) = attribute.parsed_attribute() {
                for extension in &request.extensions {
                    if asked.contains(&&extension.oid) {
                        return Err(Error::Extension("the same extension twice"));
                    }
                    asked.push(&extension.oid);
                    extensions.take(extension.parsed_extension())?;
                }
            }
        }
        Ok(Self { der: der.to_vec(), info: info.raw.to_vec(), common_name, public_key, extensions })
    }

    /// The bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// CertificationRequestInfo (RFC 2986 §4.1), DER: what was signed.
    #[must_use]
    pub fn info(&self) -> &[u8] {
        &self.info
    }

    /// The subject's CN.
    #[must_use]
    pub fn common_name(&self) -> &CommonName {
        &self.common_name
    }

    /// The key, whose possession is proven.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// What it asks for.
    #[must_use]
    pub fn extensions(&self) -> &RequestedExtensions {
        &self.extensions
    }
}

/// FIPS 186-5 §5.1 (e): odd, 2^16 < e < 2^256. DER INTEGER content.
fn check_exponent(exponent: &[u8]) -> Result<(), CertificationRequestError> {
    let octets: Vec<u8> = exponent.iter().copied().skip_while(|octet| *octet == 0).collect();
    let bits = octets.len() * 8 - octets.first().map_or(0, |first| first.leading_zeros() as usize);
    let is_odd = octets.last().is_some_and(|last| last % 2 == 1);
    if is_odd && (17..=256).contains(&bits) { Ok(()) } else { Err(CertificationRequestError::Exponent(bits)) }
}

/// What an attribute's value is, by its tag (X.680 §8.4).
fn string_of(tag: u32) -> &'static str {
    match tag {
        12 => "a UTF8String that is no UTF-8",
        20 => "a TeletexString",
        28 => "a UniversalString",
        30 => "a BMPString",
        _ => "no text",
    }
}

impl RequestedExtensions {
    fn take(&mut self, extension: &ParsedExtension<'_>) -> Result<(), CertificationRequestError> {
        match extension {
            ParsedExtension::ParseError { .. } => {
                return Err(CertificationRequestError::Extension("an extension that cannot be read"));
            }
            ParsedExtension::BasicConstraints(constraints) => {
                self.basic_constraints = Some((constraints.ca, constraints.path_len_constraint));
            }
            ParsedExtension::KeyUsage(usage) => {
                self.key_cert_sign = usage.key_cert_sign();
                self.crl_sign = usage.crl_sign();
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                self.client_auth |= usage.client_auth;
                self.server_auth |= usage.server_auth;
                let others = [
                    (usage.any, "anyExtendedKeyUsage"),
                    (usage.code_signing, "codeSigning"),
                    (usage.email_protection, "emailProtection"),
                    (usage.time_stamping, "timeStamping"),
                    (usage.ocsp_signing, "OCSPSigning"),
                ];
                self.other_usages.extend(others.iter().filter(|(asked, _)| *asked).map(|(_, name)| (*name).to_owned()));
                self.other_usages.extend(usage.other.iter().map(|oid| oid.to_id_string()));
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                for name in names.general_names.iter().map(given_name) {
                    match name {
                        GivenName::Dns(name) => self.dns_names.push(name),
                        other => self.other_names.push(other),
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
