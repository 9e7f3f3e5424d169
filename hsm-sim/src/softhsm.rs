//! A PKCS#11 token: SoftHSM in a directory of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{SimError, directory::Directory, programs};

const INIT_MOST: Duration = Duration::from_secs(60);
/// The security officer's PIN of every simulated token.
const SO_PIN: &str = "hsm-sim-so";

/// An initialised token. Tokens made by [`add_token`](Self::add_token) share a directory, as slots of one HSM do.
#[derive(Debug)]
pub struct SoftHsm {
    label: String,
    pin: String,
    module: PathBuf,
    directory: Directory,
}

impl SoftHsm {
    /// A token in a temporary directory, removed when the last token in it is dropped.
    ///
    /// `label`: 1 to 32 bytes of printable ASCII without a space at its end (PKCS#11 pads labels with spaces).
    /// `pin`: 4 to 255 bytes.
    pub fn create(label: &str, pin: &str) -> Result<Self, SimError> {
        Self::in_directory(Directory::temporary()?, label, pin)
    }

    /// A token in `directory`, which stays.
    pub fn create_in(directory: &Path, label: &str, pin: &str) -> Result<Self, SimError> {
        Self::in_directory(Directory::at(directory)?, label, pin)
    }

    /// Another token in the same directory. A process that has the module loaded sees it after C_Finalize and
    /// C_Initialize.
    pub fn add_token(&self, label: &str, pin: &str) -> Result<Self, SimError> {
        Self::in_directory(self.directory.clone(), label, pin)
    }

    /// Takes the token out and puts a new one in its place, with the same label and PIN: the next device in a fixture. A
    /// process that has the module loaded sees it after C_Finalize and C_Initialize. The other tokens of the directory go
    /// with it.
    pub fn exchange(&self) -> Result<(), SimError> {
        let tokens = self.tokens();
        fs::remove_dir_all(&tokens).map_err(SimError::io("remove", tokens))?;
        self.initialise()
    }

    fn in_directory(directory: Directory, label: &str, pin: &str) -> Result<Self, SimError> {
        let printable = label.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && !label.ends_with(' ');
        if !(1..=32).contains(&label.len()) || !printable {
            return Err(SimError::Unfit { what: "label", must: "1 to 32 printable ASCII characters" });
        }
        if !(4..=255).contains(&pin.len()) {
            return Err(SimError::Unfit { what: "PIN", must: "4 to 255 bytes long" });
        }
        let token = Self { label: label.into(), pin: pin.into(), module: programs::softhsm_module()?, directory };
        let configuration = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
            token.tokens().display()
        );
        fs::write(token.configuration(), configuration).map_err(SimError::io("write", token.configuration()))?;
        token.initialise()?;
        Ok(token)
    }

    fn initialise(&self) -> Result<(), SimError> {
        let tool = programs::find("softhsm2-util", "softhsm2")?;
        let tokens = self.tokens();
        fs::create_dir_all(&tokens).map_err(SimError::io("make", tokens))?;
        let mut command = Command::new(tool);
        command.args(["--init-token", "--free", "--label", &self.label, "--pin", &self.pin, "--so-pin", SO_PIN]);
        command.arg("--module").arg(&self.module).envs(self.environment());
        programs::run(command, &self.directory().join("log"), INIT_MOST)
    }

    fn tokens(&self) -> PathBuf {
        self.directory().join("tokens")
    }

    /// The PKCS#11 module to load.
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// The token's label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The user's PIN.
    pub fn pin(&self) -> &str {
        &self.pin
    }

    /// What the process that loads the module must have in its environment: SOFTHSM2_CONF.
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![("SOFTHSM2_CONF".into(), self.configuration().to_string_lossy().into_owned())]
    }

    /// Where the token's files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn configuration(&self) -> PathBuf {
        self.directory().join("softhsm2.conf")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(token: &SoftHsm) -> String {
        let listed = Command::new("softhsm2-util").arg("--show-slots").envs(token.environment()).output().unwrap();
        String::from_utf8(listed.stdout).unwrap()
    }

    /// Two tokens in one directory are both listed, one in another directory is not; all files go with the last token.
    #[test]
    fn tokens_share_a_directory_or_not() {
        let one = SoftHsm::create("device-1", "123456").unwrap();
        let two = one.add_token("device-2", "654321").unwrap();
        let apart = SoftHsm::create("device-3", "123456").unwrap();
        let listed = slots(&one);
        assert!(listed.contains("device-1") && listed.contains("device-2") && !listed.contains("device-3"), "{listed}");
        let directory = one.directory().to_owned();
        drop(one);
        assert!(slots(&two).contains("device-1"));
        drop(two);
        assert!(!directory.exists() && slots(&apart).contains("device-3"));
    }

    /// An exchanged token is another one under the same name.
    #[test]
    fn an_exchanged_token_is_another_one() {
        let token = SoftHsm::create("device-1", "123456").unwrap();
        let before = slots(&token);
        token.exchange().unwrap();
        let after = slots(&token);
        let serial = |listed: &str| {
            let line = listed.lines().find(|line| line.contains("Serial number"));
            line.unwrap_or_default().trim().to_owned()
        };
        assert!(after.contains("device-1"), "{after}");
        assert_ne!(serial(&before), serial(&after));
    }

    /// A label or PIN that SoftHSM would refuse or cut is refused with its rule.
    #[test]
    fn unfit_labels_and_pins_are_refused() {
        for (label, pin) in [("", "1234"), (&*"l".repeat(33), "1234"), ("ends ", "1234"), ("fine", "123")] {
            assert!(matches!(SoftHsm::create(label, pin), Err(SimError::Unfit { .. })), "{label:?} {pin:?}");
        }
    }
}
