//! The CA behind its witness. What the brand owner's witness last saw of this CA's journal comes back as a file, and a
//! journal that does not go on from there signs nothing: a backup that was put back cannot count again, and one whose
//! history was changed is told.

use std::{fs, path::Path};

use journal::{Checkpoint, Note, TransparencyLog, check_consistency};

/// Holds the journal against a checkpoint of it that was seen. Blocks.
///
/// # Errors
/// What is wrong, in words, and what to do.
pub(crate) fn check(log: &TransparencyLog, origin: &str, path: &Path) -> Result<(), String> {
    let file = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| format!("the witness's word {file} cannot be read ({error}): bring the newest one"))?;
    let read = Note::parse(&text).and_then(|note| Some((Checkpoint::parse(note.text())?, note)));
    let Some((seen, note)) = read else {
        return Err(format!("{file} is no signed checkpoint: bring what the witness keeps of this CA"));
    };
    if seen.origin != origin || !note.is_signed_by(log.key()) {
        return Err(format!("{file} is a checkpoint of another journal: bring what the witness keeps of this CA"));
    }
    let newest =
        log.checkpoint().map_err(|wrong| format!("no checkpoint could be made to hold against {file}: {wrong}"))?;
    if newest.size < seen.size {
        return Err(format!(
            "this journal has {} records, and its witness saw {} ({file}): an older copy of it was put back; bring the newest \
             one back, for what it issued since would be issued again",
            newest.size, seen.size
        ));
    }
    let proof = log.consistency(seen.size, &newest).map_err(|error| service::in_full(&error))?;
    if check_consistency(seen.size, &seen.root, newest.size, &newest.root, &proof) {
        return Ok(());
    }
    Err(format!(
        "this journal does not go on from the {} records that its witness saw ({file}): its history was changed; keep it as it \
         is, and bring the right one back",
        seen.size
    ))
}
