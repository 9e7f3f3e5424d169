//! The writer is killed, or told of a failure, at every system call that it makes while it opens a journal, appends and
//! rolls; then the journal is opened as always and judged.
//!
//! strace counts calls for each thread. Opening happens on the main thread, which alone is traced then; appending on the
//! journal's own, to which strace is attached before the first group. So every call is met, none twice.

use std::{
    fmt, fs,
    fs::OpenOptions,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use crate::{
    Broken,
    claims::Claims,
    process::{Running, Syncs, is_segment},
    rows::copy_tree,
    said,
    strace::{self, Call, Injection},
    verify::verify,
    writer::{JOURNAL, Writer},
};

/// How much is tried.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the records follow from.
    pub seed: u64,
    /// Every so-manieth call; 1 is all.
    pub every: usize,
    /// The writer's program.
    pub program: PathBuf,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    kills: u64,
    eio: u64,
    enospc: u64,
    torn: u64,
    calls: Vec<(&'static str, u64)>,
    broken: Vec<Broken>,
}

impl Outcome {
    /// Everything that speaks against the journal or against this harness.
    pub fn broken(&self) -> Vec<Broken> {
        let mut broken = self.broken.clone();
        if self.kills == 0 || self.eio == 0 || self.enospc == 0 {
            broken.push("not every kind of fault was met".to_owned());
        }
        broken
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, eio, enospc, torn, .. } = self;
        write!(f, "kills={kills} eio={eio} enospc={enospc} torn={torn} broken={}", self.broken.len())?;
        self.calls.iter().try_for_each(|(scene, calls)| write!(f, " calls-{scene}={calls}"))
    }
}

/// What the writer is doing when it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    /// Makes a journal where there is none.
    Create,
    /// Opens one of several segments with a torn tail and a roll that was cut short.
    Open,
    /// Appends groups, and rolls more than once.
    Append,
}

impl Scene {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::Append => "append",
        }
    }
}

/// Kills and fails as planned. `say` hears of each promise that was broken.
///
/// # Errors
/// What keeps this harness from working.
pub fn run(plan: &Plan, say: &mut dyn FnMut(&str)) -> Result<Outcome, Broken> {
    let place = tempfile::tempdir().map_err(said("could not make a directory"))?;
    let bench = Bench { plan, place: place.path() };
    let mut outcome = Outcome::default();
    for scene in [Scene::Create, Scene::Open, Scene::Append] {
        let calls = bench.trace(scene)?;
        outcome.calls.push((scene.name(), calls.len() as u64));
        let first = plan.seed as usize % plan.every;
        for call in calls.iter().skip(first).step_by(plan.every) {
            for injection in [Injection::Kill, Injection::Eio, Injection::Enospc] {
                if injection != Injection::Kill && !writes(call) {
                    continue;
                }
                match bench.inject(scene, call, injection) {
                    Ok(torn) => outcome.count(injection, torn),
                    Err(broken) => {
                        let broken = format!("{}, {injection:?} at {}: {broken}", scene.name(), call.line);
                        say(&broken);
                        outcome.broken.push(broken);
                    }
                }
            }
        }
    }
    Ok(outcome)
}

impl Outcome {
    fn count(&mut self, injection: Injection, torn: bool) {
        match injection {
            Injection::Kill => self.kills += 1,
            Injection::Eio => self.eio += 1,
            Injection::Enospc => self.enospc += 1,
        }
        self.torn += u64::from(torn);
    }
}

/// Whether a call changes what is on the disk, so that its failure must end the writer.
fn writes(call: &Call) -> bool {
    const WRITES: [&str; 11] = [
        "pwrite64",
        "fdatasync",
        "fsync",
        "rename",
        "renameat",
        "renameat2",
        "ftruncate",
        "fallocate",
        "unlink",
        "mkdir",
        "sync_file_range",
    ];
    WRITES.contains(&call.name.as_str())
        || (call.name == "openat" && call.line.contains("O_CREAT"))
        // Not what is said on stdout.
        || (call.name == "write" && !call.line.starts_with("write(1,"))
}

struct Bench<'a> {
    plan: &'a Plan,
    place: &'a Path,
}

/// How a writer ended.
struct Ended {
    status: ExitStatus,
    wrong: String,
}

