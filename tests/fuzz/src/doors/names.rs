//! Names: device serials, lots, profiles, CNs and the like.

use issuance::{
    CommonName, DeviceSerial, FixtureName, IssuanceId, KeyAlgorithm, LotName, ProfileName,
    certificate::{name_constraints::IpNetwork, serial_octets},
    profile::NameTemplate,
    public_key::{hex, octets},
};

use crate::Door;

pub(super) const NAMES: Door = Door {
    name: "names",
    property: "a name that is taken is 1 to 64 characters that a path, a CSV and an ACL file carry unchanged, and is read back as it \
               is written",
    enter,
    seeds,
    taken: 8,
    octets_most: 512,
};

fn enter(octets_in: &[u8]) -> bool {
    let text = &*String::from_utf8_lossy(octets_in);
    let carried = |name: &str| {
        assert_eq!(name, text);
        let is_carried = |octet: u8| octet.is_ascii_alphanumeric() || b"._:-".contains(&octet);
        assert!((1..=64).contains(&name.len()) && name.bytes().all(is_carried), "{name:?}");
        assert!(!matches!(name, "." | ".."));
    };
    macro_rules! held {
        ($($kind:ident)*) => {$(
            match $kind::parse(text) {
                Ok(name) => {
                    carried(name.as_str());
                    assert_eq!($kind::parse(&name.to_string()).as_ref(), Ok(&name));
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        )*};
    }
    held!(DeviceSerial LotName ProfileName FixtureName);
    if let Ok(name) = CommonName::parse(text) {
        assert!(name.as_str() == text && (1..=64).contains(&text.len()) && text.is_ascii());
        assert_eq!(name.folded(), CommonName::parse(&name.folded()).expect("folded, it is still one").folded());
    }
    if let Some(id) = IssuanceId::parse(text) {
        assert_eq!(IssuanceId::parse(&id.to_string()), Some(id));
        assert_eq!(IssuanceId::from_slice(id.as_bytes()), Some(id));
    }
    if let Ok(template) = NameTemplate::parse(text) {
        let serial = DeviceSerial::parse("SN-1").expect("a device serial");
        assert_eq!(template.fill(&serial), text.replace("{serial}", "SN-1"));
    }
    if let Ok(serial) = serial_octets(text) {
        assert!(serial.len() <= 20);
        if !serial.is_empty() {
            assert_eq!(serial_octets(&hex(&serial)).as_ref(), Ok(&serial));
        }
    }
    if let Some(read) = octets(text) {
        assert_eq!(hex(&read), text.to_ascii_lowercase());
    }
    if let Ok(network) = IpNetwork::parse(text) {
        assert_eq!(network.address().len(), network.mask().len());
    }
    if let Some(algorithm) = KeyAlgorithm::parse(text) {
        assert_eq!(algorithm.to_string(), text);
    }
    if intermediate_ca::CaName::parse(text).is_ok() {
        assert!(!text.contains(['/', '.', '\0']));
    }
    let _ = (service::roles::Role::parse(text), intermediate_ca::RevocationReason::parse(text));
    let _ = intermediate_ca::ObjectIdentifier::parse(text);
    let _ = service::tls::check_endpoint(text);
    DeviceSerial::parse(text).is_ok()
}

fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "SN-2210:A_4.7",
        "{serial}.line.example",
        "01234567-89ab-7def-8123-456789abcdef",
        "00:Af:12",
        "0x0a1b",
        "10.0.0.0/8",
        "fd00::/8",
        "P-256",
        "device-ca",
        "keyCompromise",
        "1.3.6.1.4.1.99999.1",
        "https://ca-1.example:7443",
        "..",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}
