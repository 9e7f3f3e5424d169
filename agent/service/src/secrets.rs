//! Secrets come from files, plain or sealed by a TPM, or systemd credentials, live in [`SecretString`], and never reach a log, an error or a core dump.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
    sync::OnceLock,
};

use secrecy::SecretString;
use zeroize::Zeroizing;

/// Leads the name of a systemd credential: `credential:device-3.pin` is `$CREDENTIALS_DIRECTORY/device-3.pin`
/// (`LoadCredential=`, systemd.exec(5)).
const CREDENTIAL: &str = "credential:";

/// A PIN is some bytes, a token some hundreds; what is longer is another file, named by mistake.
const BYTES_MAX: u64 = 4096;

/// The tag of a file's PEM section that a TPM sealed.
pub const SEALED: &str = "TPM2 SEALED SECRET";

/// Opens a file with a secret that a TPM sealed; the error is one sentence.
pub type Unseal = fn(&Path) -> Result<SecretString, String>;

static UNSEAL: OnceLock<Unseal> = OnceLock::new();

/// Says who opens sealed secrets in this process; the first one stays. Without it they are refused.
pub fn unseal_with(unseal: Unseal) {
    // A second one would be the same.
    let _ = UNSEAL.set(unseal);
}

/// Why a secret could not be read. Never holds any of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file could not be read.
    #[error("could not read the secret in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing in it, or only a newline.
    #[error("the secret in {} is empty; write it there", .0.display())]
    Empty(PathBuf),
    /// Too long to be one.
    #[error("{} is longer than {BYTES_MAX} bytes, which no secret is; name the file that holds it", .0.display())]
    TooLong(PathBuf),
    /// Not UTF-8, or with control characters.
    #[error("the secret in {} is not text on one line; write it again", .0.display())]
    NotText(PathBuf),
    /// A TPM sealed it, and does not open it.
    #[error("the secret in {} is sealed: {problem}", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// What was wrong; what to do.
        problem: String,
    },
    /// Everybody on the machine may read it.
    #[error("every user may read the secret in {path}; run `chmod 600 {path}`, and change the secret", path = .0.display())]
    WorldReadable(PathBuf),
    /// A credential was named, but the process has none.
    #[error(
        "there is no credential {0:?}: CREDENTIALS_DIRECTORY is not set; start the process by its systemd unit, or name a file"
    )]
    NoCredentials(String),
    /// Not the name of a credential.
    #[error("{0:?} is not the name of a credential; name it without slashes")]
    CredentialName(String),
}

/// Reads a secret: the file's text without one trailing newline (`\n` or `\r\n`), or what the TPM that sealed the file gives.
///
/// A path whose last part is `credential:<name>` names a systemd credential: configuration readers that resolve
/// relative paths may put a directory before it.
///
/// # Errors
/// Names the file, and never quotes it.
pub fn read(path: &Path) -> Result<SecretString, SecretError> {
    match credential_name(path) {
        None => read_file(path),
        Some(name) => read_credential(&name, env::var_os("CREDENTIALS_DIRECTORY").as_deref()),
    }
}

fn credential_name(path: &Path) -> Option<String> {
    // The name begins where the prefix does: what follows may hold slashes, and is refused for them.
    let mut parts = path.components().skip_while(|part| !part.as_os_str().to_string_lossy().starts_with(CREDENTIAL));
    let first = parts.next()?.as_os_str().to_string_lossy().into_owned();
    let name = parts.fold(first, |name, part| format!("{name}/{}", part.as_os_str().to_string_lossy()));
    Some(name[CREDENTIAL.len()..].to_owned())
}

fn read_credential(name: &str, directory: Option<&OsStr>) -> Result<SecretString, SecretError> {
    let mut parts = Path::new(name).components();
    if !matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name) {
        return Err(SecretError::CredentialName(name.to_owned()));
    }
    match directory {
        Some(directory) if !directory.is_empty() => read_file(&Path::new(directory).join(name)),
        _ => Err(SecretError::NoCredentials(name.to_owned())),
    }
}

fn read_file(path: &Path) -> Result<SecretString, SecretError> {
    let failed = |source| SecretError::Read { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    // Of the open file: the name may lead elsewhere by now.
    if file.metadata().map_err(failed)?.mode() & 0o004 != 0 {
        return Err(SecretError::WorldReadable(path.to_owned()));
    }
    // The whole capacity at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES_MAX as usize + 1));
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(SecretError::TooLong(path.to_owned()));
    }
    let mut text = std::str::from_utf8(&bytes).map_err(|_| SecretError::NotText(path.to_owned()))?;
    if text.strip_prefix("-----BEGIN ").is_some_and(|text| text.starts_with(SEALED)) {
        let unseal = UNSEAL.get().ok_or_else(|| "this program has no TPM to open it with".to_owned());
        return unseal
            .and_then(|unseal| unseal(path))
            .map_err(|problem| SecretError::Sealed { path: path.to_owned(), problem });
    }
    text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(SecretError::Empty(path.to_owned()));
    }
    if text.chars().any(char::is_control) {
        return Err(SecretError::NotText(path.to_owned()));
    }
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests;
