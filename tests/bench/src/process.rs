//! What the kernel says of a process.

use std::fs;

use crate::{Failed, because};

/// Its resident memory in bytes.
pub(crate) fn resident(process: u32) -> Result<u64, Failed> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).map_err(because("read what the kernel says of a process"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.map(|kibibytes| kibibytes * 1024).ok_or_else(|| Failed::new(format!("{path} has no VmRSS")))
}
