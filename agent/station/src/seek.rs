//! Finds the fixture when the operator names none: the one that holds this device, or the only one that holds a new one.

use std::time::Duration;

use issuance::{DeviceSerial, Fault, FaultKind, FixtureName, Issuance, State};

use crate::{
    fixtures::{Fixture, Fixtures},
    ledger::{Ledger, LedgerRefused},
};

/// Long enough for a TPM that initialises, short enough that the operator still stands there.
const LOOK_TIME: Duration = Duration::from_secs(10);

/// What a fixture's device is to the one that was scanned.
enum Seen<'a> {
    /// It is the one.
    Same(&'a Fixture),
    /// The journal does not know it.
    New(&'a Fixture),
    /// It is another one, or none is there.
    Other,
    /// It could not be asked.
    Unclear(&'a Fixture, Fault),
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// The device, or the only new one; with the issuance that the same request started, if any.
    Device(Option<&'a Issuance>),
    /// Hardware that the journal does not know: the device's new board.
    NewHardware,
}

/// The fixture for a device.
pub async fn fixture<'a>(
    fixtures: &'a Fixtures,
    ledger: &Ledger,
    serial: &DeviceSerial,
    wanted: Wanted<'_>,
) -> Result<&'a Fixture, LedgerRefused> {
    if let [only] = fixtures.all() {
        return Ok(only);
    }
    if let Wanted::Device(Some(before)) = wanted
        && (fixtures.at_work().contains(&before.id)
            || matches!(before.state, State::Completed(..) | State::Quarantined(..) | State::Cancelled(..)))
        && let Some(fixture) = fixtures.get(&before.fixture)
    {
        return Ok(fixture);
    }
    // All of them look at the same time; the bound is for all together.
    let until = tokio::time::Instant::now() + LOOK_TIME;
    // Another scan's look takes a moment: its fixtures are looked at after it.
    let _ = tokio::time::timeout_at(until, fixtures.looked()).await;
    let looks: Vec<_> =
        fixtures.all().iter().filter_map(|fixture| Some((fixture, fixtures.reserve(fixture)?.look()))).collect();
    let mut new = Vec::new();
    let mut unclear = Vec::new();
    for (fixture, answer) in looks {
        let seen = match tokio::time::timeout_at(until, answer).await {
            Ok(Ok(Ok(identity))) => match ledger.known_device(serial, &identity)?.0 {
                Some(known) if known == *serial && matches!(wanted, Wanted::Device(_)) => Seen::Same(fixture),
                Some(_) => Seen::Other,
                None => Seen::New(fixture),
            },
            Ok(Ok(Err(fault))) if fault.kind == FaultKind::DeviceAbsent => Seen::Other,
            Ok(Ok(Err(fault))) => Seen::Unclear(fixture, fault),
            Ok(Err(_)) | Err(_) => {
                Seen::Unclear(fixture, Fault::new(FaultKind::DeadlineExceeded, "the device did not answer in time"))
            }
        };
        match seen {
            Seen::Same(fixture) => return Ok(fixture),
            Seen::New(fixture) => new.push(fixture),
            Seen::Other => {}
            Seen::Unclear(fixture, fault) => unclear.push(format!("{}: {fault}", fixture.name)),
        }
    }
    let refused = |reason, message| Err(LedgerRefused::precondition(reason, message));
    match (new.as_slice(), unclear.as_slice()) {
        ([only], _) => Ok(only),
        ([], []) => refused(
            "NO_DEVICE",
            "no free fixture holds a new device: put the device in a fixture and scan it again".to_owned(),
        ),
        ([], unclear) => refused(
            "NO_DEVICE",
            format!("no free fixture holds a new device that answers ({}): seat the device again", unclear.join("; ")),
        ),
        (several, _) => {
            let names: Vec<&str> = several.iter().map(|fixture| FixtureName::as_str(&fixture.name)).collect();
            let names = names.join(", ");
            let message = format!("{names} hold new devices: say which one by its barcode or by a tap");
            Err(LedgerRefused::precondition("FIXTURE_AMBIGUOUS", message).about("fixtures", names))
        }
    }
}
