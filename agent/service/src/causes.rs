//! An error with what caused it, in one line.

use std::error::Error;

/// An error's message, followed by each cause's that it does not say already.
#[must_use]
pub fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    append(&mut text, error.source());
    text
}

/// The causes from `cause` on, after what is said so far.
pub(crate) fn append(text: &mut String, mut cause: Option<&(dyn Error + 'static)>) {
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&words);
        }
        cause = error.source();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Said(&'static str, #[source] Option<Box<Said>>);

    /// Each cause is said once, in order; one that its error quotes already is not said again.
    #[test]
    fn each_cause_is_said_once() {
        let quoted = Said("no route", None);
        let second = Said("cannot connect: no route", Some(Box::new(quoted)));
        assert_eq!(
            in_full(&Said("the CA is away", Some(Box::new(second)))),
            "the CA is away: cannot connect: no route"
        );
        assert_eq!(in_full(&Said("alone", None)), "alone");
    }
}
