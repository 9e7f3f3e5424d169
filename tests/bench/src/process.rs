//! What the kernel says of a process.

use std::{collections::BTreeMap, fs, time::Duration};

use crate::{Failed, because};

/// Its resident memory in bytes.
pub(crate) fn resident(process: u32) -> Result<u64, Failed> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).map_err(because("read what the kernel says of a process"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.map(|kibibytes| kibibytes * 1024).ok_or_else(|| Failed::new(format!("{path} has no VmRSS")))
}

/// What this program's children that ended have had of the processor so far, in steps of a hundredth of a second.
pub(crate) fn ended_children() -> Result<Duration, Failed> {
    // proc_pid_stat(5): cutime and cstime are the 16th and 17th word.
    two_words("/proc/self/stat", 16)
}

/// The sum of two words of a process's stat, in steps of a hundredth of a second.
fn two_words(path: &str, first: usize) -> Result<Duration, Failed> {
    /// USER_HZ, the same on every Linux.
    const TICKS: u64 = 100;
    let stat = fs::read_to_string(path).map_err(because("read what the kernel says of a process"))?;
    // The 2nd word ends with the last bracket.
    let times = stat.rsplit_once(')').and_then(|(_, rest)| {
        let mut words = rest.split_whitespace().skip(first - 3).map(str::parse::<u64>);
        Some(words.next()?.ok()? + words.next()?.ok()?)
    });
    let ticks = times.ok_or_else(|| Failed::new(format!("{path} has no times")))?;
    Ok(Duration::from_millis(ticks * 1_000 / TICKS))
}

/// The processor's time by thread, of a process and its children.
#[derive(Debug, Default)]
pub(crate) struct Times(BTreeMap<(String, u32), u64>);

/// What its threads and its children's have had of the processor so far; those that ended are one of them.
pub(crate) fn times(process: u32) -> Result<Times, Failed> {
    let failed = because("read what the kernel says of a process");
    let mut times = Times::default();
    for own in [process].into_iter().chain(children(process)) {
        let whose = if own == process { "" } else { "worker: " };
        let mut alive = 0;
        for thread in fs::read_dir(format!("/proc/{own}/task")).map_err(&failed)?.flatten() {
            // It may end between two looks.
            let Ok(schedstat) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
            let Ok(name) = fs::read_to_string(thread.path().join("comm")) else { continue };
            let nanoseconds = schedstat.split(' ').next().and_then(|first| first.parse().ok());
            let id = thread.file_name().to_str().and_then(|name| name.parse().ok());
            if let (Some(nanoseconds), Some(id)) = (nanoseconds, id) {
                times.0.insert((format!("{whose}{}", name.trim()), id), nanoseconds);
                alive += nanoseconds;
            }
        }
        // utime and stime, the 14th and 15th word, are of all threads that ever were.
        let whole = two_words(&format!("/proc/{own}/stat"), 14)?.as_nanos();
        let ended = u64::try_from(whole).unwrap_or(u64::MAX).saturating_sub(alive);
        times.0.insert((format!("{whose}ended"), 0), ended);
    }
    Ok(times)
}

fn children(process: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_child = |own: &u32| {
        let stat = fs::read_to_string(format!("/proc/{own}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        parent == Some(process)
    };
    let mut found: Vec<u32> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    if found.is_empty() {
        // The kernel may be built without `children`.
        found = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_child).collect();
    }
    found
}

impl Times {
    /// What came since.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        for (thread, time) in &mut self.0 {
            *time = time.saturating_sub(before.0.get(thread).copied().unwrap_or(0));
        }
        self
    }

    /// Of all threads.
    pub(crate) fn whole(&self) -> Duration {
        Duration::from_nanos(self.0.values().sum())
    }

    /// By the threads' names, most first, divided by so many.
    pub(crate) fn of(&self, count: usize) -> String {
        let mut by_name = BTreeMap::<&str, u64>::new();
        for ((name, _), time) in &self.0 {
            *by_name.entry(name).or_default() += time;
        }
        let mut all: Vec<_> = by_name.into_iter().collect();
        all.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        let words = all.iter().map(|(name, time)| format!("{name} {:.0} µs", *time as f64 / 1e3 / count.max(1) as f64));
        words.collect::<Vec<_>>().join(", ")
    }
}
