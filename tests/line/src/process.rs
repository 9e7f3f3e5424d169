//! One process of the line, its log, and its end.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use hsm_sim::child;

use crate::LineError;

/// Shutdown may take 30 seconds; then a little for the kernel.
const STOP_PATIENCE: Duration = Duration::from_secs(35);
/// `init` makes three keys in a token.
const COMMAND_MOST: Duration = Duration::from_secs(60);

/// A process of the line that may run.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    variables: BTreeMap<&'static str, String>,
    running: Option<Child>,
}

impl Process {
    /// The binary `name` in `binaries`, run with `arguments`, its output in `logs`.
    pub(crate) fn new(name: &'static str, binaries: &Path, arguments: &[&str], logs: &Path) -> Result<Self, LineError> {
        let program = binaries.join(name);
        if !program.is_file() {
            return Err(LineError::NotBuilt { program: name, directory: binaries.into() });
        }
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let log = logs.join(format!("{name}.log"));
        Ok(Self { name, program, arguments, log, variables: BTreeMap::new(), running: None })
    }

    /// The binary's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its log, which all its runs share.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process id, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.running.as_ref().map(Child::id)
    }

    /// Runs the binary once with other arguments, to its end.
    pub(crate) fn run_once(&self, arguments: &[&str]) -> Result<(), LineError> {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut once = Self {
            name: self.name,
            program: self.program.clone(),
            arguments,
            log: self.log.clone(),
            variables: self.variables.clone(),
            running: None,
        };
        once.spawn()?;
        match once.wait_at_most(COMMAND_MOST)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(once.ended(status)),
            None => Err(once.late(COMMAND_MOST, "it still runs".into())),
        }
    }

    /// Puts a variable into the environment of its next starts, or takes it out again.
    pub fn set_variable(&mut self, name: &'static str, value: Option<String>) {
        match value {
            Some(value) => drop(self.variables.insert(name, value)),
            None => drop(self.variables.remove(name)),
        }
    }

    /// Waits at most `most` for its end, however it comes; `None` when it still runs. What it started is left alone.
    pub fn await_end(&mut self, most: Duration) -> Result<Option<ExitStatus>, LineError> {
        self.wait_at_most(most)
    }

    /// Starts it, unless it runs, and does not wait until it is ready.
    pub fn spawn(&mut self) -> Result<(), LineError> {
        if self.running.is_some() {
            return Ok(());
        }
        let open = || fs::OpenOptions::new().append(true).create(true).open(&self.log);
        let log = open().map_err(LineError::file("open", &self.log))?;
        let again = log.try_clone().map_err(LineError::file("open", &self.log))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(&self.variables).stdin(Stdio::null()).stdout(log).stderr(again);
        // What the devices need stands in the configuration; what is set here must not stand in for it.
        command.env_remove("SOFTHSM2_CONF");
        self.running = Some(child::spawn(command).map_err(self.failed("start"))?);
        Ok(())
    }

    /// An error when it has ended although nobody stopped it.
    pub(crate) fn check(&mut self) -> Result<(), LineError> {
        match &self.running {
            Some(running) if child::has_ended(running).map_err(self.failed("wait for"))? => {}
            _ => return Ok(()),
        }
        let Some(mut ended) = self.running.take() else { return Ok(()) };
        let status = child::kill_group(&mut ended).map_err(self.failed("wait for"))?;
        Err(self.ended(status))
    }

    /// Asks it to stop, and kills it when it has not done so within 35 seconds, which is an error.
    pub(crate) fn stop(&mut self) -> Result<(), LineError> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        match child::terminate_group(&mut running, STOP_PATIENCE).map_err(self.failed("stop"))? {
            Some(_) => Ok(()),
            None => Err(LineError::Stubborn { name: self.name, after: STOP_PATIENCE, log: self.log.clone() }),
        }
    }

    /// Kills it where it stands.
    pub(crate) fn kill(&mut self) -> Result<(), LineError> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        child::kill(&mut running).map(drop).map_err(self.failed("kill"))
    }

    /// Sends it `signal`; nothing when it does not run.
    pub fn signal(&mut self, signal: rustix::process::Signal) -> Result<(), LineError> {
        let Some(running) = self.running.as_mut() else { return Ok(()) };
        child::signal(running, signal).map_err(self.failed("signal"))
    }

    pub(crate) fn late(&self, after: Duration, last: String) -> LineError {
        LineError::Late { name: self.name, after, last, log: self.log.clone(), words: child::last_words(&self.log) }
    }

    fn wait_at_most(&mut self, most: Duration) -> Result<Option<ExitStatus>, LineError> {
        let Some(running) = self.running.as_mut() else { return Ok(None) };
        let ended = child::wait_at_most(running, most).map_err(self.failed("wait for"))?;
        if ended.is_some() {
            self.running = None;
        }
        Ok(ended)
    }

    fn ended(&self, status: ExitStatus) -> LineError {
        LineError::Ended { name: self.name, status, log: self.log.clone(), words: child::last_words(&self.log) }
    }

    fn failed(&self, act: &'static str) -> impl FnOnce(std::io::Error) -> LineError + use<> {
        let name = self.name;
        move |source| LineError::Process { act, name, source }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}