impl Bench<'_> {
    fn writer(&self, scene: Scene, run: u64) -> Writer {
        Writer {
            directory: self.place.join("writer"),
            seed: self.plan.seed,
            run,
            threads: 1,
            // With segments of 64 KiB: at least two rolls, and zeros written ahead.
            groups: Some(if scene == Scene::Append { 14 } else { 0 }),
            group: 24,
            segment_bytes: 64 * 1024,
            aged: 0,
            rows: false,
            hold: scene == Scene::Append,
            baseline: false,
        }
    }

    /// Lays out what the writer finds, and gives what must be there afterwards.
    fn lay_out(&self, scene: Scene) -> Result<Claims, Broken> {
        let directory = self.place.join("writer");
        let past = self.place.join("past");
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).map_err(said("could not make a directory"))?;
        let mut claims = Claims::default();
        if scene != Scene::Open {
            return Ok(claims);
        }
        let told = self.place.join("past-told");
        if !past.exists() {
            let writer = Writer { aged: 3, groups: Some(3), ..self.writer(scene, 0) };
            let running = Running::start(&self.plan.program, &writer, Syncs::Real, self.place)?;
            let said_by = running.told().to_owned();
            let (status, wrong) = running.finish()?;
            if !status.success() {
                return Err(format!("a journal could not be made: {wrong}"));
            }
            fs::copy(said_by, &told).map_err(said("could not keep what was said"))?;
            tear(&directory.join(JOURNAL)).map_err(said("could not tear the tail"))?;
            copy_tree(&directory, &past).map_err(said("could not copy the journal"))?;
        } else {
            copy_tree(&past, &directory).map_err(said("could not copy the journal"))?;
        }
        claims.add(&told, 0)?;
        Ok(claims)
    }

    /// The system calls of a run to which nothing is done.
    fn trace(&self, scene: Scene) -> Result<Vec<Call>, Broken> {
        self.lay_out(scene)?;
        let trace = self.place.join("trace");
        let ended = self.run(scene, &["-o", &trace.display().to_string()])?;
        if !ended.status.success() {
            return Err(format!("without a fault, the writer ended with {}: {}", ended.status, ended.wrong));
        }
        let journal = self.place.join("writer").join(JOURNAL);
        // Attached in the middle of a wait, strace tells of it first.
        let from = if scene == Scene::Append { "(".to_owned() } else { journal.display().to_string() };
        strace::calls(&trace, &from)
    }

    /// Runs once more with one call killed or failed, and judges what is left. Returns whether a tail was torn.
    fn inject(&self, scene: Scene, call: &Call, injection: Injection) -> Result<bool, Broken> {
        let mut claims = self.lay_out(scene)?;
        let ended = self.run(scene, &["-o", "/dev/null", "-e", &injection.argument(call)])?;
        claims.add(&self.place.join("told"), 1)?;
        match injection {
            // Waits for a lock may be fewer this time.
            Injection::Kill if call.name == "futex" && ended.status.success() => {}
            Injection::Kill if ended.status.signal() == Some(9) => {}
            Injection::Kill => return Err(format!("the writer was not killed but ended with {}", ended.status)),
            Injection::Eio | Injection::Enospc => {
                if ended.status.code() != Some(1) {
                    return Err(format!("the writer ended with {}: {}", ended.status, ended.wrong));
                }
                if !ended.wrong.contains(injection.words()) || !ended.wrong.contains("writer") {
                    return Err(format!("the writer did not say what failed, and where: {}", ended.wrong));
                }
            }
        }
        let sound = verify(&self.writer(scene, 1), &claims)?;
        Ok(sound.torn)
    }

    fn run(&self, scene: Scene, strace: &[&str]) -> Result<Ended, Broken> {
        match scene {
            Scene::Append => self.run_attached(strace),
            Scene::Create | Scene::Open => self.run_beneath(scene, strace),
        }
    }

    /// Only the main thread is traced, from the beginning. strace ends as the writer does.
    fn run_beneath(&self, scene: Scene, strace: &[&str]) -> Result<Ended, Broken> {
        let writer = self.writer(scene, 1);
        let (told, wrong) = (self.place.join("told"), self.place.join("wrong"));
        let file = |path: &Path| fs::File::create(path).map_err(said(path.display().to_string()));
        let mut command = Command::new("timeout");
        command.args(["30", "strace", "-qq"]).args(strace).arg(&self.plan.program).args(writer.arguments());
        command.stdin(Stdio::null()).stdout(file(&told)?).stderr(file(&wrong)?);
        let status = command.status().map_err(said(format!("{command:?}")))?;
        let wrong = fs::read_to_string(wrong).unwrap_or_default();
        Ok(Ended { status: as_signal(status), wrong })
    }

    /// Only the journal's own thread is traced, from before the first group.
    fn run_attached(&self, strace: &[&str]) -> Result<Ended, Broken> {
        let writer = self.writer(Scene::Append, 1);
        let mut running = Running::start(&self.plan.program, &writer, Syncs::Real, self.place)?;
        running.await_lines(1)?;
        let thread = running.await_thread("journal")?;
        let mut command = Command::new("strace");
        command.args(strace).args(["-p", &thread.to_string()]).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut tracer = command.spawn().map_err(said(format!("{command:?}")))?;
        let attached = await_attached(&mut tracer);
        running.release();
        let finished = running.finish();
        let _ = tracer.kill();
        let _ = tracer.wait();
        attached?;
        let (status, wrong) = finished?;
        Ok(Ended { status, wrong })
    }
}

fn await_attached(tracer: &mut Child) -> Result<(), Broken> {
    let Some(stderr) = tracer.stderr.take() else { return Err("strace without stderr".to_owned()) };
    let mut line = String::new();
    BufReader::new(stderr).read_line(&mut line).map_err(said("strace"))?;
    if line.contains("attached") { Ok(()) } else { Err(format!("strace could not attach: {line}")) }
}

/// `timeout` tells of a signal as a shell does, by 128 and more.
fn as_signal(status: ExitStatus) -> ExitStatus {
    match status.code() {
        Some(code) if code > 128 => ExitStatus::from_raw(code - 128),
        _ => status,
    }
}

/// What a crash within a group and another within a roll leave: half of a frame, and a segment without its own name.
fn tear(journal: &Path) -> std::io::Result<()> {
    let mut paths: Vec<_> = fs::read_dir(journal)?.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| is_segment(path));
    paths.sort();
    let Some(last) = paths.last() else { return Ok(()) };
    let bytes = fs::read(last)?;
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let mut file = OpenOptions::new().write(true).open(last)?;
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(used as u64))?;
    file.write_all(&[0, 0, 1, 200, 1, 2, 3, 4, 5, 6, 7, 8])?;
    fs::write(journal.join("00000000000000009999.seg.new"), b"SA-JRNL\n")
}
