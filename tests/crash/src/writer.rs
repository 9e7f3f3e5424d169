//! The writer that is stopped, killed and lied to.

use std::{
    borrow::Borrow,
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
};

use clap::Parser;
use journal::{Appended, Journal, JournalError, JournalOptions, Projections};

use crate::{
    Broken,
    chance::Chance,
    claims::Told,
    process::is_segment,
    records::{self, record},
    rows::Places,
    said,
};

/// Whose journal it is.
pub const ORIGIN: &str = "factory.example/crash";
/// The journal's directory within the writer's.
pub const JOURNAL: &str = "journal";
/// The projections' directory within the writer's.
pub const ROWS: &str = "rows";
/// The baseline's file within the writer's directory.
pub const BASELINE: &str = "baseline";

/// Appends records that follow from seed, run and index, and says on stdout what was acknowledged.
#[derive(Debug, Clone, Parser)]
#[command(name = "journal-writer")]
pub struct Writer {
    /// Where the journal and its projections are, or will be.
    #[arg(long)]
    pub directory: PathBuf,
    /// What the records and the sizes of the groups follow from.
    #[arg(long)]
    pub seed: u64,
    /// Which run over this journal it is.
    #[arg(long, default_value_t = 0)]
    pub run: u64,
    /// Threads that append and wait.
    #[arg(long, default_value_t = 4)]
    pub threads: u64,
    /// Groups that each thread appends; without it until the end comes from outside.
    #[arg(long)]
    pub groups: Option<u64>,
    /// Most records of one append.
    #[arg(long, default_value_t = 16)]
    pub group: u64,
    /// Bytes of a segment.
    #[arg(long, default_value_t = 128 * 1024)]
    pub segment_bytes: u64,
    /// Appends until there are so many segments before anything else.
    #[arg(long, default_value_t = 0)]
    pub aged: usize,
    /// Keeps projections too.
    #[arg(long)]
    pub rows: bool,
    /// Waits for a line on stdin once the journal is open.
    #[arg(long)]
    pub hold: bool,
    /// Instead of a journal: one file, each record appended and synced.
    #[arg(long)]
    pub baseline: bool,
}

impl Writer {
    /// Runs until all is appended or something failed.
    ///
    /// # Errors
    /// What failed, with its causes.
    pub fn run(&self) -> Result<(), Broken> {
        // Where only parents may trace, others are let in.
        let _ = rustix::process::set_ptracer(rustix::process::PTracer::Any);
        if self.baseline { self.write_baseline() } else { self.write_journal() }
    }

    /// The options with which this writer opens its journal.
    pub fn options(&self) -> JournalOptions {
        JournalOptions {
            segment_bytes: self.segment_bytes,
            ..JournalOptions::new(self.directory.join(JOURNAL), ORIGIN)
        }
    }

