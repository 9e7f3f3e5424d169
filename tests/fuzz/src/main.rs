//! libFuzzer before each door, one after the other: `make fuzz`.
//!
//! A child for each door, so that a crash ends that door alone, and libFuzzer's tables hold one door's inputs.

use std::{
    collections::BTreeMap,
    ffi::{CString, c_char, c_int},
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::OnceLock,
    time::Instant,
};

use clap::Parser;
use fuzz::{Door, MEBIBYTES_MOST, SCRATCH, SECONDS_MOST, doors::DOORS};
use libfuzzer_sys as _;

/// Gives every door octets that nobody wrote.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many inputs each door gets.
    #[arg(long, default_value_t = 20_000)]
    runs: u64,
    /// One door alone.
    #[arg(long)]
    door: Option<String>,
    /// libFuzzer's seed; 0 takes another one each time.
    #[arg(long, default_value_t = 0)]
    seed: u32,
    /// Where the inputs that were worth keeping stand, and what crashed a door.
    #[arg(long, default_value = "target/fuzz")]
    place: PathBuf,
    /// Lets one input in and ends: what crashed a door.
    #[arg(long, value_name = "FILE", requires = "door")]
    input: Option<PathBuf>,
    /// The doors and what holds at each.
    #[arg(long)]
    list: bool,
    /// Flags and directories for libFuzzer, before the one door.
    #[arg(last = true, requires = "door")]
    libfuzzer: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        DOORS.iter().for_each(|door| println!("{}: {}", door.name, door.property));
        return ExitCode::SUCCESS;
    }
    let wanted = arguments.door.as_deref();
    let doors: Vec<&Door> = DOORS.iter().filter(|door| wanted.is_none_or(|name| name == door.name)).collect();
    let input = arguments.input.as_deref();
    match (doors.as_slice(), input) {
        ([], _) => {
            let names: Vec<&str> = DOORS.iter().map(|door| door.name).collect();
            eprintln!("there is no such door: there are {}", names.join(", "));
            ExitCode::from(2)
        }
        ([door], Some(input)) => once(door, input),
        ([door], None) if !arguments.libfuzzer.is_empty() => libfuzzer(door, arguments.libfuzzer),
        (doors, _) => all(doors, &arguments),
    }
}

fn once(door: &Door, input: &Path) -> ExitCode {
    match fs::read(input) {
        Ok(octets) => {
            (door.enter)(&octets);
            println!("{} octets: {} holds", octets.len(), door.name);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("could not read {}: {error}", input.display());
            ExitCode::from(2)
        }
    }
}

/// What came of one door.
struct Outcome {
    runs: u64,
    coverage: String,
    crashed: bool,
}

