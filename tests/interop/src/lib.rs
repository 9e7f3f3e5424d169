//! What `intermediate-ca` issues, held against programs that others wrote: pkilint, OpenSSL, GnuTLS, and the path validation
//! of Python's `cryptography`. The certificates come from the real binary, with its keys in SoftHSM, over `ca.v1`; the
//! requests from OpenSSL, for each profile × device key × hash.
//!
//! The outcome is a table in `agent/intermediate-ca/README.md`: `make interop-ca` writes it, and `make test` runs a part of it
//! and fails when the table says something else.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod judge;
mod place;
mod profiles;
mod requests;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    path::{Path, PathBuf},
};

use issuance::{KeyAlgorithm, public_key::Hash};
use proto::ca::v1::{IssueResult, issue_result};

use judge::{Judge, Program};
use place::Place;
use profiles::{KINDS, Kind};
pub use table::{Table, compare, write};

/// What fails, in one sentence.
pub type Outcome<T> = Result<T, String>;

/// Puts what was tried before what went wrong.
fn because<E: Display>(act: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{act}: {error}")
}

/// What is tried.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the binaries are, `intermediate-ca` among them.
    pub binaries: PathBuf,
    /// The device keys.
    pub keys: Vec<KeyAlgorithm>,
    /// The hashes of the requests.
    pub hashes: Vec<Hash>,
}

impl Plan {
    /// Every key and hash.
    #[must_use]
    pub fn long(binaries: &Path) -> Self {
        let keys = KeyAlgorithm::NAMES.iter().map(|(_, key)| *key).collect();
        Self { binaries: binaries.to_owned(), keys, hashes: Hash::NAMES.iter().map(|(_, hash)| *hash).collect() }
    }

    /// The keys that are made in no time, and every hash.
    #[must_use]
    pub fn short(binaries: &Path) -> Self {
        let mut plan = Self::long(binaries);
        plan.keys.retain(|key| !matches!(key, KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096));
        plan
    }
}

/// One certificate.
struct Case {
    kind: &'static Kind,
    key: KeyAlgorithm,
    hash: Hash,
    device_serial: String,
    /// The device's private key, PEM.
    private_key: PathBuf,
    /// DER.
    request: Vec<u8>,
    /// DER.
    certificate: Vec<u8>,
}

impl Case {
    fn common_name(&self) -> String {
        format!("{}{}", self.device_serial, self.kind.suffix)
    }

    fn words(&self) -> String {
        format!("{} for {} by {}", self.kind.name, self.key, self.hash)
    }
}

/// What was found, by program: nothing, or sentences.
type Findings = BTreeMap<Program, BTreeSet<String>>;

/// Issues everything, asks everybody, and gives the table. `say` hears how far it is.
///
/// # Errors
/// Something that could not be run, or a certificate that is not what was asked for. What programs find is no error: it
/// stands in the table, and [`Table::unexplained`] tells what nobody explained.
pub async fn run(plan: &Plan, say: &dyn Fn(&str)) -> Outcome<Table> {
    let mut place = Place::new(&plan.binaries)?;
    let mut cases = Vec::new();
    for kind in &KINDS {
        for key in plan.keys.iter().copied().filter(|key| kind.takes(*key)) {
            for hash in &plan.hashes {
                cases.push(requests::make(&place, kind, key, *hash)?);
            }
        }
        say(&format!("{}: requests made", kind.name));
    }
    let requests = cases.iter().map(requests::wire).collect();
    let (trust, results) = place.issue(requests).await?;
    for (case, result) in cases.iter_mut().zip(results) {
        case.certificate = certificate(case, result)?;
    }
    say(&format!("{} certificates issued", cases.len()));
    let mut judge = Judge::start(&plan.binaries, &place, trust)?;
    let mut rows: BTreeMap<(usize, usize), Findings> = BTreeMap::new();
    for case in &cases {
        let found = judge.judge(case)?;
        let position = |name: &str| KINDS.iter().position(|kind| kind.name == name).unwrap_or_default();
        let key = KeyAlgorithm::NAMES.iter().position(|(_, key)| *key == case.key).unwrap_or_default();
        let row = rows.entry((position(case.kind.name), key)).or_default();
        for (program, findings) in found {
            row.entry(program).or_default().extend(findings);
        }
    }
    say("everybody was asked");
    judge.control(&cases)?;
    say("and everybody refuses what is wrong");
    Ok(Table::new(plan, rows))
}

fn certificate(case: &Case, result: IssueResult) -> Outcome<Vec<u8>> {
    match result.outcome {
        Some(issue_result::Outcome::Issued(issued)) => Ok(issued.certificate),
        other => Err(format!("{} was not issued: {other:?}", case.words())),
    }
}
