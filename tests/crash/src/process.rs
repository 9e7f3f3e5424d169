//! A writer as a process of its own, that can be stopped in its tracks.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Broken, said, writer::Writer};

/// Whatever a writer is waited for takes milliseconds; a machine that does much else has this long.
const MOST: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_micros(200);

/// How syncs behave beneath a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syncs {
    /// As they are.
    Real,
    /// Each begins only after 20 ms, as if the device were slow: a stop then mostly falls between a write and its sync.
    Slow,
    /// Each is said to be done and is not.
    Pretended,
}

impl Syncs {
    /// The program to run, and what stands before the writer's own name.
    fn command(self, writer: &Path) -> Command {
        let inject = match self {
            Self::Real => return Command::new(writer),
            Self::Slow => "inject=fdatasync:delay_enter=20000",
            Self::Pretended => "inject=fdatasync,fsync:retval=0",
        };
        let mut command = Command::new("strace");
        // -D: strace is the grandchild, the writer the child.
        command.args([
            "-D",
            "-qq",
            "-f",
            "--seccomp-bpf",
            "-o",
            "/dev/null",
            "-e",
            "trace=fdatasync,fsync",
            "-e",
            inject,
        ]);
        command.arg(writer);
        command
    }
}

/// A writer that runs; killed on drop.
#[derive(Debug)]
pub struct Running {
    child: Child,
    told: PathBuf,
    wrong: PathBuf,
}

impl Running {
    /// Starts the program; what it says goes to files in `beside`.
    ///
    /// # Errors
    /// A program that does not start.
    pub fn start(program: &Path, writer: &Writer, syncs: Syncs, beside: &Path) -> Result<Self, Broken> {
        let (told, wrong) = (beside.join("told"), beside.join("wrong"));
        let file = |path: &Path| File::create(path).map_err(said(path.display().to_string()));
        let mut command = syncs.command(program);
        command.args(writer.arguments()).stdin(Stdio::piped()).stdout(file(&told)?).stderr(file(&wrong)?);
        let child = command.spawn().map_err(said(format!("{command:?}")))?;
        Ok(Self { child, told, wrong })
    }

    /// What it said was acknowledged.
    pub fn told(&self) -> &Path {
        &self.told
    }

    /// What it said went wrong.
    pub fn wrong(&self) -> String {
        fs::read_to_string(&self.wrong).unwrap_or_default()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The thread of that name, once there is one.
    ///
    /// # Errors
    /// A writer that ends before.
    pub fn await_thread(&mut self, name: &str) -> Result<u32, Broken> {
        let tasks = PathBuf::from(format!("/proc/{}/task", self.id()));
        self.wait_until(&format!("a thread {name}"), move || {
            fs::read_dir(&tasks).ok()?.flatten().find_map(|task| {
                let named = fs::read_to_string(task.path().join("comm")).ok()?;
                (named.trim() == name).then(|| task.file_name().to_str()?.parse().ok())?
            })
        })
    }

    /// Waits until it has said `count` lines.
    ///
    /// # Errors
    /// A writer that ends before or is silent for long.
    pub fn await_lines(&mut self, count: usize) -> Result<(), Broken> {
        let told = self.told.clone();
        self.wait_until(&format!("{count} lines"), move || (lines(&told) >= count).then_some(()))
    }

    /// Waits until its journal has a newer segment than now, and it has said `more` lines after that.
    ///
    /// # Errors
    /// A writer that ends before or is silent for long.
    pub fn await_roll(&mut self, journal: &Path, more: usize) -> Result<(), Broken> {
        let newest =
            || fs::read_dir(journal).ok()?.flatten().map(|entry| entry.path()).filter(|path| is_segment(path)).max();
        let before = newest();
        self.wait_until("a roll", || (newest() > before).then_some(()))?;
        self.await_lines(lines(&self.told) + more)
    }

    /// Lets a writer go on that was told to hold.
    pub fn release(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Stops every thread where it is, and the one who traces them, so that a sync that has not begun does not begin.
    ///
    /// # Errors
    /// A writer that ended by itself.
    pub fn freeze(&mut self) -> Result<(), Broken> {
        let tracer = self.tracer();
        let _ = kill_process(Pid::from_child(&self.child), Signal::STOP);
        // The tracer must pass the stop on to all threads first; a thread that it delays stands meanwhile.
        self.await_standstill()?;
        if let Some(tracer) = tracer {
            let _ = kill_process(tracer, Signal::STOP);
        }
        self.await_standstill()
    }

    fn await_standstill(&mut self) -> Result<(), Broken> {
        let tasks = PathBuf::from(format!("/proc/{}/task", self.id()));
        self.wait_until("a standstill", move || {
            let mut tasks = fs::read_dir(&tasks).ok()?.flatten();
            tasks.all(|task| fs::read_to_string(task.path().join("stat")).is_ok_and(|stat| stands(&stat))).then_some(())
        })
    }

    fn tracer(&self) -> Option<Pid> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?;
        Pid::from_raw(tracer.trim().parse().ok()?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// A writer that goes on for long.
    pub fn finish(mut self) -> Result<(ExitStatus, String), Broken> {
        self.release();
        let deadline = Instant::now() + MOST;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok((status, self.wrong())),
                Ok(None) if Instant::now() < deadline => thread::sleep(LOOK_EVERY),
                Ok(None) => return Err(format!("the writer did not end within {MOST:?}")),
                Err(error) => return Err(format!("could not wait for the writer: {error}")),
            }
        }
    }

    fn wait_until<T>(&mut self, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T, Broken> {
        let deadline = Instant::now() + MOST;
        loop {
            // Looked at first: what a writer said before it ended counts.
            let ended = !matches!(self.child.try_wait(), Ok(None));
            if let Some(seen) = look() {
                return Ok(seen);
            }
            if ended {
                return Err(format!("the writer ended before {what}: {}", self.wrong().trim()));
            }
            if Instant::now() > deadline {
                return Err(format!("the writer came to {what} not within {MOST:?}: {}", self.wrong().trim()));
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let tracer = self.tracer();
        let _ = self.child.kill();
        if let Some(tracer) = tracer {
            let _ = kill_process(tracer, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

fn lines(told: &Path) -> usize {
    fs::read(told).map_or(0, |told| told.iter().filter(|byte| **byte == b'\n').count())
}

/// Whether a file is a segment, by its name.
pub fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "seg")
}

/// Whether a thread's `stat` says that it is stopped.
fn stands(stat: &str) -> bool {
    // The name before may hold anything, a parenthesis too.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('T' | 't' | 'Z' | 'X'))
}
