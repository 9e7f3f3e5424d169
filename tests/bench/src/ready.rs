//! How soon a station answers after it was killed, with a past of completed issuances, and with ten times that past.

use std::path::Path;

use crate::{
    Failed, because,
    figure::{Goal, Report},
    past::{self, Stand},
    station::Place,
};

/// Seconds (DESIGN §11).
pub(crate) const SOON: f64 = 2.0;
/// Ten times the past may cost so much: a last segment that is fuller, and noise.
const SAME: f64 = 1.5;

/// Measures it.
pub(crate) async fn measure(binaries: &Path, completed: usize, report: &mut Report) -> Result<(), Failed> {
    let mut place = Place::new(binaries).await?;
    past::write(&place.configuration(), "young", completed / 10, Stand::Completed)?;
    place.start().await?;
    let young = place.restarts().await?;
    place.stop()?;
    past::write(&place.configuration(), "old", completed - completed / 10, Stand::Completed)?;
    place.start().await?;
    let old = place.restarts().await?;
    report.figure("ready-status-completed", old.status, SOON, "s", Goal::AtMost(1.0));
    report.figure("ready-start-completed", old.start, SOON, "s", Goal::AtMost(1.0));
    report.figure("ready-status-by-age", old.status, young.status, "s", Goal::AtMost(SAME));
    report.figure("ready-start-by-age", old.start, young.start, "s", Goal::AtMost(SAME));
    place.line.stop().map_err(because("stop the line"))
}
