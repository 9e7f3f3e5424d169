//! A journal damaged in its middle: station and CA refuse it and say what to type; typed, it mends the journal.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use line::Line;
use serde_json::Value;

use crate::{
    asking::{complete, line_of, open_lot, scan, start},
    looking::{Ran, run},
};

/// Where the first frame of a segment begins.
const FIRST_FRAME: usize = 4096;

fn binary(name: &str) -> PathBuf {
    std::env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().join(name)
}

fn serve(line: &Line, program: &str, configuration: &str) -> Ran {
    let mut command = Command::new(binary(program));
    run({
        command.args(["serve", "--config"]).arg(line.directory().join(configuration));
        command
    })
}

fn repair(line: &Line, program: &str, configuration: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new(binary(program));
    command.args(["journal", "repair"]).args(arguments).arg("--config").arg(line.directory().join(configuration));
    run(command)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// Flips a bit in the first record, and says where.
fn damage(journal: &Path) -> PathBuf {
    let segment = journal.join("00000000000000000000.seg");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[FIRST_FRAME + 20] ^= 1;
    fs::write(&segment, bytes).unwrap();
    segment
}

/// Stopped, copied and damaged; its start is refused with file, offset and command; the command as it was printed mends
/// it, and again finds nothing to mend. Returns with the journal mended.
fn mended_as_told(line: &Line, program: &str, configuration: &str, journal: &str) {
    let journal = line.directory().join(journal);
    let kept = line.directory().join(format!("a copy's place of {program}"));
    copy(&journal, &kept);
    let segment = damage(&journal);
    let damaged = fs::read(&segment).unwrap();

    let refused = serve(line, program, configuration);
    let words = refused.text() + &refused.err;
    assert_eq!(refused.status.code(), Some(1), "{words}");
    assert!(words.contains(&*segment.to_string_lossy()) && words.contains("byte 4096"), "{words}");
    let typed = words.split('`').find(|words| words.contains("journal repair")).expect("a command").to_owned();
    assert_eq!(fs::read(&segment).unwrap(), damaged, "a refused start changed the journal");

    let nowhere = repair(line, program, configuration, &["--from", "/nowhere"]);
    assert_eq!((nowhere.status.code(), nowhere.err.contains("/nowhere")), (Some(1), true), "{}", nowhere.err);
    let itself = repair(line, program, configuration, &["--from", &journal.to_string_lossy()]);
    assert_eq!((itself.status.code(), itself.err.contains("take another copy")), (Some(1), true), "{}", itself.err);
    let unnamed = repair(line, program, configuration, &[]);
    assert_eq!((unnamed.status.code(), unnamed.err.contains("--from")), (Some(2), true), "{}", unnamed.err);

    let mut shell = Command::new("sh");
    shell.arg("-c").arg(typed.replace("COPY", "\"$0\"")).arg(&kept).current_dir("/");
    let mended = run(shell);
    assert_eq!(mended.status.code(), Some(0), "{typed}: {}{}", mended.text(), mended.err);
    assert!(mended.text().contains("bytes 4096 to "), "{}", mended.text());
    let beside = segment.with_extension("seg.damaged");
    assert_eq!(fs::read(&beside).unwrap(), damaged, "what was damaged is kept");

    let again = repair(line, program, configuration, &["--json", "--from", &kept.to_string_lossy()]);
    assert_eq!(again.status.code(), Some(0), "{}", again.err);
    let told: Value = serde_json::from_slice(&again.out).unwrap();
    assert_eq!(told["mended"], Value::Array(vec![]), "{told}");
    assert!(told["records"].as_u64().unwrap() > 1, "{told}");
}

/// Both journals damaged after an issuance, mended with what their refusals say; then both are served again and the next
/// device completes. While they run, neither journal is touched.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_refusal_says_to_type_mends_the_journal() {
    let mut line = start(line_of(0, 1)).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    let first = complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    for (program, configuration) in [("station-agent", "station.toml"), ("intermediate-ca", "ca.toml")] {
        let running = repair(&line, program, configuration, &["--from", "/nowhere"]);
        assert_eq!(running.status.code(), Some(1), "{}", running.text());
        assert!(running.err.contains("already in use by process"), "{}", running.err);
    }
    line.stop_station().unwrap();
    line.stop_ca().unwrap();
    mended_as_told(&line, "station-agent", "station.toml", "journal/station");
    mended_as_told(&line, "intermediate-ca", "ca.toml", "journal/ca");
    line.start_ca().await.unwrap();
    line.start_station().await.unwrap();
    let again = complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    assert_eq!((again.name, again.certificate_serial), (first.name, first.certificate_serial));
}
