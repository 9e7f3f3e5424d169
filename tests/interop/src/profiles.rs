//! The profiles that are held against others' programs: each purpose as plain as it comes, and with everything that it may say.

use issuance::{KeyAlgorithm, Purpose};

/// A profile of [`CONFIGURATION`], and how its requests are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) purpose: Purpose,
    pub(crate) issuer: &'static str,
    /// What follows the device serial in the CN.
    pub(crate) suffix: &'static str,
    /// What the request asks for, in OpenSSL's words; `{serial}` is the device serial.
    pub(crate) asks: &'static [&'static str],
    /// Only RSA keys.
    pub(crate) rsa_alone: bool,
    /// What signs it, in OpenSSL's words: the issuer's key, and its own hash or the profile's.
    pub(crate) signed: &'static str,
}

const DEVICE_CA: Purpose = Purpose::DeviceCa { path_length: 0 };

pub(crate) const KINDS: [Kind; 10] = [
    Kind {
        name: "device-ca",
        purpose: DEVICE_CA,
        issuer: "device-ca",
        suffix: ".ca",
        asks: &[],
        rsa_alone: false,
        signed: "ecdsa-with-SHA256",
    },
    Kind {
        name: "device-ca-endless",
        purpose: DEVICE_CA,
        issuer: "device-ca",
        suffix: ".ca",
        asks: &["basicConstraints=critical,CA:TRUE,pathlen:0"],
        rsa_alone: false,
        signed: "ecdsa-with-SHA384",
    },
    Kind {
        name: "device-ca-full",
        purpose: DEVICE_CA,
        issuer: "device-ca",
        suffix: ".ca",
        asks: &[],
        rsa_alone: false,
        signed: "ecdsa-with-SHA512",
    },
    Kind {
        name: "device-identity",
        purpose: Purpose::DeviceIdentity,
        issuer: "device-identity",
        suffix: "",
        asks: &["extendedKeyUsage=clientAuth"],
        rsa_alone: false,
        signed: "ecdsa-with-SHA384",
    },
    Kind {
        name: "device-identity-full",
        purpose: Purpose::DeviceIdentity,
        issuer: "device-identity",
        suffix: ".device",
        asks: &["subjectAltName=URI:https://devices.example/{serial}"],
        rsa_alone: false,
        signed: "ecdsa-with-SHA256",
    },
    Kind {
        name: "device-identity-critical",
        purpose: Purpose::DeviceIdentity,
        issuer: "device-identity",
        suffix: ".device",
        asks: &[],
        rsa_alone: false,
        signed: "ecdsa-with-SHA512",
    },
    Kind {
        name: "device-identity-outlives",
        purpose: Purpose::DeviceIdentity,
        issuer: "device-identity",
        suffix: "",
        asks: &[],
        rsa_alone: false,
        signed: "ecdsa-with-SHA384",
    },
    Kind {
        name: "server",
        purpose: Purpose::Server,
        issuer: "device-identity",
        suffix: ".line.example",
        asks: &[],
        rsa_alone: false,
        signed: "ecdsa-with-SHA384",
    },
    Kind {
        name: "server-full",
        purpose: Purpose::Server,
        issuer: "panel",
        suffix: ".line.example",
        asks: &["subjectAltName=DNS:{serial}.line.example,DNS:panel.line.example,IP:10.1.2.3"],
        rsa_alone: false,
        signed: "sha384WithRSAEncryption",
    },
    Kind {
        name: "server-rsa",
        purpose: Purpose::Server,
        issuer: "panel",
        suffix: ".line.example",
        asks: &[],
        rsa_alone: true,
        signed: "sha512WithRSAEncryption",
    },
];

impl Kind {
    /// The device keys it is tried with.
    pub(crate) fn takes(&self, key: KeyAlgorithm) -> bool {
        !self.rsa_alone || key.is_rsa()
    }
}

/// Root, issuers and profiles of `ca.toml`: issuers of each algorithm, with an end and without one, with and without name
/// constraints; of each key every hash.
pub(crate) const CONFIGURATION: &str = r#"
[root]
common_name = "Interop Product Root"
organization = "Example Devices"
key = "P-384"
not_after = "9999-12-31T23:59:59Z"
[[issuer]]
name = "device-ca"
common_name = "Interop Device CA"
organization = "Example Devices"
key = "P-256"
path_length = 1
not_after = "9999-12-31T23:59:59Z"
[[issuer]]
name = "device-identity"
common_name = "Interop Identity CA"
key = "P-384"
path_length = 0
validity = "3650d"
[[issuer]]
name = "panel"
common_name = "Interop Panel CA"
organization = "Example Devices"
key = "RSA-2048"
path_length = 0
not_after = "2060-01-01T00:00:00Z"
[issuer.name_constraints]
permitted_dns = ["line.example"]
permitted_ips = ["10.0.0.0/8"]
excluded_dns = ["test.line.example"]

