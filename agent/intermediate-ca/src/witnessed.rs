//! The CA behind its witness: another CA that it sends its checkpoints to, or a file with what the brand owner's witness last
//! saw of its journal. A journal that does not go on from there signs nothing: a backup that was put back cannot count again,
//! and one whose history was changed is told.

use std::{fs, path::Path, thread, time::Duration};

use journal::{Checkpoint, Note, TransparencyLog, check_consistency};
use service::{command::Client, tls};
use tracing::{info, warn};

use crate::witnessing::{Told, Witnessing};

/// Until TCP and TLS are done; on a factory's own network they take milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A start waits no longer for a witness that is away; while it serves, the CA asks on.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The witness that a CA asks. Must be called within a tokio runtime.
///
/// # Errors
/// Its certificate, key or trust; in words.
pub(crate) fn connect(log: &TransparencyLog, client: &Client) -> Result<Witnessing, String> {
    let channel = tls::channel(&client.endpoint, &client.tls, CONNECT_TIMEOUT);
    let channel = channel.map_err(|error| format!("[witness]: {}", service::in_full(&error)))?;
    Ok(Witnessing::new(log.clone(), channel, ANSWER_TIMEOUT))
}

/// Asks the witness whether this journal is what it saw; one that does not answer keeps nobody from the start. Blocks.
///
/// # Errors
/// It contradicts the journal, or cannot be asked at all; in words, with what to do.
pub(crate) fn ask(log: &TransparencyLog, client: &Client) -> Result<(), String> {
    // All of the journal is to be under the checkpoint that is sent.
    log.checkpoint().map_err(|wrong| format!("no checkpoint could be made for the witness: {wrong}"))?;
    let asked = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime.block_on(async { Ok::<_, String>(connect(log, client)?.send(0).await) })
    };
    // On a thread of its own: whoever opens the CA may be in a runtime.
    let told = thread::scope(|scope| scope.spawn(asked).join()).map_err(|_| "the witness could not be asked")??;
    match told {
        Ok(Told::Cosigned(size)) => info!(size, witness = client.endpoint, "the witness knows this journal"),
        Ok(Told::Contradicted(message)) => return Err(contradicted(&client.endpoint, &message)),
        Err(wrong) => {
            warn!(wrong, witness = client.endpoint, "the witness was not reached; it is asked while the CA serves")
        }
    }
    Ok(())
}

/// What an administrator reads.
pub(crate) fn contradicted(witness: &str, message: &str) -> String {
    format!(
        "the witness {witness} contradicts this CA's journal: {message}. Nothing is signed: what the CA issued since would be \
         issued again. Put the newest copy of the journal back, or keep it as it is and find out who changed it"
    )
}

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
