//! Certificate objects, beside their keys.

use cryptoki::{
    object::{Attribute, AttributeType, CertificateType, ObjectClass, ObjectHandle},
    session::Session,
};
use issuance::{Fault, FaultKind};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{
    Place,
    fault::{Failure, failed},
    key::{occupied, only},
};
use crate::der;

pub(super) fn read(session: &Session, place: Place<'_>) -> Result<Option<Vec<u8>>, Failure> {
    match only(session, place, ObjectClass::CERTIFICATE, "certificate")? {
        Some(object) => Ok(Some(value(session, place, object)?).filter(|value| !value.is_empty())),
        None => Ok(None),
    }
}

pub(super) fn write(session: &Session, place: Place<'_>, certificate: &[u8]) -> Result<(), Failure> {
    let act = format!("could not write the certificate with {place}");
    if let Some(standing) = only(session, place, ObjectClass::CERTIFICATE, "certificate")? {
        let found = value(session, place, standing)?;
        if found == certificate {
            return Ok(());
        }
        // An object without a value is what an interrupted write leaves, on modules that do not write at once.
        if !found.is_empty() {
            return Err(occupied(place, "another certificate stands there").into());
        }
        session.destroy_object(standing).map_err(failed(act.clone()))?;
    }
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|error| Fault::caused(FaultKind::CertificateRejected, act.clone(), error))?;
    let template = [
        Attribute::Class(ObjectClass::CERTIFICATE),
        Attribute::CertificateType(CertificateType::X_509),
        Attribute::Token(true),
        Attribute::Private(false),
        // Not a lock: the PIN's holder can still destroy it.
        Attribute::Modifiable(false),
        Attribute::Id(place.cka_id.to_vec()),
        Attribute::Label(place.label.as_bytes().to_vec()),
        Attribute::Subject(parsed.subject().as_raw().to_vec()),
        Attribute::Issuer(parsed.issuer().as_raw().to_vec()),
        // DER of the INTEGER, not its content (PKCS#11 v3.1, 4.6.3).
        Attribute::SerialNumber(der::element(der::INTEGER, parsed.tbs_certificate.raw_serial())),
        Attribute::Value(certificate.to_vec()),
    ];
    session.create_object(&template).map_err(failed(act))?;
    Ok(())
}

pub(super) fn remove(session: &Session, place: Place<'_>, certificate: &[u8]) -> Result<(), Failure> {
    if let Some(standing) = only(session, place, ObjectClass::CERTIFICATE, "certificate")?
        && value(session, place, standing)? == certificate
    {
        let act = format!("could not remove the superseded certificate with {place}");
        session.destroy_object(standing).map_err(failed(act))?;
    }
    Ok(())
}

fn value(session: &Session, place: Place<'_>, object: ObjectHandle) -> Result<Vec<u8>, Failure> {
    let told = session
        .get_attributes(object, &[AttributeType::Value])
        .map_err(failed(format!("could not read the certificate with {place}")))?;
    match told.into_iter().next() {
        Some(Attribute::Value(value)) => Ok(value),
        _ => Ok(Vec::new()),
    }
}
