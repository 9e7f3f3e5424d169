//! Commands and responses of a TPM, as they lie on the wire (TPM 2.0 part 1, 18).

use std::io::{self, Read};

/// Tag, size, and command or response code.
pub(super) const HEADER: usize = 10;
/// More than any TPM takes; what is longer is not TPM 2.0.
const MOST: usize = 64 << 10;
/// TPM_ST_NO_SESSIONS.
const NO_SESSIONS: u16 = 0x8001;

/// One whole command or response; `None` when the other side ended before it began one.
pub(super) fn read(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut frame = vec![0; HEADER];
    if from.read(&mut frame[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut frame[1..])?;
    let size = usize::try_from(number(&frame, 2)).unwrap_or(MOST);
    if !(HEADER..MOST).contains(&size) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {size} bytes")));
    }
    frame.resize(size, 0);
    from.read_exact(&mut frame[HEADER..])?;
    Ok(Some(frame))
}

/// The command or response code of a whole frame.
pub(super) fn code(frame: &[u8]) -> u32 {
    number(frame, 6)
}

/// A response that says `code` and nothing else.
pub(super) fn response(code: u32) -> Vec<u8> {
    [&NO_SESSIONS.to_be_bytes()[..], &(HEADER as u32).to_be_bytes(), &code.to_be_bytes()].concat()
}

fn number(frame: &[u8], at: usize) -> u32 {
    frame.get(at..at + 4).and_then(|octets| octets.try_into().ok()).map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames are cut where they say they end, an end between two is no error, an end within one and nonsense are.
    #[test]
    fn frames_end_where_they_say() {
        let bytes = [response(0x922), response(0)].concat();
        let mut wire = &bytes[..];
        assert_eq!(read(&mut wire).unwrap().map(|frame| code(&frame)), Some(0x922));
        assert_eq!(read(&mut wire).unwrap().map(|frame| code(&frame)), Some(0));
        assert_eq!(read(&mut wire).unwrap(), None);
        assert!(read(&mut &bytes[..5]).is_err());
        assert!(read(&mut &[0xFF; 20][..]).is_err());
    }
}
