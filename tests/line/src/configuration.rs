//! The configuration files of a line's processes.

use std::{fmt::Write as _, fs, path::Path};

use service::tls::TlsFiles;

use crate::{ControlPlane, Device, Hardware, LineError, Options, client, control_plane};

/// The ports that the processes listen on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) ca: u16,
    pub(crate) station: u16,
    pub(crate) page: u16,
}

/// Issues the control plane's certificates that the configuration names.
pub(crate) fn certificates(plane: &ControlPlane) -> Result<(), LineError> {
    plane.server("ca-1")?;
    plane.server("station-1-server")?;
    plane.client("station-1")?;
    for caller in client::CALLERS {
        plane.client(caller.common_name)?;
    }
    Ok(())
}

/// Writes ca.toml, station.toml and ui.toml into `directory`.
pub(crate) fn write(
    directory: &Path,
    options: &Options,
    hardware: &Hardware,
    plane: &ControlPlane,
    ports: Ports,
) -> Result<(), LineError> {
    tpm_makers(directory, hardware)?;
    let files = [
        ("ca.toml", ca(options, hardware, plane, ports)),
        ("station.toml", station(options, hardware, plane, ports)),
        ("ui.toml", page(plane, ports) + &options.page_extra),
    ];
    for (name, text) in files {
        control_plane::write(&directory.join(name), text.as_bytes(), 0o644)?;
    }
    Ok(())
}

fn has_tpms(hardware: &Hardware) -> bool {
    hardware.devices().any(|(_, device)| matches!(device, Device::Tpm(_)))
}

/// The certificates of the TPMs' makers: whom station and CA believe that a TPM is one.
fn tpm_makers(directory: &Path, hardware: &Hardware) -> Result<(), LineError> {
    let place = directory.join("pki/tpm-makers");
    fs::create_dir_all(&place).map_err(LineError::file("make", &place))?;
    for file in hardware.maker_certificates() {
        // Made with the first TPM: a line of tokens has none.
        let (Ok(content), Some(name)) = (fs::read(&file), file.file_name()) else { continue };
        control_plane::write(&place.join(name), &content, 0o644)?;
    }
    Ok(())
}

fn ca(options: &Options, hardware: &Hardware, plane: &ControlPlane, ports: Ports) -> String {
    let token = hardware.ca();
    let mut text = format!(
        r#"name = "ca-1"
journal = "journal/ca"
pki = "pki/product"

[listen]
address = "127.0.0.1:{port}"
{tls}
[[caller]]
common_name = "station-1"
role = "station"

[[caller]]
common_name = "supervisor-1"
role = "supervisor"

[[caller]]
common_name = "administrator-1"
role = "administrator"

# Made anew each hour, and at once when something is revoked.
[crl]
directory = "crl"

# With this the commands `revoke` and `crl` call the CA.
[client]
endpoint = "https://127.0.0.1:{port}"
{client}
[token]
module = {module}
label = "ca"
pin_file = "secrets/ca.pin"
environment = {environment}

[root]
common_name = "Demo Product Root"
key = "P-256"
validity = "7300d"

# Certificates that can sign, and certificates that cannot, come from different intermediates.
[[issuer]]
name = "device-ca"
common_name = "Demo Device CA"
key = "P-256"
path_length = 1
validity = "3650d"

[[issuer]]
name = "device-identity"
common_name = "Demo Device Identity CA"
key = "P-256"
path_length = 0
validity = "3650d"

"#,
        port = ports.ca,
        tls = tls(&plane.files("ca-1")),
        client = tls(&plane.files("administrator-1")),
        module = quoted(token.module()),
        environment = environment(&token.environment()),
    );
    for (name, issuer) in [("device-ca", "device-ca"), ("device-identity", "device-identity")] {
        let path_length = if name == "device-ca" { "path_length = 0\n" } else { "" };
        let _ = write!(
            text,
            r#"[[profile]]
name = "{name}"
purpose = "{name}"
{path_length}issuer = "{issuer}"
validity = "1825d"
keys = ["P-256", "P-384", "RSA-2048"]

"#
        );
    }
    if has_tpms(hardware) {
        // The CA looks at the TPM's proof again by itself.
        text += r#"[[profile]]
name = "device-ca-tpm"
purpose = "device-ca"
path_length = 0
issuer = "device-ca"
validity = "1825d"
keys = ["P-256", "P-384", "RSA-2048"]
residency = "tpm"
ek = { roots = "pki/tpm-makers" }
activation = "ca"

"#;
    }
    text + &options.ca_extra
}

