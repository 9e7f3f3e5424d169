//! TCTI strings: how a TPM is reached.

use std::{path::PathBuf, str::FromStr as _};

use issuance::{Fault, FaultKind};
use tss_esapi::TctiNameConf;

/// How a TPM is reached.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tcti {
    /// As tss-esapi knows it.
    Known(TctiNameConf),
    /// swtpm on a Unix socket, which libtss2 knows and tss-esapi 7.7 does not: it would ignore `path=` and connect to
    /// whatever listens on its default port.
    SwtpmUnix(PathBuf),
}

impl Tcti {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let wrong = |problem: &str| {
            Fault::new(
                FaultKind::Misconfigured,
                format!(
                    "the TCTI {text:?} {problem}: use device:/dev/tpmrm0, swtpm:path=…, swtpm:host=…,port=…, mssim:… or \
                     tabrmd:…"
                ),
            )
        };
        let (name, configuration) = text.split_once(':').unwrap_or((text, ""));
        let known_keys: &[&str] = match name {
            "swtpm" => &["path", "host", "port"],
            "mssim" => &["host", "port"],
            "tabrmd" => &["bus_name", "bus_type"],
            "device" => &[],
            _ => return Err(wrong("is of no known kind")),
        };
        if name != "device" {
            for pair in configuration.split(',').filter(|pair| !pair.is_empty()) {
                let Some((key, value)) = pair.split_once('=') else { return Err(wrong("has a part without \"=\"")) };
                if !known_keys.contains(&key) {
                    return Err(wrong(&format!("has the unknown key {key:?}")));
                }
                if key == "path" {
                    return match (value, configuration.contains(',')) {
                        ("", _) => Err(wrong("has an empty path")),
                        (_, true) => Err(wrong("has a path and something beside it")),
                        _ => Ok(Self::SwtpmUnix(PathBuf::from(value))),
                    };
                }
            }
        }
        TctiNameConf::from_str(text).map(Self::Known).map_err(|error| wrong(&format!("is malformed ({error})")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each kind that is promised is understood, and a Unix socket is never mistaken for the default port.
    #[test]
    fn known_kinds_are_understood() {
        assert_eq!(Tcti::parse("swtpm:path=/run/x/socket").unwrap(), Tcti::SwtpmUnix("/run/x/socket".into()));
        for text in ["device:/dev/tpmrm0", "swtpm:host=127.0.0.1,port=2400", "mssim", "tabrmd:bus_type=system"] {
            assert!(matches!(Tcti::parse(text).unwrap(), Tcti::Known(_)), "{text}");
        }
    }

    /// What cannot work is refused with what is wrong, before anything is opened.
    #[test]
    fn mistakes_are_named() {
        for (text, problem) in [
            ("", "no known kind"),
            ("socket:/x", "no known kind"),
            ("swtpm:path=", "empty path"),
            ("swtpm:path=/x,port=1", "beside it"),
            ("swtpm:port=1,path=/x", "beside it"),
            ("swtpm:paht=/x", "\"paht\""),
            ("swtpm:/x", "without"),
            ("mssim:port=http", "malformed"),
        ] {
            let fault = Tcti::parse(text).unwrap_err();
            assert_eq!(fault.kind, FaultKind::Misconfigured);
            assert!(fault.act.contains(problem), "{text}: {fault}");
        }
    }
}
