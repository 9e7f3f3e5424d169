//! What the commands of a program share: how they print and end, how they call the running process, and how one is typed.

use std::{
    env,
    fmt::Display,
    fs,
    io::{Read as _, Write as _, stderr, stdin, stdout},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use tonic::{Status, transport::Channel};

use crate::{
    configuration::Table,
    in_full, status,
    tls::{self, TlsFiles},
};

/// Wrong usage or configuration.
pub const EXIT_CONFIGURATION: u8 = 2;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failed {
    /// The configuration, or what was typed; in words. Exit code 2.
    Usage(String),
    /// The running process said no, or did not answer. Exit code 1.
    Call(Box<Status>),
    /// It was not done, or not all of it; in words, if any are left to say. Exit code 1.
    Not(Option<String>),
    /// Whoever read the output has gone: nobody is left to be told of a failure. Exit code 0.
    NobodyReads,
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        Self::Call(Box::new(status))
    }
}

/// Prints a line; a closed pipe ends the command instead of breaking it.
///
/// # Errors
/// [`Failed::NobodyReads`].
pub fn say(line: impl Display) -> Result<(), Failed> {
    writeln!(stdout().lock(), "{line}").map_err(|_| Failed::NobodyReads)
}

/// The text of a file, or of standard input for `-`, without the space around it. No more than two octets beyond `most` are read:
/// one that is too long stays too long, for whoever takes it to say.
///
/// # Errors
/// It cannot be read, or is no UTF-8.
pub fn read(file: &Path, most: usize) -> Result<String, Failed> {
    let (mut text, most) = (String::new(), most as u64 + 2);
    let read = match file.as_os_str() == "-" {
        true => stdin().take(most).read_to_string(&mut text),
        false => fs::File::open(file).and_then(|opened| opened.take(most).read_to_string(&mut text)),
    };
    read.map_err(|error| Failed::Not(Some(format!("could not read {}: {error}", file.display()))))?;
    Ok(text.trim().to_owned())
}

/// Turns the end of a command of `program` into words on standard error and an exit code.
pub fn ended(program: &str, outcome: Result<(), Failed>) -> ExitCode {
    let (code, words) = match outcome {
        Ok(()) | Err(Failed::NobodyReads) => return ExitCode::SUCCESS,
        Err(Failed::Usage(words)) => (EXIT_CONFIGURATION, Some(words)),
        Err(Failed::Call(status)) => (1, Some(said(&status))),
        Err(Failed::Not(words)) => (1, words),
    };
    if let Some(words) = words {
        // That nobody reads it changes nothing.
        let _ = writeln!(stderr(), "{program}: {words}");
    }
    ExitCode::from(code)
}

/// What the other side said, with the reason that programs look for.
fn said(status: &Status) -> String {
    let words = status::in_full(status);
    match status::reason(status) {
        Some(reason) => format!("{words} ({reason})"),
        None => words,
    }
}

/// Runs a command that calls the running process.
pub fn block_on(program: &str, command: impl Future<Output = Result<(), Failed>>) -> ExitCode {
    let outcome = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => Err(Failed::Not(Some(error.to_string()))),
    };
    ended(program, outcome)
}

/// `[client]`: how a program's own commands call the running process.
#[derive(Debug, Clone)]
pub struct Client {
    /// `https://host:port`.
    pub endpoint: String,
    /// The client's certificate, key and trust.
    pub tls: TlsFiles,
}

impl Client {
    /// Reads it; `None` when something was missing or wrong, which was collected.
    #[must_use]
    pub fn from_table(table: &Table<'_>) -> Option<Self> {
        let endpoint = table.parsed("endpoint", |text| tls::check_endpoint(text).map(|()| text.to_owned()));
        let tls = TlsFiles::from_table(table);
        Some(Self { endpoint: endpoint?, tls: tls? })
    }

    /// A channel to the running process, as the configuration in `file` says.
    ///
    /// # Errors
    /// [`Failed::Usage`]: there is no `[client]`, or its files are not right.
    pub fn channel(configured: Option<&Self>, file: &Path) -> Result<Channel, Failed> {
        let Some(client) = configured else {
            let words = format!(
                "{}: there is no [client]: give endpoint, certificate, key and trust, so that this command can call the \
                 running process",
                file.display()
            );
            return Err(Failed::Usage(words));
        };
        let channel = tls::channel(&client.endpoint, &client.tls, CONNECT_TIMEOUT);
        channel.map_err(|error| Failed::Usage(in_full(&error)))
    }
}

/// This program with these arguments and its configuration file, such as
/// `/usr/bin/station-agent journal repair --config /etc/station-agent/station.toml`: as it stands it works in any directory.
pub fn as_typed(arguments: &[&str], configuration: &Path) -> String {
    let program = env::current_exe().ok();
    let program = program.as_deref().unwrap_or(Path::new("this program")).to_string_lossy();
    let configuration = std::path::absolute(configuration).unwrap_or_else(|_| configuration.to_owned());
    let words = [&program].map(|word| quoted(word)).into_iter();
    let words = words.chain(arguments.iter().map(|word| quoted(word)));
    let words = words.chain(["--config".to_owned(), quoted(&configuration.to_string_lossy())]);
    words.collect::<Vec<_>>().join(" ")
}

/// A word as a POSIX shell takes it (XCU 2.2.2).
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=:@%+,".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed is what a shell takes apart into the same words again: asked of the shell.
    #[test]
    fn a_shell_reads_the_same_words() {
        let odd = "it's a \"dir\" $HOME/*.toml";
        let typed = as_typed(&["journal", "repair", ""], Path::new("/").join(odd).as_path());
        let program = env::current_exe().unwrap().to_string_lossy().into_owned();
        let shown = std::process::Command::new("sh").args(["-c", &format!("printf '%s\\n' {typed}")]).output().unwrap();
        let words = String::from_utf8(shown.stdout).unwrap();
        assert_eq!(
            words.lines().collect::<Vec<_>>(),
            [&program, "journal", "repair", "", "--config", &format!("/{odd}")]
        );
    }
}
