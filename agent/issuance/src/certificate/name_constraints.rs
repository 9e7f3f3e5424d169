//! Name constraints (RFC 5280 §4.2.1.10): which names a CA may give. DNS names and IP addresses are judged; a name of
//! another kind that is constrained is refused, as §4.2.1.10 wants of whoever does not process it.

use std::{fmt, net::IpAddr};

use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, NameConstraints as Parsed},
};

/// The subtrees within and outside which names must lie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameConstraints {
    /// A name of a kind that stands here lies within one of them.
    pub permitted: Vec<Subtree>,
    /// No name lies within one of these.
    pub excluded: Vec<Subtree>,
}

/// All names beneath one point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subtree {
    /// A domain and everything beneath it; one that begins with a dot is what stands beneath it alone.
    Dns(String),
    /// A network.
    Ip(IpNetwork),
    /// A kind of name that is not judged here.
    Other(&'static str),
}

/// A network: address and mask, 4 or 16 octets each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpNetwork {
    address: Vec<u8>,
    mask: Vec<u8>,
}

/// A name that a certificate carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GivenName {
    /// dNSName.
    Dns(String),
    /// iPAddress.
    Ip(IpAddr),
    /// uniformResourceIdentifier.
    Uri(String),
    /// Any other kind, by RFC 5280's word for it.
    Other(&'static str),
}

/// Not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a network such as 10.0.0.0/8 or fd00::/8, with no bit set after the prefix")]
pub struct NotANetwork;

impl IpNetwork {
    /// Parses `10.0.0.0/8` or `fd00::/8`.
    pub fn parse(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) = text.split_once('/').ok_or(NotANetwork)?;
        let address = octets(address.parse().map_err(|_| NotANetwork)?);
        let prefix: usize = prefix.parse().map_err(|_| NotANetwork)?;
        if prefix > address.len() * 8 {
            return Err(NotANetwork);
        }
        let mask: Vec<u8> = (0..address.len())
            .map(|index| match prefix.saturating_sub(index * 8) {
                0 => 0,
                bits @ 1..=7 => 0xff << (8 - bits),
                _ => 0xff,
            })
            .collect();
        let is_network = address.iter().zip(&mask).all(|(octet, mask)| octet & !mask == 0);
        is_network.then_some(Self { address, mask }).ok_or(NotANetwork)
    }

    /// From the certificate's octets: address, then mask (§4.2.1.10).
    fn from_octets(octets: &[u8]) -> Option<Self> {
        let (address, mask) = match octets.len() {
            8 | 32 => octets.split_at(octets.len() / 2),
            _ => return None,
        };
        Some(Self { address: address.to_vec(), mask: mask.to_vec() })
    }

    /// The address, 4 or 16 octets.
    #[must_use]
    pub fn address(&self) -> &[u8] {
        &self.address
    }

    /// The mask, as many.
    #[must_use]
    pub fn mask(&self) -> &[u8] {
        &self.mask
    }

    /// Whether an address lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.covers(&octets(address))
    }

    fn covers(&self, address: &[u8]) -> bool {
        address.len() == self.address.len()
            && address.iter().zip(&self.address).zip(&self.mask).all(|((one, other), mask)| one & mask == other & mask)
    }

    fn is_within(&self, outer: &Self) -> bool {
        outer.covers(&self.address) && self.mask.iter().zip(&outer.mask).all(|(inner, outer)| inner & outer == *outer)
    }
}

impl Subtree {
    /// Whether all of this subtree lies within another one.
    #[must_use]
    pub fn is_within(&self, outer: &Self) -> bool {
        match (self, outer) {
            (Self::Dns(inner), Self::Dns(outer)) => {
                dns_is_within(inner.strip_prefix('.').unwrap_or(inner), outer)
                    || inner.starts_with('.') && inner.eq_ignore_ascii_case(outer)
            }
            (Self::Ip(inner), Self::Ip(outer)) => inner.is_within(outer),
            _ => false,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dNSName",
            Self::Ip(_) => "iPAddress",
            Self::Other(kind) => kind,
        }
    }

    fn holds(&self, name: &GivenName) -> bool {
        match (self, name) {
            (Self::Dns(domain), GivenName::Dns(name)) => dns_is_within(name, domain),
            (Self::Ip(network), GivenName::Ip(address)) => network.contains(*address),
            // Not judged: it may lie within, and it may not.
            (Self::Other(kind), name) => *kind == name.kind(),
            _ => false,
        }
    }
}

impl GivenName {
    fn kind(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dNSName",
            Self::Ip(_) => "iPAddress",
            Self::Uri(_) => "uniformResourceIdentifier",
            Self::Other(kind) => kind,
        }
    }
}

impl NameConstraints {
    /// The constraints of a CA; `None` when it has none.
    ///
    /// # Errors
    /// The extension is malformed or stands twice.
    pub fn of(certificate: &X509Certificate<'_>) -> Result<Option<Self>, MalformedConstraints> {
        match certificate.name_constraints() {
            Ok(None) => Ok(None),
            Ok(Some(found)) => Self::parse(found.value).map(Some),
            Err(_) => Err(MalformedConstraints),
        }
    }

