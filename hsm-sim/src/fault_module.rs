//! The test's side of the PKCS#11 module that fails as it is told (the crate `fault-module`).

use std::{
    env,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{Injection, SimError, SoftHsm, directory::Directory, injection::strike};

const LIBRARY: &str = "libfault_module.so";

/// What a call of the module does instead of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleFault {
    /// It returns this CK_RV ([`ckr`](crate::ckr)) and does nothing.
    Return(u64),
    /// It does its work, and returns this CK_RV all the same.
    ReturnAfter(u64),
    /// It does its work; when it is C_GetTokenInfo, the token has these flags, too.
    TokenFlags(u64),
    /// It takes so much longer.
    Delay(Duration),
    /// It never returns, or not before [`FaultModule::release`]; its work is done then.
    Hang,
    /// It ends the process (SIGABRT).
    Abort,
    /// It does its work, and ends the process then.
    AbortAfter,
}

/// When a fault strikes a call of the module: `C_Login` and so on, and `load` when a process has loaded it.
pub type ModuleInjection = Injection<ModuleFault, &'static str>;

impl From<ModuleFault> for ModuleInjection {
    fn from(fault: ModuleFault) -> Self {
        Self::of(fault)
    }
}

/// A PKCS#11 module before a token's own. Every process that loads it with [`environment`](Self::environment) asks here
/// about each call, across restarts; each of its threads asks for itself, so that one call's delay is no other's.
#[derive(Debug)]
pub struct FaultModule {
    module: PathBuf,
    wraps: PathBuf,
    token: Vec<(String, String)>,
    directory: Directory,
    told: Arc<Told>,
    listening: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Told {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    injections: Vec<ModuleInjection>,
    calls: Vec<&'static str>,
    struck: Vec<(&'static str, ModuleFault)>,
    /// How often everything that hangs was let go.
    released: u64,
    hanging: usize,
    ended: bool,
}

impl FaultModule {
    /// Stands before the module of `token`.
    pub fn before(token: &SoftHsm) -> Result<Self, SimError> {
        let module = library()?;
        let directory = Directory::temporary()?;
        let socket = directory.path().join("control");
        let listener = UnixListener::bind(&socket).map_err(SimError::io("listen on", socket))?;
        let told = Arc::new(Told::default());
        let listening = Some(thread::spawn({
            let told = Arc::clone(&told);
            move || listen(&listener, &told)
        }));
        Ok(Self { module, wraps: token.module().into(), token: token.environment(), directory, told, listening })
    }

    /// The PKCS#11 module to load.
    #[must_use]
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// What the process that loads it must have in its environment, the token's own included.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut environment = self.token.clone();
        environment.push(("FAULT_MODULE_WRAPS".into(), text(&self.wraps)));
        environment.push(("FAULT_MODULE_CONTROL".into(), text(&self.socket())));
        environment
    }

    /// Adds a fault; one without more words strikes the next call, once.
    pub fn inject(&self, injection: impl Into<ModuleInjection>) {
        self.told.state().injections.push(injection.into());
    }

    /// Forgets the faults that have not struck yet.
    pub fn clear(&self) {
        self.told.state().injections.clear();
    }

    /// Lets every call that hangs go on.
    pub fn release(&self) {
        self.told.state().released += 1;
        self.told.changed.notify_all();
    }

    /// The calls since the beginning or the last [`forget`](Self::forget), in order.
    #[must_use]
    pub fn calls(&self) -> Vec<&'static str> {
        self.told.state().calls.clone()
    }

    /// How many of them were of this function.
    #[must_use]
    pub fn count(&self, function: &str) -> usize {
        self.told.state().calls.iter().filter(|call| **call == function).count()
    }

    /// What struck, and which calls, since the beginning or the last [`forget`](Self::forget).
    #[must_use]
    pub fn struck(&self) -> Vec<(&'static str, ModuleFault)> {
        self.told.state().struck.clone()
    }

