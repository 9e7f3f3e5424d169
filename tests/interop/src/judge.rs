//! Who is asked about a certificate: ourselves, OpenSSL, GnuTLS, and two Python programs through `judge.py`.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use issuance::{CertificateExpectation, CommonName, Purpose, Timestamp, ValidatedCertificate, request};
use serde_json::{Value, json};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::{Case, Findings, Outcome, because, place::Place, place::Trust, requests};

/// A program that others wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    Pkilint,
    OpenSsl,
    Certtool,
    Cryptography,
}

impl Program {
    pub(crate) const ALL: [Self; 4] = [Self::Pkilint, Self::OpenSsl, Self::Certtool, Self::Cryptography];

    /// As the table heads it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Pkilint => "`lint_pkix_cert`",
            Self::OpenSsl => "`openssl verify -x509_strict`",
            Self::Certtool => "`certtool --verify-chain`",
            Self::Cryptography => "`cryptography`",
        }
    }
}

/// The name beneath a constrained device CA that everybody must refuse.
const EXCLUDED: &str = "panel.test.line.example";

pub(crate) struct Judge<'a> {
    place: &'a Place,
    trust: Trust,
    root: PathBuf,
    python: Python,
}

/// `judge.py`, running.
struct Python {
    child: Child,
    into: ChildStdin,
    out: BufReader<ChildStdout>,
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A chain of files, PEM, and what it is for.
struct Chain {
    leaf: PathBuf,
    above: Vec<PathBuf>,
    purpose: Purpose,
    /// The name that a client would look for.
    name: Option<String>,
}

impl<'a> Judge<'a> {
    pub(crate) fn start(binaries: &Path, place: &'a Place, trust: Trust) -> Outcome<Self> {
        let python = binaries.parent().unwrap_or(binaries).join("interop/venv/bin/python");
        let mut child = Command::new(&python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/judge.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}; run deploy/dependencies.sh test", python.display()))?;
        let (Some(into), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("judge.py has no pipes".to_owned());
        };
        let python = Python { child, into, out: BufReader::new(out) };
        let root = place.path("root.pem");
        write(&root, trust.roots.first().ok_or("the CA has no root")?)?;
        Ok(Self { place, trust, root, python })
    }

    /// What each program finds; an error when the certificate is not what was asked for.
    pub(crate) fn judge(&mut self, case: &Case) -> Outcome<Findings> {
        self.own(case).map_err(|problem| format!("{}: {problem}", case.words()))?;
        let path = self.path(case, &case.certificate)?;
        let mut found = self.ask(&path, true)?;
        if let Purpose::DeviceCa { .. } = case.kind.purpose {
            // What the device signs with it later, and what it may not sign.
            let beneath = self.beneath(case, &path, "panel.line.example")?;
            for (program, findings) in self.ask(&beneath, false)? {
                let findings = findings.into_iter().map(|finding| format!("beneath it: {finding}"));
                found.entry(program).or_default().extend(findings);
            }
        }
        Ok(found)
    }

