//! What certificates are named: the subject beside its CN, and the SAN.

use std::net::IpAddr;

use issuance::{
    CommonName, DeviceSerial, Purpose,
    certificate::name_constraints::{GivenName, IpNetwork, Subtree},
    profile::NameTemplate,
    request::RequestedExtensions,
};

/// What the subject says. The CN comes from the request; the rest stands before it, the same for every device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectRules {
    /// What the CN must be for this device serial; `None`: whatever keeps the rules of CNs.
    pub common_name: Option<NameTemplate>,
    /// C: two capital letters (ISO 3166, RFC 5280 appendix A.1).
    pub country: Option<String>,
    /// O: 1 to 64 characters.
    pub organization: Option<String>,
    /// OU: 1 to 64 characters.
    pub organizational_unit: Option<String>,
}

/// What the SAN says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlternativeNameRules {
    /// The CN is a dNSName as well.
    pub common_name: bool,
    /// Domains beneath which a request may ask for dNSNames; the domain itself is among them.
    pub dns_suffixes: Vec<String>,
    /// Networks in which a request may ask for iPAddresses.
    pub ip_networks: Vec<IpNetwork>,
    /// URIs that every certificate carries, with its device serial.
    pub uris: Vec<NameTemplate>,
    /// Whether the extension is critical. RFC 5280 §4.2.1.6 would rather not, beside a subject.
    pub critical: bool,
}

/// The SAN of one certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) dns: Vec<String>,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) uris: Vec<String>,
}

impl Given {
    pub(crate) fn is_empty(&self) -> bool {
        self.dns.is_empty() && self.ips.is_empty() && self.uris.is_empty()
    }

    /// As they stand in the certificate.
    pub(crate) fn names(&self) -> impl Iterator<Item = GivenName> {
        let dns = self.dns.iter().cloned().map(GivenName::Dns);
        dns.chain(self.ips.iter().copied().map(GivenName::Ip)).chain(self.uris.iter().cloned().map(GivenName::Uri))
    }
}

impl SubjectRules {
    /// Holds the CN against the template; the error is what the CN must be.
    pub(crate) fn fits(&self, common_name: &CommonName, serial: &DeviceSerial) -> Result<(), String> {
        match self.common_name.as_ref().map(|template| template.fill(serial)) {
            // Byte for byte: the station compares it so.
            Some(expected) if expected != common_name.as_str() => Err(expected),
            _ => Ok(()),
        }
    }
}

impl AlternativeNameRules {
    /// What a purpose has when the configuration says nothing: a server has its CN.
    #[must_use]
    pub fn of(purpose: Purpose) -> Self {
        Self { common_name: purpose == Purpose::Server, ..Self::default() }
    }

    /// Whether some certificate has a SAN.
    pub(crate) fn gives_any(&self) -> bool {
        self.common_name || !(self.dns_suffixes.is_empty() && self.ip_networks.is_empty() && self.uris.is_empty())
    }

    /// The SAN that a request gets: what the profile gives, and of what it asks for all or nothing. The error is the first
    /// name that is not given.
    pub(crate) fn give(
        &self,
        asked: &RequestedExtensions,
        common_name: &CommonName,
        serial: &DeviceSerial,
    ) -> Result<Given, GivenName> {
        let mut given = Given::default();
        if self.common_name {
            given.dns.push(common_name.as_str().to_owned());
        }
        given.uris.extend(self.uris.iter().map(|template| template.fill(serial)));
        for name in &asked.dns_names {
            let is_allowed = || {
                let name = Subtree::Dns(name.clone());
                self.dns_suffixes.iter().any(|suffix| name.is_within(&Subtree::Dns(suffix.clone())))
            };
            if given.dns.iter().any(|already| already.eq_ignore_ascii_case(name)) {
                continue;
            }
            if !is_host_name(name) || !is_allowed() {
                return Err(GivenName::Dns(name.clone()));
            }
            given.dns.push(name.clone());
        }
        for name in &asked.other_names {
            match name {
                GivenName::Ip(ip) if given.ips.contains(ip) => {}
                GivenName::Ip(ip) if self.ip_networks.iter().any(|network| network.contains(*ip)) => {
                    given.ips.push(*ip);
                }
                GivenName::Uri(uri) if given.uris.contains(uri) => {}
                other => return Err(other.clone()),
            }
        }
        Ok(given)
    }

    /// What a request may ask for, in words.
    pub(crate) fn offer(&self) -> String {
        let mut offers = Vec::new();
        if self.common_name {
            offers.push("the CN as dNSName".to_owned());
        }
        offers.extend(self.dns_suffixes.iter().map(|suffix| format!("dNSNames under {suffix}")));
        offers.extend(self.ip_networks.iter().map(|network| format!("iPAddresses in {network}")));
        offers.extend(self.uris.iter().map(|uri| format!("the URI {}", uri.as_str())));
        if offers.is_empty() { "no subjectAltName".to_owned() } else { offers.join(", ") }
    }
}

/// RFC 1123 §2.1: labels of letters, digits and inner hyphens.
pub(crate) fn is_host_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.chars().all(|character| character.is_ascii_alphanumeric() || character == '-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}
