//! A request on its way to a CA: what is recorded of each send, and when nobody knows whether a certificate was made.
//!
//! With a CA that answers the same request with the same certificate a lost answer is asked for again, and only the
//! submission is recorded. With one that makes a second certificate each send is an intent of its own, on the disk before
//! the request leaves: `SendStarted`, then `Issued`, `Refused`, `NotTaken` or, when the answer is lost, `InDoubt`.

use crate::{
    Input, Issuance, Record, State,
    record::{Stop, shortened_words},
    state::SignedRequest,
};

/// How often a request in doubt is sent again by itself. A CA that loses every answer would make certificates without end:
/// after so many a supervisor is asked.
pub const RESUBMISSIONS_MOST: u32 = 3;

/// What a CA does with the same request, sent twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Repeats {
    /// It answers with the same certificate.
    #[default]
    Same,
    /// It makes a new one.
    New,
}

/// What follows when a CA may have made a certificate and its answer is lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenInDoubt {
    /// A supervisor decides.
    #[default]
    Ask,
    /// The request is sent again, at most [`RESUBMISSIONS_MOST`] times.
    Resubmit,
}

/// What a CA promises, and what to do where it promises nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// What it does with the same request, sent twice.
    pub repeats: Repeats,
    /// What follows from a lost answer.
    pub in_doubt: WhenInDoubt,
}

/// A request that was handed to the queue for one CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// What is sent.
    pub request: SignedRequest,
    /// The CA's name in the station's configuration.
    pub authority: String,
    /// Whether each send is recorded, so that one without a record did not happen.
    pub sends_recorded: bool,
    /// Whether a send was begun whose outcome is not recorded.
    pub under_way: bool,
    /// How often it was in doubt.
    pub doubts: u32,
}

impl Submission {
    /// Why nobody knows whether a CA has taken it, when it is about to be sent to `authority`; `None`: it may be sent.
    #[must_use]
    pub fn doubt(&self, authority: &str, terms: Terms) -> Option<String> {
        if self.under_way {
            return Some(format!("the station ended while the CA {} was asked", self.authority));
        }
        if self.authority != authority {
            let was = &self.authority;
            return Some(format!(
                "it was submitted to the CA {was}, and the station is now configured for {authority}"
            ));
        }
        if terms.repeats == Repeats::New && !self.sends_recorded {
            return Some(format!("it was submitted when sends to the CA {authority} were not recorded"));
        }
        None
    }

    /// What an issuance in doubt stops with.
    pub(crate) fn stop(&self, message: &str) -> Stop {
        let authority = &self.authority;
        Stop {
            reason: "IN_DOUBT".to_owned(),
            message: format!(
                "the CA {authority} may have made a certificate that did not arrive: {message}. A supervisor looks at \
                 the CA, then releases it to be submitted again, which may make a second certificate, or cancels it"
            ),
            next_action: "Set the device aside for a supervisor: nobody knows whether the CA made its certificate."
                .to_owned(),
        }
    }
}

impl Issuance {
    /// The records of a send, or of what became of it; none when the state knows it already. For
    /// [`Input::Sending`], [`Input::NotTaken`] and [`Input::AnswerLost`]: these do not depend on the profile.
    #[must_use]
    pub fn send(&self, input: &Input, authority: &str, terms: Terms) -> Vec<Record> {
        let State::Submitted(submission) = self.state.underlying() else { return vec![] };
        let ended = matches!(self.state, State::Cancelled(..));
        match input {
            Input::Sending if terms.repeats == Repeats::New && !ended && !submission.under_way => {
                vec![Record::SendStarted { authority: authority.to_owned() }]
            }
            Input::NotTaken { message } if submission.under_way => {
                vec![Record::NotTaken { message: shortened_words(message) }]
            }
            Input::AnswerLost { message } => {
                let mut records = vec![Record::InDoubt { message: shortened_words(message) }];
                let again = terms.in_doubt == WhenInDoubt::Resubmit && submission.doubts < RESUBMISSIONS_MOST;
                if again && !ended {
                    records.push(resubmitted(authority, terms, String::new(), String::new()));
                }
                records
            }
            _ => vec![],
        }
    }
}

/// It goes to the queue again: by a supervisor's word, or by itself when both names are empty.
pub(crate) fn resubmitted(authority: &str, terms: Terms, claimed_by: String, authenticated_by: String) -> Record {
    Record::Resubmitted {
        authority: authority.to_owned(),
        sends_recorded: terms.repeats == Repeats::New,
        claimed_by,
        authenticated_by,
    }
}

#[cfg(test)]
mod tests;
