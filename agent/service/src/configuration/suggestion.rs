//! Which known key a mistyped one was probably meant to be.

/// The nearest of `names` within a third of the key's length (at least one edit, at most three): further away, a
/// suggestion misleads.
pub(super) fn nearest<'a>(key: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bound = (key.chars().count() / 3).clamp(1, 3);
    names
        .map(|name| (distance(&fold(key), &fold(name)), name))
        .filter(|(distance, _)| *distance <= bound)
        .min()
        .map(|(_, name)| name)
}

/// `pin-file`, `PinFile` and `pin_file` are the same to a person.
fn fold(name: &str) -> Vec<char> {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let substituted = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = substituted.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small slips find the key, far ones find none.
    #[test]
    fn near_names_are_suggested() {
        let names = || ["address", "certificate", "pin_file", "key"].into_iter();
        for (key, expected) in [
            ("adress", Some("address")),
            ("adderss", Some("address")),
            ("PinFile", Some("pin_file")),
            ("certifcate", Some("certificate")),
            ("kye", Some("key")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(key, names()), expected, "{key}");
        }
    }
}