    /// Each program finds something where something is wrong: else its silence would say nothing.
    pub(crate) fn control(&mut self, cases: &[Case]) -> Outcome<()> {
        let case = cases.iter().find(|case| case.kind.name == "server").ok_or("no server's certificate")?;
        let mut broken = case.certificate.clone();
        if let Some(last) = broken.last_mut() {
            *last ^= 1;
        }
        let path = self.path(case, &broken)?;
        let found = self.ask(&path, false)?;
        let silent = |found: &Findings| {
            let verifiers = Program::ALL.into_iter().filter(|program| *program != Program::Pkilint);
            verifiers.filter(|program| found.get(program).is_none_or(|all| all.is_empty())).collect::<Vec<_>>()
        };
        if !silent(&found).is_empty() {
            return Err(format!("{:?} accept a broken signature", silent(&found)));
        }
        let case = cases.iter().find(|case| case.kind.name == "device-ca-full").ok_or("no constrained device CA")?;
        let path = self.path(case, &case.certificate)?;
        let beneath = self.beneath(case, &path, EXCLUDED)?;
        let found = self.ask(&beneath, false)?;
        if !silent(&found).is_empty() {
            return Err(format!("{:?} accept {EXCLUDED} beneath its name constraints", silent(&found)));
        }
        // OpenSSL's own idea of a certificate for a device's key, without AKI and with a serial of 20 octets.
        let (leaf, above) = (self.place.path("plain.pem"), Vec::new());
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-new", "-nodes", "-batch", "-subj", "/C=de/CN=plain", "-days", "1"]);
        command.args(["-addext", "crlDistributionPoints=critical,URI:http://a.example", "-out"]).arg(&leaf);
        command.arg("-key").arg(&case.private_key);
        run(&mut command)?;
        let found = self.ask(&Chain { leaf, above, purpose: Purpose::DeviceIdentity, name: None }, true)?;
        if found.get(&Program::Pkilint).is_none_or(|all| all.is_empty()) {
            return Err("pkilint finds nothing in a certificate with mistakes".to_owned());
        }
        Ok(())
    }

