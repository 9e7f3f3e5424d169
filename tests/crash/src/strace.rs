//! What strace tells about system calls, and does to them.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use crate::{Broken, said};

/// Why strace cannot be used here, if it cannot.
pub fn unable() -> Option<&'static str> {
    match Command::new("strace").args(["-o", "/dev/null", "true"]).output() {
        Ok(output) if output.status.success() => None,
        Ok(_) => Some("strace may not trace here"),
        Err(_) => Some("needs strace: run deploy/dependencies.sh test"),
    }
}

/// One system call of a trace: its name, and the how-manieth of that name it was, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Such as `pwrite64`.
    pub name: String,
    /// As strace counts for `when=`.
    pub nth: u64,
    /// As strace wrote it.
    pub line: String,
}

/// The calls of one thread, as `strace -o` wrote them, from the first that holds `from`.
///
/// # Errors
/// A file that cannot be read, or without such a call.
pub fn calls(trace: &Path, from: &str) -> Result<Vec<Call>, Broken> {
    let text = fs::read_to_string(trace).map_err(said(trace.display().to_string()))?;
    let calls = parse(&text);
    match calls.iter().position(|call| call.line.contains(from)) {
        Some(first) => Ok(calls[first..].to_vec()),
        None => Err(format!("no system call had {from:?} in it")),
    }
}

fn parse(text: &str) -> Vec<Call> {
    let mut counts = BTreeMap::<&str, u64>::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let Some((name, _)) = line.split_once('(') else { continue };
        // Signals and ends are told between dashes and plus signs.
        if name.is_empty()
            || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        {
            continue;
        }
        let count = counts.entry(name).or_default();
        *count += 1;
        calls.push(Call { name: name.to_owned(), nth: *count, line: line.to_owned() });
    }
    calls
}

/// What is done to a system call instead of, or before, it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injection {
    /// The process is killed when it enters the call.
    Kill,
    /// The call is not made and says EIO.
    Eio,
    /// The call is not made and says ENOSPC.
    Enospc,
}

impl Injection {
    /// strace's argument for `-e`.
    pub fn argument(self, call: &Call) -> String {
        let what = match self {
            Self::Kill => "signal=SIGKILL",
            Self::Eio => "error=EIO",
            Self::Enospc => "error=ENOSPC",
        };
        format!("inject={}:{what}:when={}", call.name, call.nth)
    }

    /// As Linux words it, for errors.
    pub fn words(self) -> &'static str {
        match self {
            Self::Kill => "killed",
            Self::Eio => "os error 5",
            Self::Enospc => "os error 28",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls are counted by name as strace counts them; signals and ends are not calls.
    #[test]
    fn calls_are_counted_by_name() {
        let text = "openat(AT_FDCWD, \"a\") = 3\nread(3, \"\", 9) = 0\n--- SIGUSR1 {si_signo=SIGUSR1} ---\nopenat(AT_FDCWD, \"b\") = 3\n+++ exited with 0 +++\n";
        let found: Vec<_> = parse(text).into_iter().map(|call| (call.name, call.nth)).collect();
        assert_eq!(found, [("openat".to_owned(), 1), ("read".to_owned(), 1), ("openat".to_owned(), 2)]);
    }
}
