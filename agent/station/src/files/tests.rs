use super::*;
use crate::testing::{Authority, Desk, Device, FIXTURE, asked};
use issuance::{FixtureName, profile::KeystoreKind};

/// A desk with an issued certificate, validated.
fn issued() -> (Desk, ValidatedCertificate) {
    let desk = Desk::new(10);
    let id = desk.start(&asked("SN-1")).unwrap().issuance.id;
    desk.work_until(id, &mut Device::new("1"), "Issued");
    let fixture = FixtureName::parse(FIXTURE).unwrap();
    let valid = desk.ledger.validated_certificate(id, &fixture, KeystoreKind::Pkcs11).unwrap().unwrap();
    (desk, valid)
}

fn read(path: &Path) -> Vec<Vec<u8>> {
    pem::parse_many(fs::read(path).unwrap()).unwrap().into_iter().map(pem::Pem::into_contents).collect()
}

/// The certificate; the chain, leaf first, without the root; the roots. Written again, they are the same, and nothing
/// else is left in the directory.
#[test]
fn three_files_for_a_device() {
    let (desk, valid) = issued();
    let devices = desk.directory.path().join("devices");
    let serial = DeviceSerial::parse("SN-1").unwrap();
    for _ in 0..2 {
        write(&devices, &serial, &valid).unwrap();
        let directory = devices.join("SN-1");
        let Authority { root, der, .. } = &desk.authority;
        assert_eq!(read(&directory.join("certificate.pem")), [valid.der().to_vec()]);
        assert_eq!(read(&directory.join("chain.pem")), [valid.der().to_vec(), der.clone()]);
        assert_eq!(read(&directory.join("bundle.pem")), std::slice::from_ref(root));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 3);
    }
}

/// A file is replaced at once: whoever has the old one open reads the old one to its end, and what a crash left of a
/// write is no obstacle.
#[test]
fn a_file_is_replaced_at_once() {
    let (desk, valid) = issued();
    let (devices, serial) = (desk.directory.path().join("devices"), DeviceSerial::parse("SN-1").unwrap());
    let directory = devices.join("SN-1");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("certificate.pem"), "old").unwrap();
    fs::write(directory.join("certificate.pem.new"), "half a certifi").unwrap();
    let mut reader = fs::File::open(directory.join("certificate.pem")).unwrap();
    write(&devices, &serial, &valid).unwrap();
    let mut old = String::new();
    io::Read::read_to_string(&mut reader, &mut old).unwrap();
    assert_eq!(old, "old");
    assert_eq!(read(&directory.join("certificate.pem")), [valid.der().to_vec()]);
    assert!(!directory.join("certificate.pem.new").exists());
}

/// No serial that parses leads out of the directory: the ones that would are refused at the door.
#[test]
fn no_serial_is_a_path() {
    for serial in ["..", ".", "../x", "a/b", "/etc", "a\\b", "a\0b", "", "-", "...:"] {
        assert!(DeviceSerial::parse(serial).is_err(), "{serial:?}");
    }
    for serial in ["..a", ".hidden", "a..b", "-rf1", "C:1"] {
        let serial = DeviceSerial::parse(serial).unwrap();
        let path = Path::new("/devices").join(serial.as_str());
        assert_eq!(path.parent(), Some(Path::new("/devices")), "{serial}");
        assert_eq!(path.components().count(), 3);
    }
}

/// A directory that cannot be made is a fault that names it.
#[test]
fn a_directory_in_the_way_is_named() {
    let (desk, valid) = issued();
    let devices = desk.directory.path().join("devices");
    fs::write(&devices, "a file").unwrap();
    let fault = write(&devices, &DeviceSerial::parse("SN-1").unwrap(), &valid).unwrap_err();
    assert_eq!(fault.kind, FaultKind::FileWriteFailed);
    assert!(fault.to_string().contains("devices/SN-1"), "{fault}");
}