    /// Byte for byte what was asked for, and the station's own validation accepts it.
    fn own(&self, case: &Case) -> Outcome<()> {
        let request = request::CertificationRequest::from_der(&case.request).map_err(because("the request"))?;
        let certificate = X509Certificate::from_der(&case.certificate).map_err(because("the certificate"))?.1;
        let chain = self.chain(case)?;
        let issuer = chain.first().ok_or("the chain is empty")?;
        let issuer = X509Certificate::from_der(issuer).map_err(because("the issuer"))?.1;
        if certificate.tbs_certificate.subject_pki.raw != request.public_key().spki() {
            return Err("its SubjectPublicKeyInfo is not the request's, byte for byte".to_owned());
        }
        if certificate.issuer().as_raw() != issuer.subject().as_raw() {
            return Err("its issuer is not the CA's subject, byte for byte".to_owned());
        }
        let path = self.place.path("signed.pem");
        write(&path, &case.certificate)?;
        let text = Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(&path).output();
        let text = text.map_err(because("could not run openssl"))?.stdout;
        let named = format!("Signature Algorithm: {}\n", case.kind.signed);
        if String::from_utf8_lossy(&text).matches(&named).count() != 2 {
            return Err(format!("it is not signed with {} inside and outside", case.kind.signed));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let expectation = CertificateExpectation {
            public_key: request.public_key().clone(),
            common_name: CommonName::parse(&case.common_name()).map_err(because("the CN"))?,
            purpose: case.kind.purpose,
            issuers: chain.clone(),
            intermediates: Vec::new(),
            roots: self.trust.roots.clone(),
            at: Timestamp(i64::try_from(now).unwrap_or(i64::MAX)),
        };
        ValidatedCertificate::validate(&case.certificate, expectation).map_err(because("the station refuses it"))?;
        Ok(())
    }

    fn chain(&self, case: &Case) -> Outcome<&Vec<Vec<u8>>> {
        let mut chains = self.trust.chains.iter();
        let found = chains.find(|(profile, _)| profile == case.kind.name);
        found.map(|(_, chain)| chain).ok_or_else(|| format!("no chain for {}", case.kind.name))
    }

    fn path(&self, case: &Case, certificate: &[u8]) -> Outcome<Chain> {
        let leaf = self.place.path("certificate.pem");
        write(&leaf, certificate)?;
        let mut above = Vec::new();
        for (number, ca) in self.chain(case)?.iter().enumerate() {
            above.push(self.place.path(&format!("above-{number}.pem")));
            write(&above[number], ca)?;
        }
        let name = (case.kind.purpose == Purpose::Server).then(|| case.common_name());
        Ok(Chain { leaf, above, purpose: case.kind.purpose, name })
    }

    fn beneath(&self, case: &Case, path: &Chain, name: &str) -> Outcome<Chain> {
        let leaf = self.place.path("leaf.pem");
        requests::beneath(self.place, case, &path.leaf, name, &leaf)?;
        let above = [vec![path.leaf.clone()], path.above.clone()].concat();
        Ok(Chain { leaf, above, purpose: Purpose::Server, name: Some(name.to_owned()) })
    }

    fn ask(&mut self, path: &Chain, lint: bool) -> Outcome<Findings> {
        let is_ca = matches!(path.purpose, Purpose::DeviceCa { .. });
        let mut found: Findings = BTreeMap::new();
        found.entry(Program::OpenSsl).or_default().extend(self.openssl(path)?);
        found.entry(Program::Certtool).or_default().extend(self.certtool(path)?);
        let asked = json!({
            "certificate": path.leaf, "above": path.above, "root": self.root, "name": path.name, "lint": lint,
        });
        let answer = self.python.ask(&asked)?;
        for (program, key) in [(Program::Pkilint, "pkilint"), (Program::Cryptography, "cryptography")] {
            let sentences = answer[key].as_array().ok_or("judge.py's answer has another shape")?;
            // It validates leaves alone: a device CA is judged by what stands beneath it.
            if program == Program::Cryptography && is_ca {
                continue;
            }
            let sentences = sentences.iter().map(|sentence| sentence.as_str().unwrap_or("(no text)").to_owned());
            found.entry(program).or_default().extend(sentences);
        }
        Ok(found)
    }

    fn openssl(&self, path: &Chain) -> Outcome<Option<String>> {
        let mut command = Command::new("openssl");
        command.args(["verify", "-x509_strict", "-check_ss_sig", "-no-CApath", "-no-CAstore", "-CAfile"]);
        command.arg(&self.root);
        for above in &path.above {
            command.arg("-untrusted").arg(above);
        }
        match path.purpose {
            Purpose::DeviceCa { .. } => {}
            Purpose::DeviceIdentity => drop(command.args(["-purpose", "sslclient"])),
            Purpose::Server => drop(command.args(["-purpose", "sslserver"])),
        }
        if let Some(name) = &path.name {
            command.arg("-verify_hostname").arg(name);
        }
        command.arg(&path.leaf);
        let output = command.output().map_err(because("could not run openssl"))?;
        Ok((!output.status.success()).then(|| last_line(&output.stderr)))
    }

    /// The chain in one file, leaf first, root last.
    fn certtool(&self, path: &Chain) -> Outcome<Option<String>> {
        let chain = self.place.path("chain.pem");
        let mut text = Vec::new();
        for file in std::iter::once(&path.leaf).chain(&path.above).chain([&self.root]) {
            text.extend(fs::read(file).map_err(because("could not read a certificate"))?);
        }
        fs::write(&chain, text).map_err(because("could not write the chain"))?;
        let mut command = Command::new("certtool");
        command.arg("--verify-chain").arg("--infile").arg(chain);
        let output = command.output().map_err(because("could not run certtool"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let verdict = said.lines().rev().find_map(|line| line.strip_prefix("Chain verification output: "));
        let holds = output.status.success()
            && verdict.is_some_and(|verdict| verdict.contains("Verified. The certificate is trusted."));
        Ok((!holds).then(|| verdict.map_or_else(|| last_line(&output.stderr), str::to_owned)))
    }
}

impl Python {
    fn ask(&mut self, asked: &Value) -> Outcome<Value> {
        writeln!(self.into, "{asked}").map_err(because("judge.py does not listen"))?;
        let mut line = String::new();
        self.out.read_line(&mut line).map_err(because("judge.py does not answer"))?;
        serde_json::from_str(&line).map_err(because("judge.py ended, or answers something else"))
    }
}

fn run(command: &mut Command) -> Outcome<()> {
    let output = command.output().map_err(because("could not run a command"))?;
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", last_line(&output.stderr))) }
}

fn last_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
}

fn write(path: &Path, der: &[u8]) -> Outcome<()> {
    fs::write(path, pem::encode(&pem::Pem::new("CERTIFICATE", der))).map_err(because("could not write a certificate"))
}
