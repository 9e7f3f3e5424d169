//! TCP and Unix sockets, alike.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
};

/// One connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        UnixStream::connect(path).map(Self::Unix)
    }

    pub(super) fn again(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
        }
    }

    /// Ends it for both sides, also for whoever waits on it now.
    pub(super) fn cut(&self) {
        // It may be cut already.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buffer),
            Self::Unix(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
        }
    }
}

/// Where connections come in.
#[derive(Debug)]
pub(super) enum Door {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Door {
    pub(super) fn unix(path: PathBuf) -> io::Result<Self> {
        UnixListener::bind(&path).map(|listener| Self::Unix(listener, path))
    }

    /// Two adjacent ports: tpm2-tss looks for the control channel one above the data channel.
    pub(super) fn adjacent() -> io::Result<(u16, Self, Self)> {
        const ATTEMPTS: usize = 64;
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..ATTEMPTS {
            let data = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = data.local_addr()?.port();
            let Some(next) = port.checked_add(1) else { continue };
            match TcpListener::bind((Ipv4Addr::LOCALHOST, next)) {
                Ok(control) => return Ok((port, Self::Tcp(data), Self::Tcp(control))),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(super) fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(listener, _) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
        }
    }

    /// Knocks, so that whoever waits for a connection looks up.
    pub(super) fn knock(&self) {
        // Nobody waits any more when this fails.
        let _ = match self {
            Self::Tcp(listener) => listener.local_addr().and_then(TcpStream::connect).map(Stream::Tcp),
            Self::Unix(_, path) => Stream::connect(path),
        };
    }
}
