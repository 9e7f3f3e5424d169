//! A link to a TPM that fails as a test says.
//!
//! ```text
//! client ──▶ tcti() ──▶ Relay ──▶ swtpm's data socket      frame by frame, each command judged
//!        ──▶  + 1   ──▶       ──▶ swtpm's control socket   as it is
//! ```
//!
//! The faults are those of [`TpmFault`], and [`Relay::swap`]: another device behind the same address.

mod codes;
mod frame;
mod stream;

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

pub use self::codes::{command, response};
use self::stream::{Door, Stream};
use crate::{Injection, SimError, Swtpm, directory::Directory, injection::strike};

/// What happens to a command of a TPM or to its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TpmFault {
    /// The TPM does not see the command; the client gets this response code ([`response`]).
    Answer(u32),
    /// The command takes so much longer.
    Delay(Duration),
    /// Half of the command reaches the TPM, which so does nothing, and the link is cut.
    CutCommand,
    /// The TPM does what it was told, and the link is cut before the response.
    LoseResponse,
    /// The TPM does what it was told, and the link is cut after half of the response.
    CutResponse,
    /// This bit of the response is flipped, counted from the first, over and over.
    FlipBit(usize),
    /// The TPM does not see the command, and nothing comes back until [`Relay::release`], when the link is cut.
    Hang,
}

/// When a fault strikes a command, named by its TPM_CC ([`command`]).
pub type TpmInjection = Injection<TpmFault, u32>;

impl From<TpmFault> for TpmInjection {
    fn from(fault: TpmFault) -> Self {
        Self::of(fault)
    }
}

/// A link to a [`Swtpm`]. Faults are put into it while it is used; dropped, it is cut.
#[derive(Debug)]
pub struct Relay {
    tcti: String,
    told: Arc<Told>,
    doors: [Arc<Door>; 2],
    threads: Vec<JoinHandle<()>>,
    // Last: the sockets are in it.
    _directory: Option<Directory>,
}

#[derive(Debug)]
struct Told {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    injections: Vec<TpmInjection>,
    commands: Vec<u32>,
    struck: Vec<(u32, TpmFault)>,
    /// Every octet that passed, once somebody listens.
    heard: Option<Vec<u8>>,
    latency: Duration,
    busy: Duration,
    data: PathBuf,
    control: PathBuf,
    released: u64,
    hanging: usize,
    ended: bool,
    live: BTreeMap<u64, Stream>,
    connections: u64,
}

impl Relay {
    /// A TCP link to `tpm`, on two adjacent ports of a loopback address.
    pub fn before(tpm: &Swtpm) -> Result<Self, SimError> {
        let (address, data, control) = Door::adjacent().map_err(SimError::io("listen on", "127.0.0.0/8"))?;
        let tcti = format!("swtpm:host={},port={}", address.ip(), address.port());
        Ok(Self::open(tpm, tcti, [data, control], None))
    }

    /// A link to `tpm` over Unix sockets, as its own are.
    pub fn unix_before(tpm: &Swtpm) -> Result<Self, SimError> {
        let directory = Directory::temporary()?;
        let listen = |name: &str| {
            let path = directory.path().join(name);
            Door::unix(path.clone()).map_err(SimError::io("listen on", path))
        };
        let doors = [listen("socket")?, listen("socket.ctrl")?];
        let tcti = format!("swtpm:path={}", directory.path().join("socket").display());
        Ok(Self::open(tpm, tcti, doors, Some(directory)))
    }

