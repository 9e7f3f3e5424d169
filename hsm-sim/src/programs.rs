//! The programs and the library that the simulation is made of, and how they are run.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{SimError, child};

/// Where programs are that a user's PATH may not have.
const SYSTEM_DIRECTORIES: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"];
/// Where distributions put SoftHSM's module.
const SOFTHSM_MODULES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// The program's path; [`SimError::Missing`] names `package` when there is none.
pub fn find(program: &'static str, package: &'static str) -> Result<PathBuf, SimError> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(SYSTEM_DIRECTORIES.map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| is_executable(file))
        .ok_or(SimError::Missing { program, package })
}

/// SoftHSM's PKCS#11 module.
pub fn softhsm_module() -> Result<PathBuf, SimError> {
    let missing = SimError::Missing { program: "libsofthsm2.so", package: "libsofthsm2" };
    SOFTHSM_MODULES.map(PathBuf::from).into_iter().find(|file| file.is_file()).ok_or(missing)
}

/// Runs `command` to its end with its output added to `log`; its failure, or `most` having passed, is an error with its
/// last words.
pub(crate) fn run(mut command: Command, log: &Path, most: Duration) -> Result<(), SimError> {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    send_output_to(&mut command, log)?;
    let failed = |source| SimError::Run { program: program.clone(), source };
    let mut running = child::spawn(command).map_err(failed)?;
    match child::wait_at_most(&mut running, most).map_err(failed)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => {
            let words = child::last_words(log);
            Err(SimError::Failed { program, status: status.to_string(), log: None, words })
        }
        None => {
            child::kill_group(&mut running).map_err(failed)?;
            Err(SimError::Late { program, after: most, words: child::last_words(log) })
        }
    }
}

/// No input, and all output at the end of `log`.
pub(crate) fn send_output_to(command: &mut Command, log: &Path) -> Result<(), SimError> {
    let open = || fs::OpenOptions::new().append(true).create(true).open(log);
    let file = open().map_err(SimError::io("open", log))?;
    let again = file.try_clone().map_err(SimError::io("open", log))?;
    command.stdin(Stdio::null()).stdout(file).stderr(again);
    Ok(())
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A missing program's error says which package to install.
    #[test]
    fn a_missing_program_names_its_package() {
        let error = find("no-such-program-here", "its-package").unwrap_err().to_string();
        assert!(error.contains("no-such-program-here") && error.contains("its-package"), "{error}");
    }

    /// A program that fails is an error with what it said.
    #[test]
    fn a_failing_program_is_heard() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo the reason; exit 3"]);
        let error = run(command, &directory.path().join("log"), Duration::from_secs(10)).unwrap_err().to_string();
        assert!(error.contains("the reason") && error.contains('3'), "{error}");
    }
}
