//! The way from a certificate to a trusted root (RFC 5280 §6.1, as far as our own chains need it: names, signatures,
//! validity, CA:TRUE, keyCertSign, pathLenConstraint, name constraints). The first step is pinned to the profile's issuers.

use x509_parser::certificate::X509Certificate;

use super::{
    CertificateExpectation, CertificateRejected as Rejected, check_extensions, check_validity,
    name_constraints::{NameConstraints, given_names},
    parse,
};
use crate::{
    PublicKey, Purpose, Timestamp, der,
    public_key::{Hash, signature_algorithm, signature_hash},
};

/// Our chains have two intermediates at most; a longer walk is a loop.
const DEEPEST: usize = 8;
/// What a CA sends beside a certificate is tried in every order that its names allow; this many signatures are far more
/// than an honest chain needs, and take milliseconds.
const SIGNATURES_MOST: usize = 64;

/// The intermediates above `certificate`, DER, issuer first, without the root.
pub(super) fn find(
    certificate: &X509Certificate<'_>,
    expectation: &CertificateExpectation,
) -> Result<Vec<Vec<u8>>, Rejected> {
    let roots = parse_all(&expectation.roots, "root certificate")?;
    let issuers = parse_all(&expectation.issuers, "intermediate certificate")?;
    let intermediates = parse_all(&expectation.intermediates, "intermediate certificate")?;
    let mut walk = Walk {
        roots: &roots,
        certificate,
        above: roots.iter().chain(&issuers).chain(&intermediates).collect(),
        at: expectation.at,
        path: Vec::new(),
        signatures: 0,
    };
    // A device CA will sign: it counts against the pathlen of those above it.
    let below = u32::from(matches!(expectation.purpose, Purpose::DeviceCa { .. }));
    walk.up(certificate, &issuers.iter().collect::<Vec<_>>(), below)?;
    Ok(walk.path.iter().map(|certificate| certificate.as_raw().to_vec()).collect())
}

/// Whether a path leads from `certificate` over some of `intermediates` to one of `roots`, all DER: for certificates that
/// others issued, whose first step is not pinned.
pub(crate) fn to_root(
    certificate: &X509Certificate<'_>,
    intermediates: &[Vec<u8>],
    roots: &[Vec<u8>],
    at: Timestamp,
) -> Result<(), Rejected> {
    let roots = parse_all(roots, "root certificate")?;
    let intermediates = parse_all(intermediates, "intermediate certificate")?;
    let above: Vec<_> = roots.iter().chain(&intermediates).collect();
    let mut walk = Walk { certificate, roots: &roots, above: above.clone(), at, path: Vec::new(), signatures: 0 };
    walk.up(certificate, &above, 0)
}

fn parse_all<'a>(certificates: &'a [Vec<u8>], what: &'static str) -> Result<Vec<X509Certificate<'a>>, Rejected> {
    certificates.iter().map(|der| parse(der, what)).collect()
}

struct Walk<'a> {
    certificate: &'a X509Certificate<'a>,
    roots: &'a [X509Certificate<'a>],
    /// Whom a step after the first may lead to.
    above: Vec<&'a X509Certificate<'a>>,
    at: Timestamp,
    path: Vec<&'a X509Certificate<'a>>,
    signatures: usize,
}

impl<'a> Walk<'a> {
    /// Goes from `child` through one of `candidates` to a root. Of several with one name (a renewed CA beside the old
    /// one) each is tried; what was wrong with the first is told when none will do.
    fn up(
        &mut self,
        child: &X509Certificate<'_>,
        candidates: &[&'a X509Certificate<'a>],
        below: u32,
    ) -> Result<(), Rejected> {
        let mut problem = None;
        for parent in candidates {
            let is_parent = parent.subject().as_raw() == child.issuer().as_raw();
            if !is_parent || self.path.iter().any(|passed| passed.as_raw() == parent.as_raw()) {
                continue;
            }
            let is_root = self.roots.iter().any(|root| root.as_raw() == parent.as_raw());
            if let Err(wrong) = self.issued(parent, child, below, is_root) {
                problem.get_or_insert(wrong);
                continue;
            }
            if is_root {
                return Ok(());
            }
            if self.path.len() == DEEPEST {
                return Err(Rejected::NoPath("the chain is too long"));
            }
            self.path.push(parent);
            match self.up(parent, &self.above.clone(), below + 1) {
                Ok(()) => return Ok(()),
                Err(wrong) => problem.get_or_insert(wrong),
            };
            self.path.pop();
        }
        Err(problem.unwrap_or_else(|| match self.path.as_slice() {
            [] => Rejected::WrongIssuer(child.issuer().to_string()),
            _ => Rejected::NoPath("no trusted root issued the last intermediate"),
        }))
    }

