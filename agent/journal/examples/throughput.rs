//! Prints how many records a second reach the disk: `cargo run -p journal --example throughput [directory]`. It makes a
//! journal in a new directory below the given one (or the current one) and removes it afterwards.

use std::{
    env, fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use journal::{Journal, JournalError, JournalOptions};

/// About what a certificate's record takes.
const ENTRY_BYTES: usize = 1200;
const RUN: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let below = env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let directory = below.join(format!("throughput-{}", std::process::id()));
    let outcome = [(1, 1), (32, 1), (16, 64)].iter().try_for_each(|(writers, batch)| {
        let rate = measure(&directory, *writers, *batch)?;
        println!("{writers:>3} writers x {batch:>2} records per acknowledgement: {rate:>8.0} records/s");
        Ok::<_, JournalError>(())
    });
    fs::remove_dir_all(&directory)?;
    Ok(outcome?)
}

fn measure(directory: &Path, writers: usize, batch: usize) -> Result<f64, JournalError> {
    let options = JournalOptions::new(directory.join(format!("{writers}x{batch}")), "factory.example/throughput");
    let (journal, _) = Journal::open(&options)?;
    let started = Instant::now();
    thread::scope(|scope| {
        let write = || {
            while started.elapsed() < RUN {
                journal.append(vec![vec![7; ENTRY_BYTES]; batch])?.wait()?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..writers).map(|_| scope.spawn(write)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(JournalError::CommitterEnded)))
    })?;
    let rate = journal.synced() as f64 / started.elapsed().as_secs_f64();
    journal.close()?;
    Ok(rate)
}
