//! The little DER that is written here (X.690 §8.1, §10.1).

/// One element: tag, definite length in the fewest octets, content.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let octets: Vec<u8> = content.len().to_be_bytes().into_iter().skip_while(|octet| *octet == 0).collect();
    let length = match octets.as_slice() {
        [] => vec![0],
        [short] if *short < 0x80 => vec![*short],
        // A usize has at most 8 octets.
        _ => [vec![0x80 | octets.len() as u8], octets].concat(),
    };
    [&[tag], length.as_slice(), content].concat()
}
