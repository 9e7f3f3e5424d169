//! An input as several parts: choices of one octet, runs with their length before them, and a rest.

/// What is left of an input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    pub(crate) fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// One octet; zero behind the end.
    pub(crate) fn octet(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// Two octets as a number.
    pub(crate) fn number(&mut self) -> usize {
        usize::from(self.octet()) << 8 | usize::from(self.octet())
    }

    /// As many octets as the next two say, or what there is.
    pub(crate) fn sized(&mut self) -> &'a [u8] {
        let length = self.number();
        self.take(length)
    }

    /// The same as text; what is no UTF-8 is replaced, as no caller can send it.
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.sized()).into_owned()
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// One part as [`Parts::sized`] reads it.
pub(crate) fn sized(part: impl AsRef<[u8]>) -> Vec<u8> {
    let part = part.as_ref();
    let length = u16::try_from(part.len()).expect("a seed's part fits");
    [&length.to_be_bytes()[..], part].concat()
}