    fn open(tpm: &Swtpm, tcti: String, doors: [Door; 2], directory: Option<Directory>) -> Self {
        let state = State {
            injections: Vec::new(),
            commands: Vec::new(),
            struck: Vec::new(),
            heard: None,
            latency: Duration::ZERO,
            busy: Duration::ZERO,
            data: tpm.socket(),
            control: tpm.control_socket(),
            released: 0,
            hanging: 0,
            ended: false,
            live: BTreeMap::new(),
            connections: 0,
        };
        let told = Arc::new(Told { state: Mutex::new(state), changed: Condvar::new() });
        let doors = doors.map(Arc::new);
        let serving: [fn(&Told, &mut Stream) -> io::Result<()>; 2] = [pass_commands, pass_as_it_is];
        let threads = doors
            .iter()
            .zip(serving)
            .map(|(door, serve)| {
                let (door, told) = (Arc::clone(door), Arc::clone(&told));
                thread::spawn(move || listen(&door, &told, serve))
            })
            .collect();
        Self { tcti, told, doors, threads, _directory: directory }
    }

    /// The TCTI with which tpm2-tss reaches the TPM over this link.
    #[must_use]
    pub fn tcti(&self) -> &str {
        &self.tcti
    }

    /// Adds a fault; one without more words strikes the next command, once.
    pub fn inject(&self, injection: impl Into<TpmInjection>) {
        self.told.state().injections.push(injection.into());
    }

    /// Forgets the faults that have not struck yet.
    pub fn clear(&self) {
        self.told.state().injections.clear();
    }

    /// Makes every command take so much longer from now on.
    pub fn set_latency(&self, latency: Duration) {
        self.told.state().latency = latency;
    }

    /// Puts another device behind this address, between two commands: connections stay, and the next command meets it.
    pub fn swap(&self, tpm: &Swtpm) {
        let mut state = self.told.state();
        (state.data, state.control) = (tpm.socket(), tpm.control_socket());
    }

    /// Cuts the link of every command that hangs.
    pub fn release(&self) {
        self.told.state().released += 1;
        self.told.changed.notify_all();
    }

    /// The TPM_CC of every command since the beginning or the last [`forget`](Self::forget), in order.
    #[must_use]
    pub fn commands(&self) -> Vec<u32> {
        self.told.state().commands.clone()
    }

    /// How many of them were of this code.
    #[must_use]
    pub fn count(&self, command: u32) -> usize {
        self.told.state().commands.iter().filter(|seen| **seen == command).count()
    }

    /// How long they took, from the command's last octet to the response's, all together.
    #[must_use]
    pub fn busy(&self) -> Duration {
        self.told.state().busy
    }

    /// What struck, and which commands, since the beginning or the last [`forget`](Self::forget).
    #[must_use]
    pub fn struck(&self) -> Vec<(u32, TpmFault)> {
        self.told.state().struck.clone()
    }

    /// Keeps every octet that passes from now on.
    pub fn listen(&self) {
        self.told.state().heard.get_or_insert_default();
    }

    /// The octets of all commands and responses since somebody [listens](Self::listen), in order.
    #[must_use]
    pub fn heard(&self) -> Vec<u8> {
        self.told.state().heard.clone().unwrap_or_default()
    }

    /// Begins to count anew.
    pub fn forget(&self) {
        let mut state = self.told.state();
        state.commands.clear();
        state.struck.clear();
        state.busy = Duration::ZERO;
    }

    /// Waits until this command was seen so often, at most so long; false when it was not by then.
    #[must_use]
    pub fn await_count(&self, command: u32, count: usize, most: Duration) -> bool {
        self.told.await_until(most, |state| state.commands.iter().filter(|seen| **seen == command).count() >= count)
    }

