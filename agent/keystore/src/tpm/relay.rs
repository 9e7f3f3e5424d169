//! A way to swtpm's Unix sockets for tss-esapi, which knows only its TCP ones.
//!
//! For as long as a connection to the TPM lives, two adjacent ports of a random loopback address lead to the data and the
//! control socket. This is for simulated devices: real ones are `device:`.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use rustix::event::{PollFd, PollFlags, poll};

/// A TPM command or response has at most 4096 bytes (TPM2_MAX_COMMAND_SIZE of tpm2-tss).
const BUFFER: usize = 4096;

/// The relay, until it is dropped.
#[derive(Debug)]
pub(super) struct Relay {
    address: Ipv4Addr,
    port: u16,
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Leads to swtpm's data socket `path` and its control socket `path.ctrl`. An error means that nobody listens there.
    pub(super) fn start(path: &Path) -> io::Result<Self> {
        let mut control_path = path.as_os_str().to_owned();
        control_path.push(".ctrl");
        let control_path = PathBuf::from(control_path);
        UnixStream::connect(&control_path)?;
        if !path.exists() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (address, data, control) = listen()?;
        let port = data.local_addr()?.port();
        let (stop, stopped) = UnixStream::pair()?;
        let doors = [(data, path.to_owned()), (control, control_path)];
        let thread = thread::Builder::new().name("swtpm-relay".into()).spawn(move || serve(&doors, &stopped))?;
        Ok(Self { address, port, stop, thread: Some(thread) })
    }

    /// The TCTI string that leads here.
    pub(super) fn tcti(&self) -> String {
        format!("swtpm:host={},port={}", self.address, self.port)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.stop.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Two adjacent ports of one address. All of 127.0.0.0/8 is loopback, so that a random address is free but by bad luck.
fn listen() -> io::Result<(Ipv4Addr, TcpListener, TcpListener)> {
    const ATTEMPTS: usize = 16;
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..ATTEMPTS {
        let mut octets = [0; 3];
        aws_lc_rs::rand::fill(&mut octets).map_err(|_| io::Error::other("no random numbers"))?;
        let address = Ipv4Addr::new(127, octets[0], octets[1], octets[2].clamp(1, 254));
        let pair = TcpListener::bind((address, 0)).and_then(|data| {
            let next = data.local_addr()?.port().checked_add(1).ok_or(io::ErrorKind::AddrInUse)?;
            Ok((data, TcpListener::bind((address, next))?))
        });
        match pair {
            Ok((data, control)) => return Ok((address, data, control)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

struct Bridge {
    near: TcpStream,
    far: UnixStream,
}

/// One thread for everything: the TCTI has one command under way, on a connection of its own each.
fn serve(doors: &[(TcpListener, PathBuf); 2], stopped: &UnixStream) {
    let mut bridges: Vec<Bridge> = Vec::new();
    loop {
        let ready = {
            let watched: Vec<BorrowedFd<'_>> = [stopped.as_fd(), doors[0].0.as_fd(), doors[1].0.as_fd()]
                .into_iter()
                .chain(bridges.iter().flat_map(|bridge| [bridge.near.as_fd(), bridge.far.as_fd()]))
                .collect();
            let mut polled: Vec<PollFd<'_>> =
                watched.iter().map(|descriptor| PollFd::new(descriptor, PollFlags::IN)).collect();
            match poll(&mut polled, None) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return,
                Ok(_) => {}
            }
            polled.iter().map(|polled| !polled.revents().is_empty()).collect::<Vec<bool>>()
        };
        if ready[0] {
            return;
        }
        let mut sides = ready[3..].chunks_exact(2);
        bridges.retain_mut(|bridge| match sides.next() {
            Some([near, far]) => {
                (!near || pass(&mut bridge.near, &mut bridge.far)) && (!far || pass(&mut bridge.far, &mut bridge.near))
            }
            _ => true,
        });
        for (door, knocked) in doors.iter().zip(&ready[1..3]) {
            if *knocked && let Ok(bridge) = open(door) {
                bridges.push(bridge);
            }
        }
    }
}

fn open((listener, path): &(TcpListener, PathBuf)) -> io::Result<Bridge> {
    let (near, _) = listener.accept()?;
    near.set_nodelay(true)?;
    // When this fails, `near` is closed, and the TCTI reports the lost link.
    let far = UnixStream::connect(path)?;
    Ok(Bridge { near, far })
}

/// Passes what is there; false when this side has ended.
fn pass(from: &mut impl Read, to: &mut impl Write) -> bool {
    let mut buffer = [0; BUFFER];
    match from.read(&mut buffer) {
        Ok(0) | Err(_) => false,
        Ok(count) => to.write_all(&buffer[..count]).is_ok(),
    }
}
