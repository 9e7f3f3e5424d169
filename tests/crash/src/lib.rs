//! The crash harness: real journals on real files, and real processes, attacked from outside.
//!
//! - [`power_cut`]: an ext4 image on a loop device; a writer is stopped at a random moment, what the device has by then is
//!   copied, mounted and judged.
//! - [`syscalls`]: the writer is killed, or told of a failure, at every system call that it makes while it opens, appends
//!   and rolls.
//! - [`damage`]: every byte of a small journal is changed or cut off.
//! - [`tampering`]: a journal with its checkpoints is changed in every way that somebody could, and the audit must name it.
//! - [`rows`]: the projections' files are deleted, cut, overwritten.
//! - [`kills`]: the real station and the real CA, killed at every crash point and at random moments.
//!
//! What a record holds follows from a seed, the run that wrote it and its index ([`records`]), so that any record can be
//! checked without a second copy. A run says what was acknowledged in a file of its own ([`claims`]), outside of what is
//! attacked. [`verify`] holds what is found against that. Random choices follow from a seed that is printed.

pub mod chance;
pub mod claims;
pub mod damage;
pub mod image;
pub mod kills;
pub mod power_cut;
pub mod process;
pub mod records;
pub mod rows;
pub mod strace;
pub mod syscalls;
pub mod tampering;
pub mod verify;
pub mod writer;

/// What broke, in words.
pub type Broken = String;

/// Puts words before what went wrong.
pub fn said<E: std::fmt::Display>(act: impl Into<String>) -> impl FnOnce(E) -> Broken {
    let act = act.into();
    move |error| format!("{act}: {error}")
}
