//! From a POST to a submission, and from its outcome to an answer.

use axum::{
    body::{Bytes, to_bytes},
    extract::Request,
    http::{HeaderMap, StatusCode, header},
};
use issuance::{
    CommonName, DeviceSerial, IssuanceId, Purpose,
    profile::NameTemplate,
    public_key::sha256,
    request::{CertificationRequest, RequestedExtensions},
};
use tracing::{info, warn};

use super::{
    EstLabel, EstOffer, Front, Problem,
    client::{self, Who, forbidden},
    encoding::from_base64,
};
use crate::{
    authority::{Issued, Outcome},
    plan::Submission,
    refusal::{Reason, Refusal},
    register::Confirmation,
};

/// The largest request in base64, folded, with room for line ends.
const BODY_MAX: usize = CertificationRequest::MAX * 3 / 2;
/// What is larger is read so far, so that who sends it hears why it is refused, and not of a broken connection.
const READ_MAX: usize = 1024 * 1024;

/// Answers with the certificate, DER.
pub(super) async fn enrol(front: &Front, label: &EstLabel, renews: bool, request: Request) -> Result<Vec<u8>, Problem> {
    let (head, body) = request.into_parts();
    let who = client::authenticate(front, label, &head.headers).await?;
    check_type(&head.headers)?;
    let too_large = || {
        let text = format!("the body is larger than {BODY_MAX} bytes, or broke off: send one certification request");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    let body = to_bytes(body, READ_MAX).await.map_err(|_| too_large())?;
    if body.len() > BODY_MAX {
        return Err(too_large());
    }
    let (der, parsed) = parse(&body)?;
    let name = who.name();
    let issuance = issuance_id(&name, &der);
    let submission = match &who {
        Who::Listed(_) if renews => {
            return Err(forbidden("show the certificate that is to be renewed, or ask at simpleenroll"));
        }
        Who::Listed(client) => {
            let offer = pick(label, parsed.extensions())?;
            let own = client.lots.iter().find(|(profile, _)| profile == offer.profile.as_str()).map(|(_, lot)| lot);
            Submission {
                issuance: issuance.to_string(),
                device_serial: device_serial(offer, parsed.common_name())?,
                lot: own.or(offer.lot.as_ref()).cloned().unwrap_or_default(),
                profile: offer.profile.to_string(),
                certification_request: der,
                supersedes: Vec::new(),
                residency: None,
                request_id: String::new(),
            }
        }
        Who::Device(held) => {
            if parsed.common_name().as_str() != held.common_name {
                let text = format!(
                    "the request is for the CN {}, and the certificate that was shown is {}'s: a device enrols for itself",
                    parsed.common_name(),
                    held.common_name
                );
                return Err(forbidden(text));
            }
            let own = label.offers.iter().find(|offer| renews && offer.profile.as_str() == held.profile);
            let offer = own.map_or_else(|| pick(label, parsed.extensions()), Ok)?;
            confirm(front, &name, held).await?;
            // What has the name now, also when an answer was lost and the device shows the certificate before.
            let holder = front.authority.holder_of(&offer.profile, parsed.common_name()).await?;
            Submission {
                issuance: issuance.to_string(),
                device_serial: held.device_serial.clone(),
                lot: holder.as_ref().map(|holder| &holder.lot).or(offer.lot.as_ref()).cloned().unwrap_or_default(),
                profile: offer.profile.to_string(),
                certification_request: der,
                supersedes: holder
                    .filter(|holder| holder.issuance != issuance)
                    .map(|holder| holder.issuance.to_string())
                    .into_iter()
                    .collect(),
                residency: None,
                request_id: String::new(),
            }
        }
    };
    let (device, profile) = (submission.device_serial.clone(), submission.profile.clone());
    let outcome = front.authority.issue(&name, vec![submission]).await?.into_iter().next();
    match outcome {
        Some(Outcome::Issued(Issued { certificate, .. })) => {
            info!(client = name, %issuance, device, profile, "EST issued");
            Ok(certificate)
        }
        // EST serves no profile that asks for a TPM's proof.
        Some(Outcome::Sealed(_)) => Err(Problem::new(StatusCode::CONFLICT, "the certificate is for one TPM alone")),
        Some(Outcome::Refused(refusal)) => Err(Problem::new(status(refusal.reason), refusal.to_string())),
        Some(Outcome::Deferred(later)) => Err(Problem::later(later.retry_after, later.message)),
        None => Err(Problem::later(super::RECORDING_BACK, "the request was not answered: send it again")),
    }
}

/// That a device shows a certificate proves that it has it: what that one superseded ends here.
async fn confirm(front: &Front, by: &str, held: &crate::register::Held) -> Result<(), Problem> {
    let Some(certificate_sha256) = held.certificate_sha256 else { return Ok(()) };
    let confirmation = Confirmation { issuance: held.issuance, certificate_sha256 };
    for refusal in front.authority.confirm(by, vec![Ok(confirmation)]).await?.into_iter().filter_map(Result::err) {
        warn!(client = by, reason = refusal.reason.as_str(), message = refusal.message, "EST could not confirm");
    }
    Ok(())
}

/// RFC 7030 §4.2.1. Content-Transfer-Encoding is not looked at (RFC 8951 §3.1).
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        let text = "the body is compressed (Content-Encoding): send the certification request in base64 as it is";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/pkcs10")) {
        return Ok(());
    }
    let text = "the content type must be application/pkcs10, and the body a certification request in base64";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text))
}