fn all(doors: &[&Door], arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    let (mut runs, mut crashes) = (0, 0);
    for door in doors {
        match before(door, arguments) {
            Ok(outcome) => {
                runs += outcome.runs;
                crashes += u32::from(outcome.crashed);
                let word = if outcome.crashed { "CRASHED" } else { "holds" };
                println!("{:22} {word:8} runs={} {}", door.name, outcome.runs, outcome.coverage);
            }
            Err(error) => {
                eprintln!("{}: {error}", door.name);
                return ExitCode::from(2);
            }
        }
    }
    println!("fuzz: doors={} runs={runs} crashes={crashes} seconds={}", doors.len(), began.elapsed().as_secs());
    if crashes == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// libFuzzer before one door, in a process of its own.
fn before(door: &Door, arguments: &Arguments) -> io::Result<Outcome> {
    let place = |name: &str| {
        let path = arguments.place.join(name).join(door.name);
        fs::create_dir_all(&path).map(|()| path)
    };
    let (corpus, seeds, crashes) = (place("corpus")?, place("seeds")?, place("crashes")?);
    for (name, octets) in door.all_seeds() {
        fs::write(seeds.join(name), octets)?;
    }
    // What is known already is gone through first, and does not count.
    let known = (fs::read_dir(&corpus)?.count() + fs::read_dir(&seeds)?.count()) as u64;
    let log = arguments.place.join(format!("{}.log", door.name));
    let scratch = match Path::new("/dev/shm") {
        memory if memory.is_dir() => tempfile::tempdir_in(memory)?,
        _ => tempfile::tempdir()?,
    };
    let ended = Command::new(std::env::current_exe()?)
        .args(["--door", door.name, "--"])
        .args([
            format!("-runs={}", arguments.runs + known),
            format!("-seed={}", arguments.seed),
            format!("-max_len={}", door.octets_most),
            format!("-timeout={SECONDS_MOST}"),
            format!("-rss_limit_mb={MEBIBYTES_MOST}"),
            format!("-artifact_prefix={}/", crashes.display()),
            "-print_final_stats=1".to_owned(),
            // Rust's part has no leak that libFuzzer could see, and there is no LeakSanitizer here.
            "-detect_leaks=0".to_owned(),
        ])
        .args([&corpus, &seeds])
        .env(SCRATCH, scratch.path())
        // What a worker or a page says of each strange input would be most of the log.
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log)?)
        .status()?;
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let crashed = !ended.success();
    if crashed {
        let tail: Vec<&str> = said.lines().rev().take(40).collect();
        tail.iter().rev().for_each(|line| eprintln!("    {line}"));
        eprintln!(
            "{}: {ended}; what came in is in {}, all that was said in {}. Once it is mended, keep it in tests/fuzz/seeds/{}/",
            door.name,
            crashes.display(),
            log.display(),
            door.name
        );
    }
    let known: BTreeMap<&str, &str> = said.lines().filter_map(|line| line.split_once(": ")).collect();
    let runs = known.get("stat::number_of_executed_units").and_then(|runs| runs.trim().parse().ok()).unwrap_or(0);
    let coverage = said.lines().rev().find_map(|line| line.split_once("cov: ").map(|(_, rest)| rest));
    let coverage = coverage.map_or(String::new(), |rest| {
        let words: Vec<&str> = rest.split_whitespace().collect();
        format!("cov={} {}", words.first().unwrap_or(&""), words.get(1..5).unwrap_or_default().join(" "))
    });
    Ok(Outcome { runs, coverage, crashed })
}

static DOOR: OnceLock<Door> = OnceLock::new();

unsafe extern "C" {
    /// libFuzzer as a library (llvm.org/docs/LibFuzzer.html, "Using libFuzzer as a library").
    fn LLVMFuzzerRunDriver(
        count: *mut c_int,
        arguments: *mut *mut *mut c_char,
        enter: extern "C" fn(*const u8, usize) -> c_int,
    ) -> c_int;
}

extern "C" fn enter(octets: *const u8, length: usize) -> c_int {
    // SAFETY: libFuzzer gives as many octets as it says, and keeps them until this returns.
    let octets = if length == 0 { &[] } else { unsafe { std::slice::from_raw_parts(octets, length) } };
    if let Some(door) = DOOR.get() {
        (door.enter)(octets);
    }
    0
}

fn libfuzzer(door: &Door, flags: Vec<String>) -> ExitCode {
    let _ = DOOR.set(*door);
    // A panic ends the process where it happens: libFuzzer then keeps the input, and no destructor hides anything.
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        std::process::abort();
    }));
    let arguments: Result<Vec<CString>, _> = std::env::args().take(1).chain(flags).map(CString::new).collect();
    let Ok(arguments) = arguments else { return ExitCode::from(2) };
    let mut pointers: Vec<*mut c_char> = arguments.into_iter().map(CString::into_raw).collect();
    let mut count = c_int::try_from(pointers.len()).unwrap_or(0);
    pointers.push(std::ptr::null_mut());
    let mut first = pointers.as_mut_ptr();
    // SAFETY: as `main` has them, `count` strings and a null behind them; they are never freed.
    let code = unsafe { LLVMFuzzerRunDriver(&raw mut count, &raw mut first, enter) };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