    /// Begins to count anew.
    pub fn forget(&self) {
        let mut state = self.told.state();
        state.calls.clear();
        state.struck.clear();
    }

    /// Waits until a call hangs, at most so long; false when none does by then.
    #[must_use]
    pub fn await_hang(&self, most: Duration) -> bool {
        self.await_hangs(1, most)
    }

    /// Waits until so many calls hang at the same time, at most so long; false when there are fewer by then.
    #[must_use]
    pub fn await_hangs(&self, calls: usize, most: Duration) -> bool {
        let waited = self.told.changed.wait_timeout_while(self.told.state(), most, |state| state.hanging < calls);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("control")
    }
}

impl Drop for FaultModule {
    fn drop(&mut self) {
        self.told.state().ended = true;
        self.told.changed.notify_all();
        // Wakes the thread that accepts.
        let _ = UnixStream::connect(self.socket());
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

impl Told {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a call down and waits as long as it is to take; `None` when the test is over.
    fn judge(&self, call: &'static str) -> Option<String> {
        let mut state = self.state();
        state.calls.push(call);
        let fault = strike(&mut state.injections, &call);
        if let Some(fault) = fault {
            state.struck.push((call, fault));
        }
        let (most, before) = match fault {
            Some(ModuleFault::Hang) => (Duration::MAX, state.released),
            Some(ModuleFault::Delay(most)) => (most, u64::MAX),
            _ => (Duration::ZERO, u64::MAX),
        };
        let hangs = usize::from(fault == Some(ModuleFault::Hang));
        state.hanging += hangs;
        self.changed.notify_all();
        let goes_on = |state: &mut State| !state.ended && (before == u64::MAX || state.released == before);
        if most == Duration::MAX {
            state = self.changed.wait_while(state, goes_on).unwrap_or_else(PoisonError::into_inner);
        } else if !most.is_zero() {
            state = self.changed.wait_timeout_while(state, most, goes_on).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.hanging -= hangs;
        if state.ended {
            return None;
        }
        Some(match fault {
            None | Some(ModuleFault::Delay(_) | ModuleFault::Hang) => "pass".to_owned(),
            Some(ModuleFault::Return(code)) => format!("return {code}"),
            Some(ModuleFault::ReturnAfter(code)) => format!("after {code}"),
            Some(ModuleFault::TokenFlags(flags)) => format!("flags {flags}"),
            Some(ModuleFault::Abort) => "abort".to_owned(),
            Some(ModuleFault::AbortAfter) => "abort-after".to_owned(),
        })
    }
}

fn listen(listener: &UnixListener, told: &Arc<Told>) {
    for stream in listener.incoming() {
        if told.state().ended {
            return;
        }
        let Ok(stream) = stream else { continue };
        let told = Arc::clone(told);
        // It ends with its process, which has the other end, or with the test.
        thread::spawn(move || converse(stream, &told));
    }
}

fn converse(stream: UnixStream, told: &Told) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line)? > 0 {
        let Some(answer) = told.judge(name(line.trim_end())) else { break };
        stream.get_mut().write_all(format!("{answer}\n").as_bytes())?;
        line.clear();
    }
    Ok(())
}

/// The function's name for as long as the process lives: there are seventy at most.
fn name(called: &str) -> &'static str {
    static NAMES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.iter().find(|name| **name == called) {
        return known;
    }
    let name: &'static str = called.to_owned().leak();
    names.push(name);
    name
}

/// The library that cargo built beside this program: a test stands in `deps`, a program one above.
fn library() -> Result<PathBuf, SimError> {
    let program = env::current_exe().map_err(SimError::io("find", "this program"))?;
    let found = program
        .ancestors()
        .skip(1)
        .take(2)
        .flat_map(|directory| [directory.join(LIBRARY), directory.join("deps").join(LIBRARY)])
        .find(|path| path.is_file());
    found.ok_or(SimError::NotBuilt { library: LIBRARY, package: "fault-module" })
}
