//! What the supervisor and its processes say to each other over two pipes: `kind: u8`, `length: u32`, the bytes.

use std::io::{self, Read, Write};

/// Longest frame in bytes.
pub const LONGEST: usize = 32 << 20;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Precompiled code of the evaluator.
    Engine,
    /// A pack and a catalogue to load.
    Load,
    /// Records.
    Batch,
    /// The walls stand; what this machine lacks, as a JSON list of lines.
    Ready,
    /// The pack is loaded.
    Loaded,
    /// `staffel_pack::wire::Answer`.
    Answer,
    /// `engine::Trouble` as JSON; the process ends.
    Trouble,
    /// `collect::Ask` and bytes of a source.
    Chunk,
    /// `collect::Collected` and records.
    Records,
}

const KINDS: [Kind; 9] = [
    Kind::Engine,
    Kind::Load,
    Kind::Batch,
    Kind::Ready,
    Kind::Loaded,
    Kind::Answer,
    Kind::Trouble,
    Kind::Chunk,
    Kind::Records,
];

/// Writes a frame.
pub fn write(to: &mut impl Write, kind: Kind, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= LONGEST);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the frame is too long"))?;
    let mut head = [kind as u8; 5];
    head[1..].copy_from_slice(&length.to_le_bytes());
    to.write_all(&head)?;
    to.write_all(bytes)?;
    to.flush()
}

/// Reads a frame. None: the other side ended between two frames.
pub fn read(from: &mut impl Read) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut head = [0; 5];
    if from.read(&mut head[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..])?;
    let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let kind = *KINDS.get(usize::from(head[0])).ok_or_else(|| wrong("no such kind of frame"))?;
    let [_, length @ ..] = head;
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST {
        return Err(wrong("the frame is too long"));
    }
    let mut bytes = Vec::new();
    // Grows as bytes arrive: a length alone takes no memory.
    from.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some((kind, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_written_and_torn_ones_are_errors() {
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Batch, b"abc").expect("memory takes it");
        assert_eq!(read(&mut bytes.as_slice()).expect("it is whole"), Some((Kind::Batch, b"abc".to_vec())));
        assert_eq!(read(&mut [].as_slice()).expect("an end"), None);
        for cut in 1..bytes.len() {
            assert!(read(&mut &bytes[..cut]).is_err(), "{cut}");
        }
        assert!(read(&mut [KINDS.len() as u8, 0, 0, 0, 0].as_slice()).is_err());
        assert!(read(&mut [0, 255, 255, 255, 255].as_slice()).is_err());
    }
}
