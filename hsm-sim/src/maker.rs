//! The simulated TPM maker: the CA that signs EK and platform certificates.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{SimError, directory::Directory, programs};

/// A simulated TPM maker with a CA of its own, in a directory of its own. Devices of one maker share its clones.
///
/// swtpm_localca makes the CA when the maker's first device is made, and serialises makers' work by a lock file.
#[derive(Debug, Clone)]
pub struct TpmMaker {
    directory: Directory,
}

impl TpmMaker {
    /// A maker in a temporary directory, removed when the maker and its last device are dropped.
    pub fn create() -> Result<Self, SimError> {
        Self::in_directory(Directory::temporary()?)
    }

    /// A maker in `directory`, which stays.
    pub fn create_in(directory: &Path) -> Result<Self, SimError> {
        Self::in_directory(Directory::at(directory)?)
    }

    fn in_directory(directory: Directory) -> Result<Self, SimError> {
        let tool = programs::find("swtpm_localca", "swtpm-tools")?;
        // swtpm_localca calls it, and its own error does not say what is missing.
        programs::find("certtool", "gnutls-bin")?;
        let maker = Self { directory };
        let home = maker.directory.path();
        let write = |file: &str, text: String| {
            let file = home.join(file);
            fs::write(&file, text).map_err(SimError::io("write", file))
        };
        write(
            "swtpm_setup.conf",
            format!(
                "create_certs_tool = {}\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n\
                 active_pcr_banks = sha256\n",
                tool.display(),
                home.join("swtpm-localca.conf").display(),
                home.join("swtpm-localca.options").display(),
            ),
        )?;
        write(
            "swtpm-localca.conf",
            format!(
                "statedir = {0}\nsigningkey = {0}/signkey.pem\nissuercert = {0}/issuercert.pem\n\
                 certserial = {0}/certserial\n",
                home.display()
            ),
        )?;
        write(
            "swtpm-localca.options",
            "--platform-manufacturer Simulated\n--platform-version 1.0\n--platform-model hsm-sim\n".into(),
        )?;
        Ok(maker)
    }

    /// Where the maker's files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The maker's root certificate, PEM; there since its first device was made.
    pub fn root_certificate(&self) -> PathBuf {
        self.directory().join("swtpm-localca-rootca-cert.pem")
    }

    /// The certificate of the CA that issues EK certificates, PEM; there since its first device was made.
    pub fn issuer_certificate(&self) -> PathBuf {
        self.directory().join("issuercert.pem")
    }

    pub(crate) fn setup_configuration(&self) -> PathBuf {
        self.directory().join("swtpm_setup.conf")
    }
}