[[profile]]
name = "device-ca"
purpose = "device-ca"
path_length = 0
issuer = "device-ca"
validity = "1825d"
keys = ["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"]
[[profile]]
name = "device-ca-endless"
signature_hash = "SHA-384"
purpose = "device-ca"
path_length = 0
issuer = "device-ca"
not_after = "9999-12-31T23:59:59Z"
keys = ["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"]
[[profile]]
name = "device-ca-full"
signature_hash = "SHA-512"
purpose = "device-ca"
path_length = 0
issuer = "device-ca"
not_after = "2055-06-30T12:00:00Z"
keys = ["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"]
callers = ["station-1"]
key_usages = ["cRLSign"]
crl_distribution_points = ["http://pki.example/device-ca.crl"]
ocsp = ["http://ocsp.example/"]
ca_issuers = ["http://pki.example/device-ca.cer"]
certificate_policies = ["1.3.6.1.4.1.99999.1"]
[profile.subject]
common_name = "{serial}.ca"
country = "DE"
organization = "Example Devices"
organizational_unit = "Gateways"
[profile.name_constraints]
permitted_dns = ["line.example"]
excluded_dns = ["test.line.example"]
permitted_ips = ["10.0.0.0/8", "fd00::/8"]
[[profile]]
name = "device-identity"
purpose = "device-identity"
issuer = "device-identity"
validity = "1825d"
keys = ["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"]
[[profile]]
name = "device-identity-full"
signature_hash = "SHA-256"
purpose = "device-identity"
issuer = "device-identity"
validity = "1825d"
keys = ["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"]
key_usages = ["contentCommitment"]
extended_key_usages = ["1.3.6.1.4.1.99999.2"]
crl_distribution_points = ["http://pki.example/identity.crl", "http://pki.line.example/identity.crl"]
ocsp = ["http://ocsp.example/"]
ca_issuers = ["http://pki.example/identity.cer"]
certificate_policies = ["1.3.6.1.4.1.99999.1", "1.3.6.1.4.1.99999.3"]
[profile.subject]
common_name = "{serial}.device"
organization = "Example Devices"
[profile.subject_alternative_names]
uris = ["https://devices.example/{serial}"]
[[profile]]
name = "device-identity-critical"
signature_hash = "SHA-512"
purpose = "device-identity"
issuer = "device-identity"
validity = "1825d"
keys = ["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"]
certificate_policies = ["1.3.6.1.4.1.99999.1"]
critical = ["certificatePolicies", "extendedKeyUsage", "subjectAltName"]
[profile.subject]
organizational_unit = "Gateways"
[profile.subject_alternative_names]
uris = ["urn:example:device:{serial}"]
[[profile]]
name = "device-identity-outlives"
purpose = "device-identity"
issuer = "device-identity"
not_after = "9999-12-31T23:59:59Z"
outlives_issuer = true
keys = ["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"]
[[profile]]
name = "server"
purpose = "server"
issuer = "device-identity"
validity = "365d"
keys = ["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"]
[[profile]]
name = "server-full"
signature_hash = "SHA-384"
purpose = "server"
issuer = "panel"
validity = "365d"
keys = ["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"]
extended_key_usages = ["clientAuth"]
crl_distribution_points = ["http://pki.example/panel.crl"]
ocsp = ["http://ocsp.example/"]
ca_issuers = ["http://pki.example/panel.cer"]
certificate_policies = ["1.3.6.1.4.1.99999.1"]
[profile.subject]
common_name = "{serial}.line.example"
country = "DE"
organization = "Example Devices"
[profile.subject_alternative_names]
dns_suffixes = ["line.example"]
ip_networks = ["10.0.0.0/8"]
[[profile]]
name = "server-rsa"
signature_hash = "SHA-512"
purpose = "server"
issuer = "panel"
validity = "365d"
keys = ["RSA-2048", "RSA-3072", "RSA-4096"]
key_usages = ["keyEncipherment"]
"#;
