//! The table in the CA's README: written by the long form, compared by every form.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use issuance::KeyAlgorithm;

use crate::{Findings, Outcome, Plan, because, judge::Program, profiles::KINDS};

const BEGIN: &str = "<!-- Written by `make interop-ca`: do not edit. -->\n";
const END: &str = "<!-- End of what `make interop-ca` writes. -->\n";

/// What a program finds although the certificate is right: the program, a part of its words, and why it is right. None of
/// them is silent: each stands beneath the table.
const EXPLAINED: [(Program, &str, &str); 3] = [
    (
        Program::Pkilint,
        "pkix.invalid_uri_syntax: Invalid URI syntax: \"urn:",
        "it takes URLs alone for URIs. A `urn:` (RFC 8141) is an absolute URI with a scheme-specific part, as RFC 5280 \
         §4.2.1.6 asks; where this matters, give the profile an `https:` URI.",
    ),
    (
        Program::Pkilint,
        "pkix.san_extension_is_critical_non_empty_subject",
        "RFC 5280 §4.2.1.6 would rather have it not critical beside a subject. That is what a profile asks for with \
         `critical = [\"subjectAltName\"]`.",
    ),
    (
        Program::Cryptography,
        "invalid extension: 2.5.29.32: certificate contains unaccounted-for critical extensions",
        "it does not process certificate policies, and so must refuse a certificate where they are critical (RFC 5280 \
         §4.2). That is what a profile asks for with `critical = [\"certificatePolicies\"]`.",
    ),
];

/// Profile × device key × program.
#[derive(Debug)]
pub struct Table {
    hashes: String,
    rows: Vec<Row>,
    unexplained: Vec<String>,
}

#[derive(Debug)]
struct Row {
    /// Profile and key, as the table begins.
    head: String,
    text: String,
}

impl Table {
    pub(crate) fn new(plan: &Plan, rows: BTreeMap<(usize, usize), Findings>) -> Self {
        let hashes: Vec<String> = plan.hashes.iter().map(ToString::to_string).collect();
        let mut table = Self { hashes: hashes.join(", "), rows: Vec::new(), unexplained: Vec::new() };
        for ((kind, key), found) in rows {
            let head = head(kind, KeyAlgorithm::NAMES[key].0);
            let cells: Vec<String> =
                Program::ALL.iter().map(|program| table.cell(&head, *program, found.get(program))).collect();
            table.rows.push(Row { text: format!("{head} {} |\n", cells.join(" | ")), head });
        }
        table
    }

    fn cell(&mut self, head: &str, program: Program, found: Option<&BTreeSet<String>>) -> String {
        let mut notes = BTreeSet::new();
        for sentence in found.into_iter().flatten() {
            let explained = EXPLAINED.iter().position(|(by, words, _)| *by == program && sentence.contains(words));
            match explained {
                Some(note) => drop(notes.insert(note + 1)),
                None => self.unexplained.push(format!("{head} {}: {sentence}", program.title())),
            }
        }
        let notes: Vec<String> = notes.iter().map(|note| format!("note {note}")).collect();
        if notes.is_empty() { "clean".to_owned() } else { notes.join(", ") }
    }

    /// What programs found and nobody explained.
    #[must_use]
    pub fn unexplained(&self) -> &[String] {
        &self.unexplained
    }

    fn text(&self) -> String {
        let titles: Vec<&str> = Program::ALL.iter().map(|program| program.title()).collect();
        let mut text = format!(
            "Requests signed with {}, by OpenSSL. Clean is: no finding of level ERROR or WARNING, and verified. \
             A device CA is\nverified by itself (not by `cryptography`, which verifies leaves) and with a server's certificate \
             that its key signed.\n\n\
             | Profile | Issuer, signature | Device key | {} |\n|---|---|---|{}\n",
            self.hashes,
            titles.join(" | "),
            "---|".repeat(titles.len()),
        );
        self.rows.iter().for_each(|row| text.push_str(&row.text));
        for (number, (program, words, why)) in EXPLAINED.iter().enumerate() {
            text.push_str(&format!("\nNote {}: {} says \"{words}\": {why}\n", number + 1, program.title()));
        }
        text
    }
}

fn head(kind: usize, key: &str) -> String {
    let kind = &KINDS[kind];
    format!("| {} | {}, {} | {key} |", kind.name, kind.issuer, kind.signed)
}

fn readme() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../agent/intermediate-ca/README.md"))
}

/// The README before, within and after its table.
fn parts() -> Outcome<(String, String, String)> {
    let text = fs::read_to_string(readme()).map_err(because("could not read the CA's README"))?;
    let split = || {
        let (before, rest) = text.split_once(BEGIN)?;
        let (within, after) = rest.split_once(END)?;
        Some((before.to_owned(), within.to_owned(), after.to_owned()))
    };
    split().ok_or_else(|| format!("the CA's README lacks {BEGIN:?} or {END:?}"))
}

/// Puts the table into the README; whether that changed it.
///
/// # Errors
/// The README cannot be read or written, or has no place for it.
pub fn write(table: &Table) -> Outcome<bool> {
    let (before, within, after) = parts()?;
    if within == table.text() {
        return Ok(false);
    }
    let text = format!("{before}{BEGIN}{}{END}{after}", table.text());
    fs::write(readme(), text).map_err(because("could not write the CA's README")).map(|()| true)
}

/// What in the README is not what was found: rows of another outcome, and rows that the profiles have and it has not, or the
/// other way round. Empty: it is not stale.
///
/// # Errors
/// The README cannot be read, or has no table.
pub fn compare(table: &Table) -> Outcome<Vec<String>> {
    let (_, within, _) = parts()?;
    let mut stale = Vec::new();
    for row in &table.rows {
        if !within.contains(&row.text) {
            stale.push(format!("the README does not say {}", row.text.trim()));
        }
    }
    let every: BTreeSet<String> = (0..KINDS.len())
        .flat_map(|kind| {
            let keys = KeyAlgorithm::NAMES.iter().filter(move |(_, key)| KINDS[kind].takes(*key));
            keys.map(move |(name, _)| head(kind, name))
        })
        .collect();
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| Profile");
    let written: BTreeSet<String> =
        within.lines().filter(is_row).map(|line| line.split_inclusive('|').take(4).collect()).collect();
    stale.extend(every.symmetric_difference(&written).map(|head| format!("the README has, or lacks, {head}")));
    let outline: Vec<&str> = within.lines().filter(|line| !is_row(line)).collect();
    let text = table.text();
    let expected: Vec<&str> = text.lines().filter(|line| !is_row(line)).collect();
    if outline != expected {
        stale.push("the README's head or notes are others".to_owned());
    }
    debug_assert!(table.rows.iter().all(|row| every.contains(&row.head)));
    Ok(stale)
}