fn parse(body: &Bytes) -> Result<(Vec<u8>, CertificationRequest), Problem> {
    let refuse = |text: String| Problem::new(StatusCode::BAD_REQUEST, text);
    let der =
        from_base64(body).map_err(|problem| refuse(format!("the body is no certification request: {problem}")))?;
    let parsed = CertificationRequest::from_der(&der)
        .map_err(|error| refuse(Refusal::because(Reason::InvalidRequest, &error).to_string()))?;
    Ok((der, parsed))
}

/// The offer that a request is for, by what it asks for; a label with one offer has that one, and its profile judges.
fn pick<'a>(label: &'a EstLabel, asked: &RequestedExtensions) -> Result<&'a EstOffer, Problem> {
    if let [alone] = label.offers.as_slice() {
        return Ok(alone);
    }
    let is_ca = asked.basic_constraints.is_some_and(|(is_ca, _)| is_ca);
    let is_server = asked.server_auth && !asked.client_auth;
    let found = label.offers.iter().find(|offer| match offer.purpose {
        Purpose::DeviceCa { .. } => is_ca,
        Purpose::Server => !is_ca && is_server,
        Purpose::DeviceIdentity => !is_ca && !is_server,
    });
    found.ok_or_else(|| {
        let offers: Vec<&str> = label.offers.iter().map(|offer| offer.profile.as_str()).collect();
        let text = format!(
            "no profile of this label is for what the request asks for (CA:TRUE, serverAuth or neither): it has {}",
            offers.join(", ")
        );
        Problem::new(StatusCode::BAD_REQUEST, text)
    })
}

/// What stands for `{serial}` in the profile's CNs, or the whole CN.
fn device_serial(offer: &EstOffer, common_name: &CommonName) -> Result<String, Problem> {
    let Some(template) = &offer.common_name else { return Ok(common_name.as_str().to_owned()) };
    serial_in(template, common_name.as_str()).ok_or_else(|| {
        let text = format!(
            "{}: the CN {common_name} is not made as the profile {} has it: {}",
            Reason::CommonNameNotAccepted.as_str(),
            offer.profile,
            template.as_str()
        );
        Problem::new(StatusCode::BAD_REQUEST, text)
    })
}

/// The device serial that the template was filled with.
fn serial_in(template: &NameTemplate, common_name: &str) -> Option<String> {
    const PLACE: &str = "{serial}";
    let text = template.as_str();
    let places = text.matches(PLACE).count();
    let length = common_name.len().checked_sub(text.len() - places * PLACE.len())?.checked_div(places)?;
    let start = text.find(PLACE)?;
    let serial = DeviceSerial::parse(common_name.get(start..start + length)?).ok()?;
    (template.fill(&serial) == common_name).then(|| serial.to_string())
}

/// A UUIDv8 (RFC 9562 §5.8): SHA-256 over the client's name, a zero octet and the request's SHA-256.
fn issuance_id(client: &str, request: &[u8]) -> IssuanceId {
    let digest = sha256(&[client.as_bytes(), &[0], &sha256(request)].concat());
    let mut octets = [0; 16];
    octets.copy_from_slice(&digest[..16]);
    octets[6] = octets[6] & 0x0f | 0x80;
    octets[8] = octets[8] & 0x3f | 0x80;
    IssuanceId::from_uuid(uuid::Uuid::from_bytes(octets))
}

fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::InvalidIssuance
        | Reason::InvalidDeviceSerial
        | Reason::InvalidRequest
        | Reason::KeyNotAccepted
        | Reason::ExtensionsContradictProfile
        | Reason::CommonNameNotAccepted => StatusCode::BAD_REQUEST,
        Reason::CommonNameTaken
        | Reason::KeyTaken
        | Reason::AlreadyExists
        | Reason::AlreadySuperseded
        | Reason::DeviceAlreadyIssued => StatusCode::CONFLICT,
        _ => StatusCode::FORBIDDEN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The serial comes back out of whatever template made the CN, and out of no other CN.
    #[test]
    fn a_serial_is_found_in_a_common_name() {
        for (template, common_name, serial) in [
            ("{serial}", "SN-1", Some("SN-1")),
            ("{serial}.line.example", "SN-1.line.example", Some("SN-1")),
            ("a{serial}b{serial}", "aX1bX1", Some("X1")),
            ("a{serial}b{serial}", "aX1bX2", None),
            ("{serial}.line.example", "SN-1.line.exampl", None),
            ("{serial}.line.example", ".line.example", None),
            ("a{serial}", "ä1", None),
            ("{serial}.x", "é.x", None),
        ] {
            let template = NameTemplate::parse(template).unwrap();
            assert_eq!(serial_in(&template, common_name).as_deref(), serial, "{common_name}");
        }
    }

    /// The id follows from client and request alone, and is a UUID of version 8.
    #[test]
    fn an_issuance_id_follows_from_client_and_request() {
        let id = issuance_id("est/line-1", b"request");
        assert_eq!(id, issuance_id("est/line-1", b"request"));
        assert_ne!(id, issuance_id("est/line-2", b"request"));
        assert_ne!(id, issuance_id("est/line-1", b"requesu"));
        assert_eq!((id.to_string().as_bytes()[14], id.as_bytes()[8] >> 6), (b'8', 0b10));
    }
}
