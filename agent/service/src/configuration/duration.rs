//! Durations as people write them: a whole number and a unit.

use std::time::Duration;

/// Names and lengths in milliseconds.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Parses `"250ms"`, `"30s"`, `"10min"`, `"2h"`, `"365d"`.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err("must be a whole number and a unit, such as \"30s\" (ms, s, min, h or d)".to_owned());
    }
    let Some((_, milliseconds)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(match unit {
            "" => format!("has no unit; write \"{number}s\" for seconds (or ms, min, h, d)"),
            "m" => format!("has the unit `m`; write \"{number}min\" for minutes"),
            _ => format!("has an unknown unit {unit:?}; use ms, s, min, h or d without spaces"),
        });
    };
    let length = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*milliseconds));
    match length {
        Some(0) => Err("must be longer than zero".to_owned()),
        Some(length) => Ok(Duration::from_millis(length)),
        None => Err("is too long; use a shorter duration".to_owned()),
    }
}