    /// The same as arguments of the program.
    pub fn arguments(&self) -> Vec<std::ffi::OsString> {
        let mut arguments = vec!["--directory".into(), self.directory.clone().into()];
        let numbers = [
            ("--seed", Some(self.seed)),
            ("--run", Some(self.run)),
            ("--threads", Some(self.threads)),
            ("--groups", self.groups),
            ("--group", Some(self.group)),
            ("--segment-bytes", Some(self.segment_bytes)),
            ("--aged", Some(self.aged as u64)),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                arguments.extend([name.into(), number.to_string().into()]);
            }
        }
        let switches = [("--rows", self.rows), ("--hold", self.hold), ("--baseline", self.baseline)];
        arguments.extend(switches.into_iter().filter(|(_, on)| *on).map(|(name, _)| name.into()));
        arguments
    }

    fn write_journal(&self) -> Result<(), Broken> {
        let (journal, recovery) = Journal::open(&self.options()).map_err(with_causes)?;
        let told = Told::new(io::stdout());
        told.opened(recovery.records).map_err(said("stdout"))?;
        let rows = self
            .rows
            .then(|| Projections::open(&journal, &self.directory.join(ROWS), Places, &mut |_, _| {}))
            .transpose()
            .map_err(with_causes)?;
        let queue =
            Queue { journal: &journal, rows: rows.as_ref(), seed: self.seed, run: self.run, order: Mutex::new(()) };
        while self.segments()? < self.aged {
            let appended = queue.append(self.group)?;
            told_when_synced(&told, appended)?;
        }
        if self.hold {
            io::stdin().lock().read_line(&mut String::new()).map_err(said("stdin"))?;
        }
        let outcomes: Vec<Result<(), Broken>> = thread::scope(|scope| {
            let (queue, told) = (&queue, &told);
            let threads: Vec<_> =
                (0..self.threads).map(|thread| scope.spawn(move || self.append_groups(thread, queue, told))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".to_owned())))
                .collect()
        });
        outcomes.into_iter().collect::<Result<(), _>>()?;
        if let Some(rows) = &rows {
            rows.close().map_err(with_causes)?;
        }
        journal.close().map_err(with_causes)
    }

    fn append_groups(&self, thread: u64, queue: &Queue<'_>, told: &Told<io::Stdout>) -> Result<(), Broken> {
        let mut chance = Chance::new(self.seed ^ (self.run << 8) ^ thread);
        let mut left = self.groups;
        while left != Some(0) {
            told_when_synced(told, queue.append(1 + chance.below(self.group))?)?;
            left = left.map(|left| left - 1);
        }
        Ok(())
    }

    fn segments(&self) -> Result<usize, Broken> {
        let directory = self.directory.join(JOURNAL);
        let names = fs::read_dir(&directory).map_err(said(format!("could not list {}", directory.display())))?;
        Ok(names.flatten().filter(|entry| is_segment(&entry.path())).count())
    }

    /// What a program without a journal does: append, fdatasync, say it.
    fn write_baseline(&self) -> Result<(), Broken> {
        let path = self.directory.join(BASELINE);
        let act = said::<io::Error>(format!("could not write {}", path.display()));
        let told = Told::new(io::stdout());
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
            file.sync_all()?;
            File::open(&self.directory)?.sync_all()?;
            told.opened(0)?;
            let mut left = self.groups;
            let mut index = 0;
            while left != Some(0) {
                let bytes = record(self.seed, self.run, index);
                let mut frame = (bytes.len() as u32).to_be_bytes().to_vec();
                frame.extend_from_slice(&bytes);
                file.write_all(&frame)?;
                file.sync_data()?;
                told.acknowledged(&(index..index + 1))?;
                index += 1;
                left = left.map(|left| left - 1);
            }
            Ok(())
        };
        write().map_err(act)
    }
}

/// The records of a baseline's file, up to the first that is not whole.
///
/// # Errors
/// A file that cannot be read.
pub fn read_baseline(directory: &Path, seed: u64) -> Result<u64, Broken> {
    let path = directory.join(BASELINE);
    let bytes = fs::read(&path).map_err(said(format!("could not read {}", path.display())))?;
    let mut rest = bytes.as_slice();
    let mut index = 0;
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        match behind.get(..length) {
            Some(frame) if length >= records::SHORTEST as usize && records::check(seed, index, frame).is_ok() => {
                rest = &behind[length..];
                index += 1;
            }
            _ => break,
        }
    }
    Ok(index)
}

/// Where records get their indexes before they are made.
struct Queue<'a> {
    journal: &'a Journal,
    rows: Option<&'a Projections<Places>>,
    seed: u64,
    run: u64,
    order: Mutex<()>,
}

impl Queue<'_> {
    fn append(&self, count: u64) -> Result<(Appended, u64), Broken> {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let first = self.journal.length();
        let entries: Vec<_> = (first..first + count).map(|index| record(self.seed, self.run, index)).collect();
        let appended = match self.rows {
            Some(rows) => rows.append(entries),
            None => self.journal.append(entries),
        };
        let appended = appended.map_err(with_causes)?;
        match appended.first_index() == first {
            true => Ok((appended, count)),
            false => Err(format!("records were to begin at {first}, not at {}", appended.first_index())),
        }
    }
}

fn told_when_synced(told: &Told<io::Stdout>, (appended, count): (Appended, u64)) -> Result<(), Broken> {
    let first = appended.first_index();
    appended.wait().map_err(with_causes)?;
    told.acknowledged(&(first..first + count)).map_err(said("stdout"))
}

/// An error and its causes, in one line.
pub fn with_causes(error: impl Borrow<JournalError>) -> Broken {
    service::in_full(error.borrow())
}
