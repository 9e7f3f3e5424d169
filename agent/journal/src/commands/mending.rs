//! `repair`: the one command that changes a journal.

use std::path::Path;

use serde_json::json;

use super::{Failed, Places, say};
use crate::{Journal, JournalError, JournalOptions, LogError, Recovery, repair};

pub(super) fn run(places: &Places, copy: &Path, json: bool) -> Result<(), Failed> {
    let mended = places.log.covered().and_then(|at_least| {
        let options = JournalOptions { at_least, ..places.journal.clone() };
        let mended = repair(&options, copy)?;
        // Opened once: what is mended is what its owner will read.
        let (journal, recovery) = Journal::open(&options)?;
        journal.close()?;
        Ok((mended, recovery))
    });
    match mended {
        Ok((mended, recovery)) => {
            // A closed pipe does not change what was mended.
            let _ = tell(&mended, &recovery, json);
            Ok(())
        }
        Err(error) => {
            let told = match &error {
                LogError::Journal(JournalError::AlreadyInUse { .. }) => "nothing was mended",
                _ => "the journal is not mended",
            };
            Err(Failed::Not(Some(format!("{told}: {}", crate::in_words(&error)))))
        }
    }
}

fn tell(mended: &[String], Recovery { records, torn }: &Recovery, json: bool) -> Result<(), Failed> {
    if json {
        return say(json!({ "mended": mended, "records": records, "torn": torn }));
    }
    for line in mended {
        say(format!("mended {line}"))?;
    }
    if mended.is_empty() {
        say("nothing is damaged")?;
    }
    if let Some(torn) = torn {
        say(torn)?;
    }
    say(format!("the journal opens with {records} records"))
}
