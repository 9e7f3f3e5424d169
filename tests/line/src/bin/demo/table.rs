//! The table at the end.

use crate::Row;

const HEADINGS: [&str; 7] = ["fixture", "device serial", "key", "CN", "certificate serial", "verified", "seconds"];

/// A line for each device, with what was wrong under it.
pub(crate) fn table(rows: &[(Row, Result<(), String>)]) -> String {
    let cells: Vec<[String; 7]> = rows.iter().map(|(row, findings)| cells(row, findings)).collect();
    let mut widths = HEADINGS.map(|heading| heading.chars().count());
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String]| -> String {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(&HEADINGS.map(str::to_owned));
    text += &line(&widths.map(|width| "─".repeat(width)));
    for (cells, (_, findings)) in cells.iter().zip(rows) {
        text += &line(cells);
        if let Err(wrong) = findings {
            text += &format!("    {wrong}\n");
        }
    }
    text
}

fn cells(row: &Row, findings: &Result<(), String>) -> [String; 7] {
    let issuance = &row.issuance;
    let or_dash = |text: &str| if text.is_empty() { "—".to_owned() } else { text.to_owned() };
    [
        row.fixture.clone(),
        row.device_serial.clone(),
        or_dash(&issuance.key),
        or_dash(&issuance.common_name),
        or_dash(&issuance.certificate_serial),
        if findings.is_ok() { "yes" } else { "NO" }.to_owned(),
        format!("{:.2}", row.took.as_secs_f64()),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proto::station::v1::Issuance;

    use super::*;

    /// A device that failed says NO and why; columns stand under their headings.
    #[test]
    fn tells_what_was_wrong() {
        let row = |key: &str| Row {
            fixture: "fixture-1".into(),
            device_serial: "DEMO-0001".into(),
            issuance: Issuance { key: key.into(), ..Default::default() },
            took: Duration::from_millis(1234),
        };
        let text = table(&[(row("0x81000010"), Ok(())), (row(""), Err("no device".into()))]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].find("key"), lines[2].find("0x81000010"));
        assert!(lines[2].contains("yes") && lines[2].ends_with("1.23"), "{text}");
        assert!(lines[3].contains("NO") && lines[4].trim() == "no device", "{text}");
    }
}