    /// Whether `issuer` is a CA that signed `child`, may have `below` CAs beneath it, and is valid now.
    fn issued(
        &mut self,
        issuer: &X509Certificate<'_>,
        child: &X509Certificate<'_>,
        below: u32,
        is_root: bool,
    ) -> Result<(), Rejected> {
        let no_path = |problem| Err(Rejected::NoPath(problem));
        let constraints = issuer.basic_constraints().ok().flatten().map(|constraints| constraints.value);
        let Some(constraints) = constraints.filter(|constraints| constraints.ca) else {
            return no_path("an issuer is not a CA");
        };
        if constraints.path_len_constraint.is_some_and(|most| most < below) {
            return no_path("an issuer's pathlen does not allow this many CAs beneath it");
        }
        if !issuer.key_usage().ok().flatten().is_some_and(|usage| usage.value.key_cert_sign()) {
            return no_path("an issuer may not sign certificates (KeyUsage)");
        }
        if check_extensions(issuer).is_err() {
            return no_path("an issuer has a critical extension that is unknown, or a malformed one");
        }
        let Ok(constraints) = NameConstraints::of(issuer) else {
            return no_path("an issuer's name constraints are malformed");
        };
        // Every certificate beneath it; a CA issued by its own name would be exempt (§6.1.4), and ours never are.
        let beneath = std::iter::once(self.certificate).chain(self.path.iter().copied());
        if let Some(wrong) = constraints
            .and_then(|constraints| beneath.flat_map(given_names).find_map(|name| constraints.permit(&name).err()))
        {
            return Err(Rejected::NotPermitted(wrong));
        }
        if !is_accepted(child) {
            return no_path("a certificate's signature algorithm is not accepted");
        }
        let is_of_chain = child.as_raw() != self.certificate.as_raw();
        if !(is_of_chain && verified::knows(issuer.as_raw(), child.as_raw())) {
            self.signatures += 1;
            if self.signatures > SIGNATURES_MOST {
                return no_path("the chain holds too many certificates of one name");
            }
            if !signed(issuer, child) {
                return no_path("a signature does not verify");
            }
            if is_of_chain {
                verified::remember(issuer.as_raw(), child.as_raw());
            }
        }
        check_validity(issuer, if is_root { "root certificate" } else { "intermediate certificate" }, self.at)
    }
}

/// Whether the issuer's key made the child's signature. x509-parser knows no SHA-512 with the NIST curves; what we do not accept
/// as a device's key (a TPM maker's CA may have another) is left to it.
fn signed(issuer: &X509Certificate<'_>, child: &X509Certificate<'_>) -> bool {
    let key = issuer.public_key();
    let Ok(own) = PublicKey::from_der(key.raw) else { return child.verify_signature(Some(key)).is_ok() };
    let hash = signature_hash(&child.signature_algorithm.algorithm.to_id_string(), own.algorithm().is_rsa());
    hash.is_some_and(|hash| own.verifies_with(hash, child.tbs_certificate.as_ref(), &child.signature_value.data))
}

/// Signatures between CAs that were seen to verify: every certificate of a profile comes with the same chain, and whether a
/// signature verifies is a matter of these octets alone. All else is looked at each time.
mod verified {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// Two for each issuer of a line; the oldest leaves first.
    const MOST: usize = 16;

    /// Issuer and child, DER.
    type Pair = (Vec<u8>, Vec<u8>);

    static PAIRS: Mutex<Vec<Pair>> = Mutex::new(Vec::new());

    fn pairs() -> MutexGuard<'static, Vec<Pair>> {
        PAIRS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn knows(issuer: &[u8], child: &[u8]) -> bool {
        pairs().iter().any(|(by, of)| by == issuer && of == child)
    }

    pub(super) fn remember(issuer: &[u8], child: &[u8]) {
        let mut pairs = pairs();
        if pairs.len() == MOST {
            pairs.remove(0);
        }
        pairs.push((issuer.to_vec(), child.to_vec()));
    }
}

/// Whether a certificate is signed with an accepted algorithm ([`signature_algorithm`]; x509-parser would accept SHA-1 as well,
/// HARDWARE.md, traps 2), said alike inside and outside (RFC 5280 §4.1.1.2). Outside the signed part nothing protects the
/// octets, so there they are held to the one DER that they can have.
fn is_accepted(certificate: &X509Certificate<'_>) -> bool {
    let signature = der::element(0x03, &[&[0], certificate.signature_value.data.as_ref()].concat());
    let signed = certificate.tbs_certificate.as_ref();
    certificate.signature_algorithm == certificate.tbs_certificate.signature
        && Hash::NAMES
            .iter()
            .flat_map(|(_, hash)| [false, true].map(|is_rsa| signature_algorithm(*hash, is_rsa)))
            .any(|algorithm| der::element(0x30, &[signed, algorithm, &signature].concat()) == certificate.as_raw())
}
