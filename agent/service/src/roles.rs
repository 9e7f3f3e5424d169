//! Roles: what a caller may do, given by configuration to the certificate that it showed. An unknown certificate has no
//! role, and with it no right.

use std::fmt;

use tonic::{Code, Status};

use crate::{configuration::Table, status, tls::Peer};

/// What a caller is here for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// A page at the line. Never more than an operator.
    Kiosk,
    /// Starts issuances.
    Operator,
    /// Decides what an operator may not: quarantine, rework, release.
    Supervisor,
    /// The manufacturing execution system.
    Mes,
    /// Reads everything, changes nothing.
    Auditor,
    /// Looks after the machines.
    Administrator,
    /// A station, towards the CA.
    Station,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 7] =
        [Self::Kiosk, Self::Operator, Self::Supervisor, Self::Mes, Self::Auditor, Self::Administrator, Self::Station];

    /// As configurations and records write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kiosk => "kiosk",
            Self::Operator => "operator",
            Self::Supervisor => "supervisor",
            Self::Mes => "mes",
            Self::Auditor => "auditor",
            Self::Administrator => "administrator",
            Self::Station => "station",
        }
    }

    /// Parses the word that configurations use.
    ///
    /// # Errors
    /// Any other word.
    pub fn parse(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word is no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of kiosk, operator, supervisor, mes, auditor, administrator, station")]
pub struct UnknownRole;

/// Somebody whose certificate the configuration knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// What the certificate was known by: its common name, URI, or fingerprint (SHA-256, hexadecimal). For records, as
    /// `authenticated_by`.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// The `[[caller]]` tables of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Callers(Vec<(Mark, Role)>);

/// What a caller's certificate is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// The subject's common name.
    CommonName(String),
    /// A URI of the subject alternative name.
    Uri(String),
    /// SHA-256 of the certificate.
    Fingerprint([u8; 32]),
}

impl Mark {
    /// Reads exactly one of `common_name`, `uri` (of the subject alternative name) and `fingerprint` (SHA-256 of the
    /// certificate, hexadecimal, colons allowed), with the key that it stands at. What is wrong is collected in the table.
    pub fn from_table(table: &Table<'_>) -> Option<(&'static str, Self)> {
        let marks: Vec<_> = [
            ("common_name", table.optional_string("common_name").map(Self::CommonName)),
            ("uri", table.optional_parsed("uri", parse_uri).map(Self::Uri)),
            ("fingerprint", table.optional_parsed("fingerprint", parse_fingerprint).map(Self::Fingerprint)),
        ]
        .into_iter()
        .filter(|(key, _)| table.has(key))
        .collect();
        match <[_; 1]>::try_from(marks) {
            Ok([(key, Some(mark))]) => Some((key, mark)),
            // That mistake is collected already.
            Ok([(_, None)]) => None,
            Err(marks) => {
                let found = if marks.is_empty() { "found none" } else { "found more than one" };
                let key = marks.last().map_or("common_name", |(key, _)| key);
                table.mistake(key, format!("give exactly one of common_name, uri and fingerprint; {found}"));
                None
            }
        }
    }

    /// Whether a certificate is known by it.
    pub fn fits(&self, peer: &Peer) -> bool {
        match self {
            Self::CommonName(name) => *name == peer.common_name,
            Self::Uri(uri) => peer.uris.contains(uri),
            Self::Fingerprint(fingerprint) => *fingerprint == peer.fingerprint_sha256,
        }
    }

    /// For records: the name, the URI, or the fingerprint in hexadecimal.
    pub fn name(&self) -> String {
        match self {
            Self::CommonName(text) | Self::Uri(text) => text.clone(),
            Self::Fingerprint(fingerprint) => hexadecimal(fingerprint),
        }
    }
}

