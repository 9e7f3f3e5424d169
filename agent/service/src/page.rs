//! A page of a list (<https://google.aip.dev/158>): newest first, the token says before which index the next one begins.

use tonic::Status;

use crate::status;

/// AIP-158's habit; a page of more would be slow to make and to read.
const MOST: i32 = 1000;
/// When the caller does not say.
const DEFAULT: usize = 100;

/// Which page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// At most so many, 1 to 1000.
    pub size: usize,
    /// What stands before this index; `None` begins with the newest.
    pub before: Option<u64>,
}

impl Asked {
    /// From `page_size` and `page_token` of a request. A token is taken as it was given out, to the letter.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` that names the field.
    pub fn parse(size: i32, token: &str) -> Result<Self, Status> {
        let size = match size {
            0 => DEFAULT,
            1..=MOST => size as usize,
            _ => {
                let message = format!("{size} is no page size: give 1 to {MOST}, or 0 for {DEFAULT}");
                return Err(status::invalid_argument("page_size", message));
            }
        };
        let before = match token {
            "" => None,
            // `parse` takes signs and zeros before the number as well.
            _ => match token.parse::<u64>().ok().filter(|index| index.to_string() == token) {
                Some(index) => Some(index),
                None => {
                    let message = "this is no token of an earlier answer: start without one";
                    return Err(status::invalid_argument("page_token", message));
                }
            },
        };
        Ok(Self { size, before })
    }
}

/// The token of the page after one that ends with this index; empty after the last page.
#[must_use]
pub fn token(last: Option<u64>) -> String {
    last.map(|index| index.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::*;

    /// What a page gave out is taken back; everything else that looks like a number is refused by its field.
    #[test]
    fn a_page_is_asked_for_to_the_letter() {
        assert_eq!(Asked::parse(0, "").unwrap(), Asked { size: 100, before: None });
        for last in [None, Some(0), Some(7), Some(u64::MAX)] {
            assert_eq!(Asked::parse(1000, &token(last)).unwrap(), Asked { size: 1000, before: last });
        }
        let tokens = [
            "+5",
            "-5",
            "-0",
            "05",
            "00",
            " 5",
            "5 ",
            "5\n",
            "0x5",
            "5.0",
            "5e1",
            "\u{0665}",
            "x",
            "18446744073709551616",
        ];
        let wrong = [(-1, ""), (1001, ""), (i32::MAX, ""), (i32::MIN, "")].into_iter();
        for (size, token) in wrong.chain(tokens.map(|token| (1, token))) {
            let refused = Asked::parse(size, token).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{size} {token:?}");
            let details = refused.get_error_details();
            let field = &details.bad_request().unwrap().field_violations[0].field;
            assert_eq!(field, if token.is_empty() { "page_size" } else { "page_token" }, "{size} {token:?}");
            assert_eq!(details.error_info().unwrap().reason, "INVALID_ARGUMENT");
        }
    }
}