    /// From the parsed extension.
    ///
    /// # Errors
    /// A network that is none.
    pub fn parse(parsed: &Parsed<'_>) -> Result<Self, MalformedConstraints> {
        let subtrees = |found: &Option<Vec<x509_parser::extensions::GeneralSubtree<'_>>>| {
            found.iter().flatten().map(|subtree| subtree_of(&subtree.base)).collect::<Result<_, _>>()
        };
        Ok(Self { permitted: subtrees(&parsed.permitted_subtrees)?, excluded: subtrees(&parsed.excluded_subtrees)? })
    }

    /// Why a name may not stand beneath a CA with these constraints.
    ///
    /// # Errors
    /// It lies in an excluded subtree, outside the permitted ones, or is of a kind that is not judged.
    pub fn permit(&self, name: &GivenName) -> Result<(), NotPermitted> {
        let constrained = |subtree: &&Subtree| subtree.kind() == name.kind();
        let refused = |problem| Err(NotPermitted { name: name.clone(), problem });
        if self
            .permitted
            .iter()
            .chain(&self.excluded)
            .any(|subtree| matches!(subtree, Subtree::Other(_)) && constrained(&subtree))
        {
            return refused("is constrained, and names of its kind are not judged");
        }
        if self.excluded.iter().any(|subtree| subtree.holds(name)) {
            return refused("lies in an excluded subtree");
        }
        let mut permitted = self.permitted.iter().filter(constrained).peekable();
        if permitted.peek().is_some() && !permitted.any(|subtree| subtree.holds(name)) {
            return refused("lies in no permitted subtree");
        }
        Ok(())
    }

    /// Why names within a subtree may not all stand beneath a CA with these constraints; `None` when they may.
    #[must_use]
    pub fn objection(&self, subtree: &Subtree) -> Option<String> {
        if let Some(excluded) = self.excluded.iter().find(|excluded| subtree.is_within(excluded)) {
            return Some(format!("{subtree} lies within the excluded {excluded}"));
        }
        let mut permitted = self.permitted.iter().filter(|permitted| permitted.kind() == subtree.kind()).peekable();
        permitted.peek()?;
        let known: Vec<String> = permitted.clone().map(ToString::to_string).collect();
        (!permitted.any(|permitted| subtree.is_within(permitted)))
            .then(|| format!("{subtree} lies outside of what is permitted ({})", known.join(", ")))
    }

    /// Whether nothing is constrained.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.permitted.is_empty() && self.excluded.is_empty()
    }
}

/// Name constraints that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name constraints are malformed (RFC 5280 §4.2.1.10)")]
pub struct MalformedConstraints;

/// A name that a CA above it may not give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} {problem} (RFC 5280 §4.2.1.10)")]
pub struct NotPermitted {
    name: GivenName,
    /// What is wrong, in words that go on after the name.
    pub problem: &'static str,
}

/// The names that constraints above a certificate apply to: its subject and its SAN.
#[must_use]
pub fn given_names(certificate: &X509Certificate<'_>) -> Vec<GivenName> {
    let mut names = Vec::new();
    if certificate.subject().iter().next().is_some() {
        names.push(GivenName::Other("directoryName"));
    }
    // RFC 5280 §4.2.1.10: also the subject's e-mail address, where there is no SAN of that kind.
    if certificate.subject().iter_email().next().is_some() {
        names.push(GivenName::Other("rfc822Name"));
    }
    if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
        names.extend(alternative.value.general_names.iter().map(given_name));
    }
    names
}

