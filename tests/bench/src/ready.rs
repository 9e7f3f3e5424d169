//! How soon a station answers after it was killed, with a past of completed issuances, and with ten times that past.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use crate::{
    Failed, because,
    figure::{Goal, Report, median},
    past::{self, Stand},
    station::Place,
};

/// Seconds (DESIGN §11).
pub(crate) const SOON: f64 = 2.0;
/// Ten times the past may cost so much: a last segment that is fuller, and noise.
const SAME: f64 = 1.5;

/// How often a command is measured; the middle one counts.
const COMMANDS: usize = 5;
/// Milliseconds in which a person gets one device's records out of all.
const FOUND: f64 = 500.0;

/// Measures it.
pub(crate) async fn measure(binaries: &Path, completed: usize, report: &mut Report) -> Result<(), Failed> {
    let mut place = Place::new(binaries).await?;
    past::write(&place.configuration(), "young", completed / 10, Stand::Completed { longer: 0 })?;
    place.start().await?;
    let young = place.restarts().await?;
    place.stop()?;
    past::write(&place.configuration(), "old", completed - completed / 10, Stand::Completed { longer: 0 })?;
    place.start().await?;
    let old = place.restarts().await?;
    report.figure("ready-status-completed", old.status, SOON, "s", Goal::AtMost(1.0));
    report.figure("ready-start-completed", old.start, SOON, "s", Goal::AtMost(1.0));
    report.figure("ready-status-by-age", old.status, young.status, "s", Goal::AtMost(SAME));
    report.figure("ready-start-by-age", old.start, young.start, "s", Goal::AtMost(SAME));
    place.stop()?;
    told(binaries, &place, &format!("old-{}", completed / 2), report)?;
    place.line.stop().map_err(because("stop the line"))
}

/// How soon the commands find one device's records, from the command's start to its end.
fn told(binaries: &Path, place: &Place, serial: &str, report: &mut Report) -> Result<(), Failed> {
    let failed = because("run station-agent");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(binaries.join("station-agent"));
        command.arg("journal").args(arguments).arg("--config").arg(place.configuration()).stdin(Stdio::null());
        let (began, output) = (Instant::now(), command.output());
        let milliseconds = began.elapsed().as_secs_f64() * 1e3;
        output.map(|output| (milliseconds, output)).map_err(&failed)
    };
    let (_, shown) = run(&["show", serial])?;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let mut words = text.split(' ').skip_while(|word| *word != "issued").skip_while(|word| *word != "serial");
    let certificate = words.nth(1).map(|word| word.trim_end().trim_end_matches('.').to_owned()).unwrap_or_default();
    let out = place.line.directory().join("proof.json").to_string_lossy().into_owned();
    let prove = ["prove", &certificate, "--out", &out];
    for (name, arguments) in [("journal-show", &["show", serial][..]), ("journal-prove", &prove)] {
        let mut times = Vec::new();
        for _ in 0..COMMANDS {
            let (milliseconds, output) = run(arguments)?;
            report.promise(output.status.success(), || {
                format!("{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr))
            });
            times.push(milliseconds);
        }
        report.figure(name, median(times), FOUND, "ms", Goal::AtMost(1.0));
    }
    Ok(())
}
