//! The conversation with the test.

use std::{
    cell::RefCell,
    env,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
};

use cryptoki_sys::{CK_FLAGS, CK_RV, CKR_GENERAL_ERROR, CKR_OK};

const SOCKET: &str = "FAULT_MODULE_CONTROL";

/// What is done with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    Return(CK_RV),
    After(CK_RV),
    Flags(CK_FLAGS),
    Abort,
    AbortAfter,
}

/// Does `call`, or what the test wants instead.
pub(crate) fn judge(function: &str, call: impl FnOnce() -> CK_RV) -> CK_RV {
    judge_flags(function, call, |_| {})
}

/// The same for a call that tells flags: `add` adds those that the test wants.
pub(crate) fn judge_flags(function: &str, call: impl FnOnce() -> CK_RV, add: impl FnOnce(CK_FLAGS)) -> CK_RV {
    match ask(function) {
        Ok(Verdict::Pass) => call(),
        Ok(Verdict::Flags(flags)) => {
            let code = call();
            if code == CKR_OK {
                add(flags);
            }
            code
        }
        Ok(Verdict::Return(code)) => code,
        Ok(Verdict::After(code)) => {
            call();
            code
        }
        Ok(Verdict::Abort) => std::process::abort(),
        Ok(Verdict::AbortAfter) => {
            call();
            std::process::abort()
        }
        Err(error) => {
            eprintln!("fault module: could not ask about {function}: {error}");
            CKR_GENERAL_ERROR
        }
    }
}

fn ask(function: &str) -> io::Result<Verdict> {
    thread_local! {
        // One for each thread: a call that takes long keeps no other session's waiting.
        static TEST: RefCell<Option<BufReader<UnixStream>>> = const { RefCell::new(None) };
    }
    TEST.with_borrow_mut(|test| {
        let conversation = match test {
            Some(conversation) => conversation,
            none => {
                let path = env::var_os(SOCKET).ok_or_else(|| io::Error::other(format!("{SOCKET} is not set")))?;
                none.insert(BufReader::new(UnixStream::connect(path)?))
            }
        };
        conversation.get_mut().write_all(format!("{function}\n").as_bytes())?;
        let mut line = String::new();
        conversation.read_line(&mut line)?;
        parse(line.trim_end()).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("the answer {line:?}")))
    })
}

fn parse(line: &str) -> Option<Verdict> {
    Some(match line.split_once(' ') {
        None if line == "pass" => Verdict::Pass,
        None if line == "abort" => Verdict::Abort,
        None if line == "abort-after" => Verdict::AbortAfter,
        Some(("return", code)) => Verdict::Return(code.parse().ok()?),
        Some(("flags", flags)) => Verdict::Flags(flags.parse().ok()?),
        Some(("after", code)) => Verdict::After(code.parse().ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each answer is understood, and anything else is none, never a call that passes.
    #[test]
    fn answers_are_understood() {
        assert_eq!(parse("pass"), Some(Verdict::Pass));
        assert_eq!(parse("return 50"), Some(Verdict::Return(50)));
        assert_eq!(parse("after 48"), Some(Verdict::After(48)));
        assert_eq!(parse("flags 65536"), Some(Verdict::Flags(65_536)));
        assert_eq!(parse("abort"), Some(Verdict::Abort));
        assert_eq!(parse("abort-after"), Some(Verdict::AbortAfter));
        for line in ["", "passed", "return", "return x", "return -1", "after 1 2"] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }
}