impl Callers {
    /// Reads every `[[caller]]`: a `role`, and exactly one of `common_name`, `uri` (of the subject alternative name) and
    /// `fingerprint` (SHA-256 of the certificate, hexadecimal, colons allowed). What is wrong is collected in the table,
    /// and so is that there is none: nobody could call.
    pub fn from_table(table: &Table<'_>) -> Self {
        let mut callers = Self::default();
        let tables = table.tables("caller");
        if tables.is_empty() && !table.has("caller") {
            table.mistake("caller", "is missing; add a [[caller]] with common_name and role, or nobody may call");
        }
        for table in tables {
            let role = table.parsed("role", Role::parse);
            let Some((key, mark)) = Mark::from_table(&table) else { continue };
            if callers.0.iter().any(|(known, _)| *known == mark) {
                table.mistake(key, "is already the mark of a [[caller]] above; remove one of them");
            } else if let Some(role) = role {
                callers.0.push((mark, role));
            }
        }
        callers
    }

    /// Everybody the configuration knows.
    pub fn iter(&self) -> impl Iterator<Item = Caller> {
        self.0.iter().map(|(mark, role)| Caller { name: mark.name(), role: *role })
    }

    /// The role of a peer, if the configuration knows it.
    pub fn role_of(&self, peer: &Peer) -> Option<Role> {
        self.caller(peer).map(|caller| caller.role)
    }

    /// Who a peer is. A certificate that fits several tables with different roles has none of them.
    pub fn caller(&self, peer: &Peer) -> Option<Caller> {
        let mut fitting = self.0.iter().filter(|(mark, _)| mark.fits(peer));
        let (mark, role) = fitting.next()?;
        fitting.all(|(_, other)| other == role).then(|| Caller { name: mark.name(), role: *role })
    }

    /// Who is calling, when their role is one of `allowed`. `peer` is `request.extensions().get::<Peer>()`.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` for nobody, or a certificate that the configuration does not know; `PERMISSION_DENIED` for a role that is not allowed.
    pub fn authorise(&self, peer: Option<&Peer>, allowed: &[Role]) -> Result<Caller, Status> {
        let Some(peer) = peer else {
            let message = "no client certificate came with this call; connect with mutual TLS";
            return Err(status::refused(Code::Unauthenticated, "NO_CERTIFICATE", message));
        };
        let Some(caller) = self.caller(peer) else {
            let name = if peer.common_name.is_empty() {
                hexadecimal(&peer.fingerprint_sha256)
            } else {
                peer.common_name.clone()
            };
            tracing::warn!(peer = %peer.address, name, "refused a call: the certificate has no role");
            let message =
                format!("the certificate {name:?} has no role here; add a [[caller]] for it to the configuration");
            return Err(status::refused(Code::Unauthenticated, "UNKNOWN_CALLER", message));
        };
        caller.must_be(allowed).map(|()| caller)
    }
}

impl Caller {
    /// Refuses whoever has another role.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`.
    pub fn must_be(&self, allowed: &[Role]) -> Result<(), Status> {
        let Self { name, role } = self;
        if allowed.contains(role) {
            return Ok(());
        }
        tracing::warn!(name, %role, "refused a call: the role may not do this");
        let allowed = allowed.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ");
        let message =
            format!("{name:?} has the role {role}, and this needs one of: {allowed}; ask somebody who has it");
        Err(status::refused(Code::PermissionDenied, "ROLE_NOT_ALLOWED", message))
    }
}

fn parse_uri(text: &str) -> Result<String, &'static str> {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    // RFC 3986 §3.1.
    let fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        && text.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(text.to_owned()) } else { Err("is not a URI; write it as in the certificate, scheme included") }
}

fn parse_fingerprint(text: &str) -> Result<[u8; 32], &'static str> {
    const WRONG: &str = "must be the SHA-256 of the certificate: 64 hexadecimal digits, as `openssl x509 -noout -fingerprint -sha256` prints them";
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b':').collect();
    let mut fingerprint = [0; 32];
    if digits.len() != 2 * fingerprint.len() {
        return Err(WRONG);
    }
    for (byte, pair) in fingerprint.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = match (digit(pair[0]), digit(pair[1])) {
            (Some(high), Some(low)) => high << 4 | low,
            _ => return Err(WRONG),
        };
    }
    Ok(fingerprint)
}

fn hexadecimal(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
