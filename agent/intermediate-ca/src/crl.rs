//! Certificate revocation lists (RFC 5280 §5): which there are, and one list's exact bytes.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use issuance::{ProfileName, Timestamp};
use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope, KeyIdMethod,
    RevokedCertParams, SerialNumber,
};
use x509_parser::{prelude::FromDer, revocation_list::CertificateRevocationList};

use crate::{
    certificate::{self, CertificateError},
    pki::{CLOCK_ALLOWANCE, CaCertificate, moment, moment_text},
    profile::CaName,
    records::RevocationRow,
    revocation::RevocationReason,
};

/// `[crl]`: when lists are made, and where they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlSettings {
    /// A new list comes this long after the last one, and at once when something is revoked.
    pub every: Duration,
    /// A list's nextUpdate is this long after it is made.
    pub valid_for: Duration,
    /// This long before a list expires its successor must stand: `every` and `early` together fit into `valid_for`.
    pub early: Duration,
    /// The directory of `<list>.crl` (DER) and `<list>.crl.pem`.
    pub directory: PathBuf,
    /// Where they are served over plain HTTP; absent: not at all.
    pub address: Option<SocketAddr>,
    /// Lists of some of an issuer's profiles, besides the complete one that each issuer has.
    pub partitions: Vec<CrlPartition>,
}

/// A list of some of an issuer's profiles, for certificates that name it as their distribution point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlPartition {
    /// The list's name, and its file's.
    pub name: CaName,
    /// Whose it is.
    pub issuer: CaName,
    /// The profiles whose certificates it lists.
    pub profiles: Vec<ProfileName>,
    /// Where it is found: its issuing distribution point, the same in the certificates.
    pub url: String,
    /// What kind of certificates the profiles give, when it is one kind.
    pub scope: Option<PartitionScope>,
}

/// One kind of certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionScope {
    /// CA certificates alone.
    Authorities,
    /// None of them.
    EndEntities,
}

/// A list to be kept.
#[derive(Debug, Clone)]
pub(crate) struct List {
    /// The issuer's, or the partition's.
    pub(crate) name: CaName,
    pub(crate) issuer: CaCertificate,
    pub(crate) partition: Option<CrlPartition>,
}

impl List {
    /// Whether it lists what was issued under this profile.
    pub(crate) fn covers(&self, profile: &str) -> bool {
        self.partition.as_ref().is_none_or(|part| part.profiles.iter().any(|own| own.as_str() == profile))
    }
}

/// A list's bytes before they are signed.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) number: u64,
    /// Seconds since 1970.
    pub(crate) this_update: i64,
    /// Seconds since 1970.
    pub(crate) next_update: i64,
    pub(crate) revoked: usize,
    pub(crate) tbs: Vec<u8>,
}

/// Makes the bytes that are to be signed, and looks at them once more.
pub(crate) fn draft(
    list: &List,
    number: u64,
    revoked: &[(Vec<u8>, RevocationRow)],
    now: Timestamp,
    valid_for: Duration,
) -> Result<Draft, CertificateError> {
    let issuer = &list.issuer;
    // A verifier's clock may lag behind ours, and it would refuse everyone by a list from its future.
    let this_update = (now.seconds() - CLOCK_ALLOWANCE.as_secs().cast_signed()).max(issuer.not_before);
    let next_update = now.seconds().saturating_add(valid_for.as_secs().cast_signed());
    let time = |seconds| moment(seconds).ok_or(CertificateError::NotDer);
    let revoked_certs = revoked.iter().filter(|(_, row)| list.covers(&row.profile)).map(|(serial, row)| {
        Ok(RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: time(row.at.seconds())?,
            reason_code: Some(reason_code(row.reason)),
            invalidity_date: None,
        })
    });
    let params = CertificateRevocationListParams {
        this_update: time(this_update)?,
        next_update: time(next_update)?,
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: list.partition.as_ref().map(distribution_point),
        revoked_certs: revoked_certs.collect::<Result<_, CertificateError>>()?,
        key_identifier_method: KeyIdMethod::PreSpecified(issuer.key_identifier.clone()),
    };
    let tbs = certificate::tbs_cert_list(&params, &issuer.template)?;
    Ok(Draft { number, this_update, next_update, revoked: params.revoked_certs.len(), tbs })
}

fn reason_code(reason: RevocationReason) -> rcgen::RevocationReason {
    match reason {
        RevocationReason::Unspecified => rcgen::RevocationReason::Unspecified,
        RevocationReason::KeyCompromise => rcgen::RevocationReason::KeyCompromise,
        RevocationReason::CaCompromise => rcgen::RevocationReason::CaCompromise,
        RevocationReason::AffiliationChanged => rcgen::RevocationReason::AffiliationChanged,
        RevocationReason::Superseded => rcgen::RevocationReason::Superseded,
        RevocationReason::CessationOfOperation => rcgen::RevocationReason::CessationOfOperation,
        RevocationReason::PrivilegeWithdrawn => rcgen::RevocationReason::PrivilegeWithdrawn,
    }
}

fn distribution_point(partition: &CrlPartition) -> CrlIssuingDistributionPoint {
    CrlIssuingDistributionPoint {
        distribution_point: CrlDistributionPoint { uris: vec![partition.url.clone()] },
        scope: partition.scope.map(|scope| match scope {
            PartitionScope::Authorities => CrlScope::CaCertsOnly,
            PartitionScope::EndEntities => CrlScope::UserCertsOnly,
        }),
    }
}

/// What a finished list says, read back from its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) number: u64,
    pub(crate) this_update: i64,
    pub(crate) next_update: i64,
    pub(crate) revoked: usize,
}

/// Reads a CRL and holds it against its issuer; the error is what does not fit.
pub(crate) fn parse(der: &[u8], list: &List) -> Result<Parsed, String> {
    let Ok(([], crl)) = CertificateRevocationList::from_der(der) else {
        return Err("it is not one DER CRL".to_owned());
    };
    let tbs = &crl.tbs_cert_list;
    // HARDWARE.md, traps 1: byte for byte, because some verifiers compare names that way.
    if tbs.issuer.as_raw() != list.issuer.subject {
        return Err(format!("its issuer is not the subject of {}, byte for byte", list.issuer.name));
    }
    if !list.issuer.public_key.verifies(tbs.as_ref(), &crl.signature_value.data) {
        return Err(format!("it is not signed by {}", list.issuer.name));
    }
    let number = crl.crl_number().and_then(|number| u64::try_from(number).ok()).ok_or("it has no CRL number")?;
    let next_update = tbs.next_update.ok_or("it has no nextUpdate")?.timestamp();
    Ok(Parsed {
        number,
        this_update: tbs.this_update.timestamp(),
        next_update,
        revoked: crl.iter_revoked_certificates().count(),
    })
}

/// What contradicts itself in `[crl]`: the key and what is wrong.
pub(crate) fn contradiction(settings: &CrlSettings) -> Option<(&'static str, String)> {
    let CrlSettings { every, valid_for, early, .. } = settings;
    let wanted = every.saturating_add(*early);
    // A list begins in the past, so that the shortest still has a future.
    if wanted > *valid_for {
        return Some((
            "valid_for",
            format!(
                "is {valid_for:?}, and a list would expire before its successor is safe: give at least `every` and \
                 `early` together, {wanted:?}"
            ),
        ));
    }
    None
}

/// For messages and for people: `#12, 3 revoked, until 2031-05-04 12:00:00 UTC`.
pub(crate) fn in_words(number: u64, revoked: usize, next_update: i64) -> String {
    format!("#{number}, {revoked} revoked, until {}", moment_text(next_update))
}