/// One entry of a SAN.
#[must_use]
pub fn given_name(name: &GeneralName<'_>) -> GivenName {
    match name {
        GeneralName::DNSName(name) => GivenName::Dns((*name).to_owned()),
        GeneralName::URI(uri) => GivenName::Uri((*uri).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map_or(GivenName::Other("iPAddress"), GivenName::Ip),
        other => GivenName::Other(kind_of(other)),
    }
}

fn subtree_of(base: &GeneralName<'_>) -> Result<Subtree, MalformedConstraints> {
    Ok(match base {
        GeneralName::DNSName(name) => Subtree::Dns((*name).to_owned()),
        GeneralName::IPAddress(bytes) => Subtree::Ip(IpNetwork::from_octets(bytes).ok_or(MalformedConstraints)?),
        GeneralName::URI(_) => Subtree::Other("uniformResourceIdentifier"),
        GeneralName::Invalid(..) => return Err(MalformedConstraints),
        other => Subtree::Other(kind_of(other)),
    })
}

fn kind_of(name: &GeneralName<'_>) -> &'static str {
    match name {
        GeneralName::OtherName(..) => "otherName",
        GeneralName::RFC822Name(_) => "rfc822Name",
        GeneralName::DNSName(_) => "dNSName",
        GeneralName::X400Address(_) => "x400Address",
        GeneralName::DirectoryName(_) => "directoryName",
        GeneralName::EDIPartyName(_) => "ediPartyName",
        GeneralName::URI(_) => "uniformResourceIdentifier",
        GeneralName::IPAddress(_) => "iPAddress",
        GeneralName::RegisteredID(_) => "registeredID",
        GeneralName::Invalid(..) => "malformed name",
    }
}

fn dns_is_within(name: &str, domain: &str) -> bool {
    let (name, domain) = (name.to_ascii_lowercase(), domain.to_ascii_lowercase());
    match name.strip_suffix(&domain) {
        Some("") => !domain.starts_with('.'),
        Some(before) => domain.is_empty() || domain.starts_with('.') || before.ends_with('.'),
        None => false,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits: u32 = self.mask.iter().map(|octet| octet.count_ones()).sum();
        match address(&self.address) {
            Some(address) => write!(f, "{address}/{bits}"),
            None => f.write_str("no network"),
        }
    }
}

impl fmt::Display for Subtree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(domain) => f.write_str(domain),
            Self::Ip(network) => network.fmt(f),
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

impl fmt::Display for GivenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "the dNSName {name:?}"),
            Self::Ip(address) => write!(f, "the iPAddress {address}"),
            Self::Uri(uri) => write!(f, "the URI {uri:?}"),
            Self::Other(kind) => write!(f, "the {kind}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(name: &str) -> Subtree {
        Subtree::Dns(name.to_owned())
    }

    fn network(text: &str) -> Subtree {
        Subtree::Ip(IpNetwork::parse(text).unwrap())
    }

    /// Domains by labels and without case, networks by their masks, kinds that nobody constrains freely, kinds that are
    /// not judged never.
    #[test]
    fn names_are_permitted_as_rfc_5280_has_it() {
        let constraints = NameConstraints {
            permitted: vec![dns("line.example"), network("10.1.0.0/16")],
            excluded: vec![dns("test.line.example"), network("10.1.7.0/24"), Subtree::Other("rfc822Name")],
        };
        let named = |name: &str| GivenName::Dns(name.to_owned());
        let at = |address: &str| GivenName::Ip(address.parse().unwrap());
        for (name, problem) in [
            (named("line.example"), None),
            (named("SN-1.Line.Example"), None),
            (named("sn-1.online.example"), Some("no permitted")),
            (named("example"), Some("no permitted")),
            (named("a.test.line.example"), Some("excluded")),
            (named("atest.line.example"), None),
            (at("10.1.255.255"), None),
            (at("10.2.0.0"), Some("no permitted")),
            (at("10.1.7.9"), Some("excluded")),
            (at("fd00::1"), Some("no permitted")),
            (GivenName::Uri("urn:x".to_owned()), None),
            (GivenName::Other("directoryName"), None),
            (GivenName::Other("rfc822Name"), Some("not judged")),
        ] {
            let found = constraints.permit(&name).err().map(|error| error.problem);
            assert_eq!(found.is_some(), problem.is_some(), "{name}: {found:?}");
            assert!(found.unwrap_or_default().contains(problem.unwrap_or_default()), "{name}: {found:?}");
        }
    }

    /// A subtree beneath another one is one that has no name outside of it.
    #[test]
    fn subtrees_lie_within_each_other() {
        for (inner, outer, within) in [
            (dns("a.example"), dns("example"), true),
            (dns("example"), dns("a.example"), false),
            (dns("aexample"), dns("example"), false),
            (dns(".a.example"), dns(".a.example"), true),
            (dns("a.example"), dns(".a.example"), false),
            (dns(".a.example"), dns("a.example"), true),
            (network("10.1.0.0/16"), network("10.0.0.0/8"), true),
            (network("10.0.0.0/8"), network("10.1.0.0/16"), false),
            (network("fd00::/16"), network("0.0.0.0/0"), false),
            (dns("a.example"), network("0.0.0.0/0"), false),
        ] {
            assert_eq!(inner.is_within(&outer), within, "{inner} in {outer}");
        }
        let constraints = NameConstraints { permitted: vec![dns("a.example")], excluded: vec![network("10.0.0.0/8")] };
        assert!(constraints.objection(&dns("b.example")).unwrap().contains("outside of what is permitted (a.example)"));
        assert!(constraints.objection(&network("10.1.0.0/16")).unwrap().contains("excluded 10.0.0.0/8"));
        assert_eq!(constraints.objection(&network("192.0.2.0/24")), None);
        assert_eq!(constraints.objection(&dns("x.a.example")), None);
    }

    /// Networks have their prefix, and nothing after it.
    #[test]
    fn networks_are_parsed() {
        for wrong in ["", "10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "fd00::/129", "x/8"] {
            assert_eq!(IpNetwork::parse(wrong), Err(NotANetwork), "{wrong}");
        }
        for right in ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.128/25", "fd00::/8", "2001:db8::1/128"] {
            assert_eq!(IpNetwork::parse(right).unwrap().to_string(), right);
        }
    }
}
