//! Secrets are read, or refused with the file's name and nothing of the secret.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use secrecy::ExposeSecret;

use super::{SecretError, credential_name, read, read_credential};

fn write(path: &Path, bytes: &[u8], mode: u32) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// One trailing newline goes, all else stays.
#[test]
fn one_trailing_newline_goes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pin");
    for (bytes, expected) in [("1234", "1234"), ("1234\n", "1234"), ("1234\r\n", "1234"), (" 12 34 \n", " 12 34 ")] {
        write(&path, bytes.as_bytes(), 0o600);
        assert_eq!(read(&path).unwrap().expose_secret(), expected, "{bytes:?}");
    }
    write(&path, &[b'x'; 4096], 0o640);
    assert_eq!(read(&path).unwrap().expose_secret().len(), 4096);
}

/// Each refusal names the file and shows nothing of the secret, not in Debug either; nor does the secret's own Debug.
#[test]
fn refusals_name_the_file_and_show_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pin");
    let cases: [(&[u8], u32, &str); 8] = [
        (b"", 0o600, "is empty"),
        (b"\n", 0o600, "is empty"),
        (b"\r\n", 0o600, "is empty"),
        (&[b'7'; 4097], 0o600, "longer than 4096"),
        (b"hunter2\nhunter2\n", 0o600, "one line"),
        (b"hunter2\xff", 0o600, "one line"),
        (b"hunter2\0", 0o600, "one line"),
        (b"hunter2", 0o604, "chmod 600"),
    ];
    for (bytes, mode, problem) in cases {
        write(&path, bytes, mode);
        let error = read(&path).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(problem) && text.contains(&path.display().to_string()), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("777"), "{text}");
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(read(&path), Err(SecretError::Read { .. })));
    write(&path, b"hunter2", 0o600);
    assert!(!format!("{:?}", read(&path).unwrap()).contains("hunter2"));
}

/// A credential is found in systemd's directory, by its name alone, also behind a directory that a configuration put before it.
#[test]
fn credentials_are_read_by_name() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join("device-3.pin"), b"1234\n", 0o400);
    let credentials = Some(directory.path().as_os_str());
    assert_eq!(read_credential("device-3.pin", credentials).unwrap().expose_secret(), "1234");
    for name in ["", ".", "..", "../device-3.pin", "/etc/passwd", "a/b", "./device-3.pin", "device-3.pin/"] {
        let error = read_credential(name, credentials).unwrap_err();
        assert!(matches!(error, SecretError::CredentialName(_)), "{name}: {error}");
    }
    for none in [None, Some("".as_ref())] {
        let error = read_credential("device-3.pin", none).unwrap_err();
        assert!(matches!(error, SecretError::NoCredentials(_)), "{error}");
    }
    for (path, name) in [
        ("credential:pin", Some("pin")),
        ("/etc/station/credential:pin", Some("pin")),
        ("/etc/credential:../pin", Some("../pin")),
        ("/etc/station/pin", None),
        ("/etc/my-credential:pin", None),
    ] {
        assert_eq!(credential_name(Path::new(path)).as_deref(), name, "{path}");
    }
}
