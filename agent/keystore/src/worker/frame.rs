//! Frames: four octets of length, big-endian, then postcard.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

/// How long a frame may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(usize);

impl Limit {
    /// Paths, a PIN of at most 255 octets, and the serial numbers of rejected tokens.
    pub const SETTINGS: Self = Self(64 << 10);
    /// A batch of a CA is a few hundred requests of a few KiB each; 16 MiB bound what a broken peer makes us allocate.
    pub const CALL: Self = Self(16 << 20);

    /// In octets.
    #[must_use]
    pub const fn octets(self) -> usize {
        self.0
    }
}

/// A value as one frame. Nothing of it is left in memory when it is dropped: it may hold a PIN.
///
/// # Errors
/// It is longer than the limit.
pub fn encode(value: &impl Serialize, limit: Limit) -> io::Result<Zeroizing<Vec<u8>>> {
    const HEADER: usize = 4;
    let size = postcard::experimental::serialized_size(value).map_err(invalid)?;
    if size > limit.0 {
        return Err(invalid(format!("a message of {size} bytes is over the limit of {}", limit.0)));
    }
    // Of the right size from the start: a buffer that grew would leave copies behind.
    let mut frame = Zeroizing::new(vec![0; HEADER + size]);
    // A limit is below 2^32.
    frame[..HEADER].copy_from_slice(&(size as u32).to_be_bytes());
    postcard::to_slice(value, &mut frame[HEADER..]).map_err(invalid)?;
    Ok(frame)
}

/// A frame's content as a value.
///
/// # Errors
/// The content is no such value, or has octets left over.
pub fn decode<T: DeserializeOwned>(content: &[u8]) -> io::Result<T> {
    match postcard::take_from_bytes(content).map_err(invalid)? {
        (value, []) => Ok(value),
        (_, rest) => Err(invalid(format!("{} bytes too many", rest.len()))),
    }
}

/// Sends a frame.
///
/// # Errors
/// `TimedOut` at the deadline, and what the socket says.
pub fn send(stream: &UnixStream, frame: &[u8], deadline: Option<Instant>) -> io::Result<()> {
    let mut rest = frame;
    while !rest.is_empty() {
        stream.set_write_timeout(left(deadline)?)?;
        match (&mut &*stream).write(rest) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => rest = &rest[count..],
            Err(error) => pass_over(error)?,
        }
    }
    Ok(())
}

/// Receives a frame's content; `None` when the peer has ended before one.
///
/// # Errors
/// `TimedOut` at the deadline, a frame that is longer than the limit, and what the socket says.
pub fn receive(stream: &UnixStream, limit: Limit, deadline: Option<Instant>) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut header = [0; 4];
    if !fill(stream, &mut header, deadline)? {
        return Ok(None);
    }
    let size = usize::try_from(u32::from_be_bytes(header)).map_err(invalid)?;
    if size > limit.0 {
        return Err(invalid(format!("a frame of {size} bytes is over the limit of {}", limit.0)));
    }
    let mut content = Zeroizing::new(vec![0; size]);
    match fill(stream, &mut content, deadline)? || size == 0 {
        true => Ok(Some(content)),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Fills a buffer; false when the peer ended before its first octet.
fn fill(stream: &UnixStream, buffer: &mut [u8], deadline: Option<Instant>) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        stream.set_read_timeout(left(deadline)?)?;
        match (&mut &*stream).read(&mut buffer[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) => pass_over(error)?,
        }
    }
    Ok(filled > 0)
}

/// What is left until the deadline; never zero, which would mean for ever.
fn left(deadline: Option<Instant>) -> io::Result<Option<Duration>> {
    match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
        Some(Duration::ZERO) => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

/// An interruption or a time-out of the system call: the deadline decides.
fn pass_over(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(()),
        _ => Err(error),
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is sent arrives, empty and long, and an end between frames is no error.
    #[test]
    fn frames_arrive() {
        let (near, far) = UnixStream::pair().unwrap();
        let sent = [vec![], vec![7_u8; 3_000_000]];
        let sender = std::thread::spawn({
            let sent = sent.clone();
            move || sent.iter().for_each(|value| send(&near, &encode(value, Limit::CALL).unwrap(), None).unwrap())
        });
        for value in sent {
            let content = receive(&far, Limit::CALL, None).unwrap().unwrap();
            assert_eq!(decode::<Vec<u8>>(&content).unwrap(), value);
        }
        sender.join().unwrap();
        assert!(receive(&far, Limit::CALL, None).unwrap().is_none());
    }

    /// A peer that announces too much, ends in the middle or sends too much in one frame is refused.
    #[test]
    fn broken_frames_are_refused() {
        let refused = |octets: &[u8]| {
            let (mut near, far) = UnixStream::pair().unwrap();
            near.write_all(octets).unwrap();
            drop(near);
            receive(&far, Limit::SETTINGS, None).unwrap_err().kind()
        };
        assert_eq!(refused(&[0xFF; 4]), io::ErrorKind::InvalidData);
        assert_eq!(refused(&[0, 0]), io::ErrorKind::UnexpectedEof);
        assert_eq!(refused(&[0, 0, 0, 2, 1]), io::ErrorKind::UnexpectedEof);
        assert_eq!(decode::<u8>(&[1, 2]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(encode(&vec![0_u8; 70_000], Limit::SETTINGS).is_err());
    }

    /// Neither a peer that says nothing nor one that takes nothing holds us past the deadline.
    #[test]
    fn deadlines_hold() {
        let (near, _far) = UnixStream::pair().unwrap();
        let soon = || Some(Instant::now() + Duration::from_millis(30));
        assert_eq!(receive(&near, Limit::CALL, soon()).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(send(&near, &vec![0; 4 << 20], soon()).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
