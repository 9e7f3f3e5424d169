use super::*;
use crate::testing::Device;
use issuance::request::CertificationRequest;
use x509_parser::{
    certification_request::X509CertificationRequest, extensions::ParsedExtension, prelude::FromDer as _,
};

const PLACE: KeyLocation = KeyLocation::TpmHandle(0x8100_0010);

fn request(algorithm: KeyAlgorithm, purpose: Purpose) -> Vec<u8> {
    let mut device = Device::new("1");
    let public_key = device.generate_key(&PLACE, algorithm).unwrap();
    build(&mut device, &PLACE, &public_key, &CommonName::parse("SN-1.ca").unwrap(), purpose).unwrap()
}

/// For each algorithm and purpose: the request proves possession, has the CN alone as its subject, and asks for what the
/// profile will give, BasicConstraints and KeyUsage critical.
#[test]
fn a_request_asks_for_its_profile() {
    for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Rsa2048] {
        for (purpose, constraints, client, server) in [
            (Purpose::DeviceCa { path_length: 0 }, Some((true, Some(0))), false, false),
            (Purpose::DeviceCa { path_length: 127 }, Some((true, Some(127))), false, false),
            (Purpose::DeviceCa { path_length: 200 }, Some((true, Some(200))), false, false),
            (Purpose::DeviceIdentity, None, true, false),
            (Purpose::Server, None, false, true),
        ] {
            let der = request(algorithm, purpose);
            let parsed = CertificationRequest::from_der(&der).unwrap();
            assert_eq!((parsed.common_name().as_str(), parsed.public_key().algorithm()), ("SN-1.ca", algorithm));
            let asked = parsed.extensions();
            assert_eq!((asked.basic_constraints, asked.client_auth, asked.server_auth), (constraints, client, server));
            assert!(asked.dns_names.is_empty());
            let (_, parsed) = X509CertificationRequest::from_der(&der).unwrap();
            assert_eq!(parsed.certification_request_info.subject.iter_attributes().count(), 1);
            let is_ca = constraints.is_some();
            let (mut usage, mut critical) = (false, 0);
            for attribute in parsed.certification_request_info.iter_attributes() {
                let x509_parser::cri_attributes::ParsedCriAttribute::ExtensionRequest(extensions) =
                    attribute.parsed_attribute()
                else {
                    panic!("another attribute")
                };
                for extension in &extensions.extensions {
                    critical += u32::from(extension.critical);
                    if let ParsedExtension::KeyUsage(found) = extension.parsed_extension() {
                        assert!(extension.critical);
                        usage = found.digital_signature() && found.key_cert_sign() == is_ca;
                    }
                }
            }
            assert!(usage && critical == 1 + u32::from(is_ca), "{algorithm} {purpose:?}");
        }
    }
}

/// The hardware's own word comes back when it does not sign, not rcgen's.
#[test]
fn a_fault_of_the_hardware_comes_through() {
    let mut device = Device::new("1");
    let public_key = device.generate_key(&PLACE, KeyAlgorithm::P256).unwrap();
    device.fails = Some(("sign", FaultKind::PinLocked, 1, false));
    let name = CommonName::parse("SN-1.ca").unwrap();
    let fault = build(&mut device, &PLACE, &public_key, &name, Purpose::Server).unwrap_err();
    assert_eq!((fault.kind, fault.act.as_str()), (FaultKind::PinLocked, "could not sign"));
}