fn station(options: &Options, hardware: &Hardware, plane: &ControlPlane, ports: Ports) -> String {
    let mut text = format!(
        r#"station = "station-1"
site = "demo"
line = "line-1"
journal = "journal/station"
devices = "devices"

[listen]
address = "127.0.0.1:{port}"
{listen}
[authority]
name = "ca-1"
endpoint = "https://127.0.0.1:{ca}"
# The same request gets the same certificate. With repeats = "new", for a CA that makes a second one, each send is recorded
# first, and after a lost answer in_doubt = "ask" has a supervisor decide, "resubmit" sends it again.
{repeats}{authority}
# With this the commands `issue`, `status` and `watch` call the station.
[client]
endpoint = "https://127.0.0.1:{port}"
{client}
"#,
        port = ports.station,
        ca = ports.ca,
        repeats = options.repeats,
        listen = tls(&plane.files("station-1-server")),
        authority = tls(&plane.files("station-1")),
        client = tls(&plane.files("mes-1")),
    );
    for caller in client::CALLERS {
        let (common_name, role) = (caller.common_name, caller.role);
        let _ = writeln!(text, "[[caller]]\ncommon_name = \"{common_name}\"\nrole = \"{role}\"\n");
    }
    let _ = writeln!(
        text,
        r#"[[profile]]
name = "device-ca"
purpose = "device-ca"
path_length = 0
key = "{key}"
common_name = "{{serial}}.ca"
hostname = "{{serial}}"
device_id = "{{serial}}"
issuers = "pki/product/device-ca.pem"
roots = "pki/product/root.pem"
tpm = {{ handle = 0x81000010, nv_index = 0x01800010 }}
pkcs11 = {{ label = "device-ca" }}
"#,
        key = options.key,
    );
    if has_tpms(hardware) {
        let _ = writeln!(
            text,
            r#"# As device-ca, for TPMs alone: the TPM itself proves that the key lives in it, and its maker's root that it is a TPM.
[[profile]]
name = "device-ca-tpm"
purpose = "device-ca"
path_length = 0
key = "{key}"
common_name = "{{serial}}.ca"
hostname = "{{serial}}"
device_id = "{{serial}}"
issuers = "pki/product/device-ca.pem"
roots = "pki/product/root.pem"
tpm = {{ handle = 0x81000020, nv_index = 0x01800020 }}
residency = "tpm"
ek = {{ roots = "pki/tpm-makers" }}
# The CA encrypts the certificate so that this TPM alone can release it: it need not take the station's word.
activation = "ca"
"#,
            key = options.key,
        );
    }
    text += &options.fixtures.clone().unwrap_or_else(|| fixtures(hardware));
    text + &options.station_extra
}

fn fixtures(hardware: &Hardware) -> String {
    let mut text = String::new();
    for (number, (_, device)) in (1..).zip(hardware.devices()) {
        let _ = writeln!(text, "[[fixture]]\nname = \"fixture-{number}\"");
        let _ = match device {
            Device::Tpm(tpm) => {
                let tcti = hardware.relay(number).map_or_else(|| tpm.tcti(), |relay| relay.tcti().to_owned());
                writeln!(text, "keystore = \"tpm\"\ntcti = {}\n", quoted(Path::new(&tcti)))
            }
            Device::Token(token) => {
                let (module, needs) = match hardware.module(number) {
                    Some(module) => (module.module(), module.environment()),
                    None => (token.module(), token.environment()),
                };
                writeln!(
                    text,
                    "keystore = \"pkcs11\"\nmodule = {}\ntoken = \"{1}\"\npin_file = \"secrets/{1}.pin\"\nenvironment = {2}\n",
                    quoted(module),
                    token.label(),
                    environment(&needs),
                )
            }
        };
    }
    text
}

fn page(plane: &ControlPlane, ports: Ports) -> String {
    format!(
        "listen = \"127.0.0.1:{}\"\n\n[station]\nendpoint = \"https://127.0.0.1:{}\"\n{}",
        ports.page,
        ports.station,
        tls(&plane.files("page-1"))
    )
}

/// The three keys of a TLS end, relative to the configuration's directory.
fn tls(files: &TlsFiles) -> String {
    let relative = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        quoted(&Path::new("control-plane").join(name))
    };
    format!(
        "certificate = {}\nkey = {}\ntrust = {}\n",
        relative(&files.certificate),
        relative(files.key.file().unwrap_or(Path::new(""))),
        relative(&files.trust)
    )
}

fn environment(variables: &[(String, String)]) -> String {
    let variables: Vec<_> =
        variables.iter().map(|(name, value)| format!("{name} = {}", quoted(Path::new(value)))).collect();
    format!("{{ {} }}", variables.join(", "))
}

/// A TOML basic string (TOML 1.0, "String").
fn quoted(path: &Path) -> String {
    let mut text = String::from('"');
    for letter in path.to_string_lossy().chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            control if control.is_control() => {
                let _ = write!(text, "\\u{:04X}", u32::from(control));
            }
            other => text.push(other),
        }
    }
    text + "\""
}
