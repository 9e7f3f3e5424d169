//! The key ceremony with a root whose key OpenSSL has, elsewhere: `init`, then a rollover, killed on the way. Run again they
//! ask for what is missing with the same requests, take what is brought once, and complete.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    devices::run,
    init::{completes, dies},
    scenario::Try,
};
use crate::{Broken, said};

/// The issuers of the line's configuration, with their path lengths.
const ISSUERS: [(&str, u8); 2] = [("device-ca", 1), ("device-identity", 0)];

/// A ceremony of commands that may be armed.
pub(super) struct Ceremony<'a, C> {
    pub(super) command: &'a C,
    pub(super) log: &'a Path,
    pub(super) point: &'a Try,
    pub(super) pki: PathBuf,
}

impl<C: Fn(&[&str], bool) -> Command> Ceremony<'_, C> {
    /// From nothing to a second generation, killed at the point wherever it is passed, which it must be.
    pub(super) fn kill(&self, place: &Path) -> Result<(), Broken> {
        let vault = Vault::new(place)?;
        let mut died = 0;
        let first = vault.root("root", "Demo Product Root")?;
        died += self.step(&["init"], &[first], true)?;
        died += self.step(&["init"], &self.certified(&vault, "root", "")?, false)?;
        let second = vault.root("root.2", "Demo Product Root G2")?;
        died += self.step(&["rollover", "new-root"], &[second], false)?;
        died += self.step(&["rollover", "new-issuers"], &[], true)?;
        died += self.step(&["rollover", "new-issuers"], &self.certified(&vault, "root.2", ".2")?, false)?;
        if died == 0 {
            return Err(format!("{}: no step of a ceremony died there", self.point));
        }
        Ok(())
    }

    /// One step, armed and then not, which asks for certificates or completes; how often it died.
    fn step(&self, words: &[&str], brought: &[PathBuf], asks: bool) -> Result<usize, Broken> {
        let paths: Vec<String> = brought.iter().map(|path| path.display().to_string()).collect();
        let imports = paths.iter().flat_map(|path| ["--import", path]);
        let arguments: Vec<&str> = words.iter().copied().chain(imports).collect();
        let command = |armed| (self.command)(&arguments, armed);
        let died = dies(command(true), self.log, self.point, asks)?;
        if !asks {
            completes(|| command(false), self.point)?;
            return Ok(usize::from(died));
        }
        let requests = || ISSUERS.map(|(name, _)| fs::read(self.request(words, name)).ok());
        let before = requests();
        match run(command(false)) {
            Err(words) if words.contains("have it certify") => {}
            other => return Err(format!("{}: it does not ask for certificates: {other:?}", self.point)),
        }
        let after = requests();
        if after.contains(&None) || before.iter().zip(&after).any(|(one, same)| one.is_some() && one != same) {
            return Err(format!("{}: what it asks for is missing, or was asked for otherwise before", self.point));
        }
        Ok(usize::from(died))
    }

    fn request(&self, words: &[&str], issuer: &str) -> PathBuf {
        let generation = if words == ["init"] { "" } else { ".2" };
        self.pki.join(format!("{issuer}{generation}.csr.pem"))
    }

    fn certified(&self, vault: &Vault, root: &str, generation: &str) -> Result<Vec<PathBuf>, Broken> {
        let request = |name: &str| self.pki.join(format!("{name}{generation}.csr.pem"));
        ISSUERS.iter().map(|(name, length)| vault.certify(root, &request(name), *length)).collect()
    }
}

/// Where the roots' keys are.
struct Vault(PathBuf);

impl Vault {
    fn new(place: &Path) -> Result<Self, Broken> {
        let vault = place.join("vault");
        fs::create_dir(&vault).map_err(said("a vault"))?;
        Ok(Self(vault))
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// A root's key and certificate; gives the certificate's file.
    fn root(&self, name: &str, common_name: &str) -> Result<PathBuf, Broken> {
        let (key, out, config) =
            (self.path(&format!("{name}.key")), self.path(&format!("{name}.pem")), self.path("cnf"));
        let text = "[req]\ndistinguished_name=dn\nx509_extensions=root\nstring_mask=utf8only\n[dn]\n[root]\n\
            basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n\
            authorityKeyIdentifier=keyid\n";
        fs::write(&config, text).map_err(said("a vault"))?;
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        openssl.args(["-days", "7000", "-config", &config, "-keyout", &key, "-out", &out]);
        openssl.arg("-subj").arg(format!("/CN={common_name}"));
        run(openssl)?;
        Ok(out.into())
    }

    /// Certifies a request; gives the certificate's file.
    fn certify(&self, root: &str, request: &Path, path_length: u8) -> Result<PathBuf, Broken> {
        let name = request.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (out, extensions) = (self.path(&format!("{name}.pem")), self.path("extensions"));
        let text = format!(
            "basicConstraints=critical,CA:TRUE,pathlen:{path_length}\nkeyUsage=critical,keyCertSign,cRLSign\n\
             subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        );
        fs::write(&extensions, text).map_err(said("a vault"))?;
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-req", "-days", "3600", "-sha256", "-CAcreateserial", "-in"]).arg(request);
        openssl.args(["-CA", &self.path(&format!("{root}.pem")), "-CAkey", &self.path(&format!("{root}.key"))]);
        openssl.args(["-extfile", &extensions, "-out", &out]);
        run(openssl)?;
        Ok(out.into())
    }
}
