//! TCP and Unix sockets, alike.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
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

    /// Two adjacent ports of one address: tpm2-tss looks for the control channel one above the data channel. All of
    /// 127.0.0.0/8 is loopback, so that a random address is free of everybody's short-lived ports.
    pub(super) fn adjacent() -> io::Result<(SocketAddr, Self, Self)> {
        const ATTEMPTS: usize = 16;
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..ATTEMPTS {
            let [high, middle, low, ..] = RandomState::new().build_hasher().finish().to_be_bytes();
            let address = Ipv4Addr::new(127, high, middle, low.clamp(1, 254));
            let pair = TcpListener::bind((address, 0)).and_then(|data| {
                let next = data.local_addr()?.port().checked_add(1).ok_or(io::ErrorKind::AddrInUse)?;
                Ok((data.local_addr()?, Self::Tcp(data), Self::Tcp(TcpListener::bind((address, next))?)))
            });
            match pair {
                Ok(pair) => return Ok(pair),
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