    /// Waits until a command hangs, at most so long; false when none does by then.
    #[must_use]
    pub fn await_hang(&self, most: Duration) -> bool {
        self.told.await_until(most, |state| state.hanging > 0)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let mut state = self.told.state();
        state.ended = true;
        state.live.values().for_each(Stream::cut);
        drop(state);
        self.told.changed.notify_all();
        self.doors.iter().for_each(|door| door.knock());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What is done with one command.
struct Judged {
    fault: Option<TpmFault>,
    data: PathBuf,
}

impl Told {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn await_until(&self, most: Duration, holds: impl Fn(&State) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.state(), most, |state| !holds(state));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Takes a command down, and waits as long as it is to take.
    fn judge(&self, code: u32) -> Judged {
        let mut state = self.state();
        state.commands.push(code);
        let fault = strike(&mut state.injections, &code);
        if let Some(fault) = fault {
            state.struck.push((code, fault));
        }
        let pause = match fault {
            Some(TpmFault::Delay(delay)) => state.latency + delay,
            _ => state.latency,
        };
        self.changed.notify_all();
        if !pause.is_zero() {
            let waited = self.changed.wait_timeout_while(state, pause, |state| !state.ended);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Judged { fault, data: state.data.clone() }
    }

    fn hang(&self) {
        let mut state = self.state();
        state.hanging += 1;
        self.changed.notify_all();
        let before = state.released;
        let waited = self.changed.wait_while(state, |state| !state.ended && state.released == before);
        waited.unwrap_or_else(PoisonError::into_inner).hanging -= 1;
    }

    /// Keeps a way to cut a connection while it lives; `None` when nothing is to live any more.
    fn enter(&self, stream: &Stream) -> Option<u64> {
        let mut state = self.state();
        if state.ended {
            return None;
        }
        state.connections += 1;
        let number = state.connections;
        state.live.insert(number, stream.again().ok()?);
        Some(number)
    }

    fn leave(&self, number: u64) {
        if let Some(stream) = self.state().live.remove(&number) {
            stream.cut();
        }
    }
}

fn listen(door: &Door, told: &Arc<Told>, serve: fn(&Told, &mut Stream) -> io::Result<()>) {
    let mut serving = Vec::new();
    loop {
        let accepted = door.accept();
        if told.state().ended {
            break;
        }
        let Ok(mut near) = accepted else { continue };
        let Some(number) = told.enter(&near) else { break };
        let told = Arc::clone(told);
        serving.retain(|thread: &JoinHandle<()>| !thread.is_finished());
        serving.push(thread::spawn(move || {
            // Whatever ends it, it ends for both sides: that is all a client ever sees of a link.
            let _ = serve(&told, &mut near);
            told.leave(number);
        }));
    }
    for thread in serving {
        let _ = thread.join();
    }
}

fn pass_commands(told: &Told, near: &mut Stream) -> io::Result<()> {
    while let Some(command) = frame::read(near)? {
        let began = Instant::now();
        let Judged { fault, data } = told.judge(frame::code(&command));
        match fault {
            Some(TpmFault::Answer(code)) => {
                near.write_all(&frame::response(code))?;
                continue;
            }
            Some(TpmFault::Hang) => {
                told.hang();
                return Ok(());
            }
            _ => {}
        }
        // For each command anew: the TPM serves one connection at a time, and this one must not keep others out.
        let mut far = Stream::connect(&data)?;
        if fault == Some(TpmFault::CutCommand) {
            return far.write_all(&command[..command.len() / 2]);
        }
        far.write_all(&command)?;
        let mut response = frame::read(&mut far)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if let Some(heard) = &mut told.state().heard {
            heard.extend([command.as_slice(), &response].concat());
        }
        match fault {
            Some(TpmFault::LoseResponse) => return Ok(()),
            Some(TpmFault::CutResponse) => return near.write_all(&response[..response.len() / 2]),
            Some(TpmFault::FlipBit(bit)) => {
                let bit = bit % (response.len() * 8);
                response[bit / 8] ^= 0x80 >> (bit % 8);
            }
            _ => {}
        }
        near.write_all(&response)?;
        told.state().busy += began.elapsed();
    }
    Ok(())
}

fn pass_as_it_is(told: &Told, near: &mut Stream) -> io::Result<()> {
    let path = told.state().control.clone();
    let mut far = Stream::connect(&path)?;
    let (mut back_from, mut back_to) = (far.again()?, near.again()?);
    let back = thread::spawn(move || {
        let _ = io::copy(&mut back_from, &mut back_to);
        back_to.cut();
    });
    let passed = io::copy(near, &mut far);
    far.cut();
    let _ = back.join();
    passed.map(drop)
}
