//! A checkpoint's text (C2SP tlog-checkpoint): the log's origin, its size, its root.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::Hash;

/// What a log says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// How many entries it has.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Reads a note's text. Lines behind the third are extensions of others, and left alone.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        // Behind the last newline stands nothing.
        let rest: Vec<&str> = lines.collect();
        let (end, extensions) = rest.split_last()?;
        if !end.is_empty() || extensions.iter().any(|line| line.is_empty()) || origin.is_empty() {
            return None;
        }
        let number: u64 = size.parse().ok()?;
        // One way to write a number: no sign, no leading zero.
        if number.to_string() != size {
            return None;
        }
        let hash = STANDARD.decode(root).ok()?.try_into().ok()?;
        Some(Self { origin: origin.to_owned(), size: number, root: hash })
    }
}
