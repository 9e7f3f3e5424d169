//! gRPC statuses that a program can act on: the code from the kind of failure, the rest as `google.rpc` error details
//! (<https://google.aip.dev/193>), the message in words that say what to do.

use std::{collections::HashMap, error::Error, fmt::Write, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::causes;

/// Who gives the reasons (`ErrorInfo.domain`).
pub const DOMAIN: &str = "station-agent";

/// A request's field is wrong: `INVALID_ARGUMENT` with one field violation. `field` is its path in the message, such as
/// `device_serial`.
pub fn invalid_argument(field: &str, description: impl Into<String>) -> Status {
    invalid_arguments([(field.to_owned(), description.into())])
}

/// A field of a request, parsed; what its rule says against it is [`invalid_argument`].
pub fn parsed<T, E: Error>(field: &str, text: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<T, Status> {
    parse(text).map_err(|error| invalid_argument(field, crate::in_full(&error)))
}

/// As [`invalid_argument`], for every wrong field at once: `(field, description)`.
pub fn invalid_arguments(violations: impl IntoIterator<Item = (String, String)>) -> Status {
    let mut details = ErrorDetails::new();
    let mut message = String::new();
    for (field, description) in violations {
        if !message.is_empty() {
            message.push_str("; ");
        }
        // Writing to a string does not fail.
        let _ = write!(message, "{field}: {description}");
        details.add_bad_request_violation(field, description);
    }
    details.set_error_info("INVALID_ARGUMENT", DOMAIN, []);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// A refusal for a reason that programs can tell apart: `reason` is UPPER_SNAKE_CASE and does not change between releases.
pub fn refused(code: Code, reason: &str, message: impl Into<String>) -> Status {
    refused_about(code, reason, message, &[])
}

/// As [`refused`], with what it speaks of as `(name, value)`, so that whoever shows it can say it in other words.
pub fn refused_about(code: Code, reason: &str, message: impl Into<String>, about: &[(&str, String)]) -> Status {
    let about: HashMap<String, String> =
        about.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let details = ErrorDetails::with_error_info(reason, DOMAIN, about);
    Status::with_error_details(code, message, details)
}

/// Nothing is wrong with the request, but it has to wait: `UNAVAILABLE`, to be repeated unchanged after `after`.
pub fn retry_later(reason: &str, message: impl Into<String>, after: Duration) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, []);
    details.set_retry_info(Some(after));
    Status::with_error_details(Code::Unavailable, message, details)
}

/// The caller asks more often than it may: `RESOURCE_EXHAUSTED`, to be repeated unchanged after `after`. `subject` is whose quota
/// it is.
pub fn too_often(subject: &str, message: impl Into<String>, after: Duration) -> Status {
    let message = message.into();
    let mut details = ErrorDetails::with_error_info("RATE_EXCEEDED", DOMAIN, []);
    details.set_retry_info(Some(after)).add_quota_failure_violation(subject, message.clone());
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// A status of tonic's own, which has no reason, with one. What says that a message cannot be read is the caller's mistake:
/// `INVALID_ARGUMENT` `MALFORMED_MESSAGE`, with the field where it is known, and one that is too long `RESOURCE_EXHAUSTED`
/// `MESSAGE_TOO_LARGE`, as gRPC has it elsewhere.
pub fn explained(status: &Status) -> Status {
    let text = status.message();
    let (code, reason, message) = match status.code() {
        Code::OutOfRange if text.contains("message length too large") => {
            (Code::ResourceExhausted, "MESSAGE_TOO_LARGE", format!("{text}; send less in one message"))
        }
        Code::Internal if UNREADABLE.iter().any(|known| text.starts_with(known)) => {
            (Code::InvalidArgument, "MALFORMED_MESSAGE", format!("{text}; send it as the proto says"))
        }
        code => (code, upper_snake(code), text.to_owned()),
    };
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, []);
    if let Some((field, problem)) = text.strip_prefix(UNDECODED).and_then(undecoded) {
        details.add_bad_request_violation(field, problem);
    }
    Status::with_error_details_and_metadata(code, message, details, status.metadata().clone())
}

/// Leads what prost says of a message.
const UNDECODED: &str = "failed to decode Protobuf message: ";
/// What tonic says of a message that it cannot read.
const UNREADABLE: [&str; 4] =
    [UNDECODED, "Missing request message", "Unexpected EOF", "protocol error: received message"];

/// The field's path and the problem of `Outer.field: Inner.field: problem`.
fn undecoded(text: &str) -> Option<(String, &str)> {
    let (mut path, mut rest) = (Vec::new(), text);
    while let Some((place, after)) = rest.split_once(": ")
        && let Some((_, field)) = place.split_once('.').filter(|_| !place.contains(' '))
    {
        path.push(field);
        rest = after;
    }
    (!path.is_empty()).then(|| (path.join("."), rest))
}

/// `google.rpc.Code` as the proto names it.
fn upper_snake(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The reason that a status carries, if it is one of ours.
pub fn reason(status: &Status) -> Option<String> {
    let info = status.get_details_error_info()?;
    (info.domain == DOMAIN).then_some(info.reason)
}

/// What the reason speaks of, by name (`ErrorInfo.metadata`): such as `lot` and `LOT-1`.
pub fn parameters(status: &Status) -> Vec<(String, String)> {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
    info.map(|info| info.metadata.into_iter().collect()).unwrap_or_default()
}

/// The request's fields that are wrong, in the order in which they were found.
pub fn fields(status: &Status) -> Vec<String> {
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}

/// How long a status asks to wait before the next attempt, if it says.
pub fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// Whether a status tells of a connection that failed or was lost, rather than being what the server answered. Its code
/// does not say: a connection that closes under a call makes it `CANCELLED`. Whether the server got the request is open.
pub fn is_lost_connection(status: &Status) -> bool {
    // Only a status that was made at this end has a source.
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::transport::Error>() || error.is::<std::io::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether a status tells of a connection that never came up, so that the server certainly did not get the request: it was
/// refused, its name is unknown, TLS failed. A call waits for its connection, and is not sent again on another one.
pub fn never_connected(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether the server may have done what it was asked, although it answered with this status. Not when it was never
/// connected to, nor when the server itself says that it did nothing: the caller may not, there is no such call, or come
/// back later ([`retry_later`]).
pub fn may_have_been_done(status: &Status) -> bool {
    if status.source().is_some() {
        return !never_connected(status);
    }
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented => false,
        Code::Unavailable | Code::ResourceExhausted => retry_after(status).is_none(),
        _ => true,
    }
}

/// A status in one line with the causes that tonic leaves to `source`, for logs and pages: a failed connection says
/// only "transport error" of itself.
pub fn in_full(status: &Status) -> String {
    let mut text = status.message().to_owned();
    causes::append(&mut text, status.source());
    if text.is_empty() { status.code().description().to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status as a client reads it from the trailers.
    fn received(status: &Status) -> Status {
        let mut trailers = tonic::codegen::http::HeaderMap::new();
        status.add_header(&mut trailers).unwrap();
        Status::from_header_map(&trailers).unwrap()
    }

    /// A wrong field arrives as a field violation, and in the message.
    #[test]
    fn wrong_fields_reach_the_client() {
        let violations = [("serial", "is empty"), ("lot", "is unknown")].map(|(f, d)| (f.to_owned(), d.to_owned()));
        let status = received(&invalid_arguments(violations));
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "serial: is empty; lot: is unknown"));
        let fields: Vec<_> = status
            .get_details_bad_request()
            .unwrap()
            .field_violations
            .into_iter()
            .map(|v| (v.field, v.description))
            .collect();
        assert_eq!(fields, [("serial", "is empty"), ("lot", "is unknown")].map(|(f, d)| (f.to_owned(), d.to_owned())));
        assert_eq!(super::fields(&status), ["serial", "lot"]);
        assert_eq!(received(&invalid_argument("serial", "is empty")).message(), "serial: is empty");
    }

    /// Reason and delay arrive as they were given; a foreign status has neither.
    #[test]
    fn reasons_and_delays_reach_the_client() {
        let status = received(&retry_later("QUEUE_FULL", "the queue is full", Duration::from_millis(1500)));
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(reason(&status).as_deref(), Some("QUEUE_FULL"));
        assert_eq!(retry_after(&status), Some(Duration::from_millis(1500)));
        let status = received(&refused(Code::FailedPrecondition, "LOT_USED_UP", "the lot is used up"));
        assert_eq!((status.code(), reason(&status).as_deref()), (Code::FailedPrecondition, Some("LOT_USED_UP")));
        let about = [("lot", "LOT-1".to_owned())];
        let status = received(&refused_about(Code::FailedPrecondition, "LOT_CLOSED", "the lot is closed", &about));
        assert_eq!(parameters(&status), [("lot".to_owned(), "LOT-1".to_owned())]);
        let foreign = Status::unavailable("busy");
        assert_eq!((reason(&foreign), retry_after(&foreign), parameters(&foreign)), (None, None, Vec::new()));
    }

    /// A caller that asks too often learns whose quota it is, and when to come again.
    #[test]
    fn quotas_reach_the_client() {
        let status = received(&too_often("client:mes-1", "too often", Duration::from_millis(2)));
        assert_eq!((status.code(), reason(&status).as_deref()), (Code::ResourceExhausted, Some("RATE_EXCEEDED")));
        assert_eq!(retry_after(&status), Some(Duration::from_millis(2)));
        let violations = status.get_details_quota_failure().unwrap().violations;
        assert_eq!((violations.len(), violations[0].subject.as_str()), (1, "client:mes-1"));
        assert!(!may_have_been_done(&status));
    }

    /// A message that cannot be read names its field; one that is too long, and what tonic says besides, has a reason.
    #[test]
    fn what_tonic_says_is_explained() {
        let told = |status: Status| {
            let told = received(&explained(&status));
            (told.code(), reason(&told).unwrap(), super::fields(&told))
        };
        let utf8 = "failed to decode Protobuf message: BatchStartIssuancesRequest.requests: StartIssuanceRequest.lot: invalid \
                    string value: data is not UTF-8 encoded";
        let malformed = |field: &[&str]| {
            let fields = field.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>();
            (Code::InvalidArgument, "MALFORMED_MESSAGE".to_owned(), fields)
        };
        assert_eq!(told(Status::internal(utf8)), malformed(&["requests.lot"]));
        assert_eq!(told(Status::internal("failed to decode Protobuf message: buffer underflow")), malformed(&[]));
        assert_eq!(told(Status::internal("Missing request message.")), malformed(&[]));
        let long = "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304 bytes";
        assert_eq!(told(Status::out_of_range(long)), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".into(), vec![]));
        assert_eq!(told(Status::internal("on our side")), (Code::Internal, "INTERNAL".into(), vec![]));
        assert_eq!(told(Status::unimplemented("gzip")), (Code::Unimplemented, "UNIMPLEMENTED".into(), vec![]));
    }

    /// The causes below a status are told once each.
    #[test]
    fn causes_are_told() {
        let cause = std::io::Error::other("connection refused");
        let mut status = Status::from_error(Box::new(cause));
        assert_eq!(in_full(&status), "connection refused");
        status = Status::unknown("");
        assert_eq!(in_full(&status), Code::Unknown.description());
    }
}
