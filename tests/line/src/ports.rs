//! Ports on 127.0.0.1 that nobody listens on.

use std::{io, net::TcpListener};

use crate::LineError;

/// How many ports after the wished one are tried.
const NEXT_MOST: u16 = 100;

/// A port that nobody listens on now. Somebody may take it before we do: whoever uses it must be ready to ask again.
pub(crate) fn free() -> Result<u16, LineError> {
    let bound = || TcpListener::bind(("127.0.0.1", 0))?.local_addr();
    bound().map(|address| address.port()).map_err(LineError::NoPort)
}

/// `wished`, or the next port after it that nobody listens on.
pub(crate) fn free_from(wished: u16) -> Result<u16, LineError> {
    let candidates = wished..=wished.saturating_add(NEXT_MOST);
    candidates.into_iter().find(|port| is_free(*port)).map_or_else(free, Ok)
}

/// Whether nobody listens on `port`.
pub(crate) fn is_free(port: u16) -> bool {
    match TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::AddrInUse && error.kind() != io::ErrorKind::PermissionDenied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port in use is passed over for one after it.
    #[test]
    fn the_next_port_is_taken() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(!is_free(port));
        assert_ne!(free_from(port).unwrap(), port);
    }
}
