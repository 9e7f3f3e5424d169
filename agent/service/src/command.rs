//! Commands of this program as a person types them, for messages that name one.

use std::{env, path::Path};

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
