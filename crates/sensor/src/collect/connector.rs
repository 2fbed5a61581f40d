//! Messages of the kernel's process connector (Linux, Documentation/driver-api/connector.rst, `linux/cn_proc.h`).
//!
//! Each processor numbers its messages, whatever they say: a gap is what was dropped. So no message is filtered before it
//! is counted. What must stay out: the socket, and looking a process up.

use super::next_datagram;
use std::collections::BTreeMap;

/// `PROC_EVENT_EXEC`: a process runs another program.
const EXEC: u32 = 2;
/// `PROC_EVENT_NONE`: the answer to a subscription, anybody's. Numbered as all others by every kernel that says which processor
/// it comes from.
const NONE: u32 = 0;
const NO_PROCESSOR: u32 = u32::MAX;
/// `CN_IDX_PROC` and `CN_VAL_PROC`.
const CHANNEL: (u32, u32) = (1, 1);

/// What a chunk of datagrams says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Processes that began to run another program, in the kernel's order a processor.
    pub execs: Vec<u32>,
    /// Datagrams that are no message of this connector.
    pub unreadable: u64,
    /// Messages that are missing between those of one processor.
    pub lost: u64,
    /// The kernel's answer to the subscription: 0, or an error number.
    pub answer: Option<u32>,
}

/// Reads a chunk; `last` is the number of each processor's last message.
pub fn read(mut chunk: &[u8], last: &mut BTreeMap<u32, u32>) -> Said {
    let mut said = Said::default();
    while let Some((datagram, rest)) = next_datagram(chunk) {
        chunk = rest;
        let Some(message) = message(datagram) else {
            said.unreadable += 1;
            continue;
        };
        if message.what == NONE {
            said.answer = Some(message.first);
            if message.processor == NO_PROCESSOR {
                continue;
            }
        }
        // No machine has so many: somebody else's message must not take memory.
        let room = last.len() < 8_192 || last.contains_key(&message.processor);
        if room && let Some(before) = last.insert(message.processor, message.number) {
            // Modulo 2^32, as the kernel counts. A number that goes back is another boot's or a liar's: nothing is known.
            let missing = message.number.wrapping_sub(before).wrapping_sub(1);
            said.lost += if missing < u32::MAX / 2 { u64::from(missing) } else { 0 };
        }
        if message.what == EXEC {
            // The second number is the process, the first one of its threads.
            said.execs.push(message.second);
        }
    }
    said
}

struct Message {
    number: u32,
    processor: u32,
    what: u32,
    /// The first two words of what it says: for an `exec` thread and process, for an answer the error.
    first: u32,
    second: u32,
}

/// `nlmsghdr` (16 bytes), `cn_msg` (20), `proc_event` (16 and what it says), all in this machine's byte order.
fn message(datagram: &[u8]) -> Option<Message> {
    let word = |at: usize| Some(u32::from_ne_bytes(*datagram.get(at..)?.first_chunk::<4>()?));
    let length = usize::try_from(word(0)?).ok()?;
    if length > datagram.len() || (word(16)?, word(20)?) != CHANNEL {
        return None;
    }
    let said = usize::from(u16::from_ne_bytes(*datagram.get(32..)?.first_chunk::<2>()?));
    if said < 24 || 36 + said > length {
        return None;
    }
    Some(Message { number: word(24)?, what: word(36)?, processor: word(40)?, first: word(52)?, second: word(56)? })
}

/// A message as the kernel would write it: for tests and the fuzzer.
pub fn sample(number: u32, processor: u32, what: u32, process: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [76, 3, 0, 0, CHANNEL.0, CHANNEL.1, number, 0] {
        bytes.extend_from_slice(&u32::to_ne_bytes(word));
    }
    bytes.extend_from_slice(&40u16.to_ne_bytes());
    bytes.extend_from_slice(&[0; 2]);
    for word in [what, processor, 0, 0, process, process, 0, 0, 0, 0] {
        bytes.extend_from_slice(&u32::to_ne_bytes(word));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::frame_datagram;

    fn chunk(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut chunk = Vec::new();
        messages.iter().for_each(|message| frame_datagram(&mut chunk, message));
        chunk
    }

    #[test]
    fn starts_are_found_and_gaps_are_counted_a_processor() {
        let mut last = BTreeMap::new();
        let messages =
            [sample(7, 0, EXEC, 100), sample(8, 0, 1, 5), sample(40, 1, EXEC, 101), sample(11, 0, EXEC, 102)];
        let said = read(&chunk(&messages), &mut last);
        assert_eq!(said, Said { execs: vec![100, 101, 102], unreadable: 0, lost: 2, answer: None });
        // What a collector before this one has read is known.
        let said = read(&chunk(&[sample(12, 0, EXEC, 103), sample(44, 1, EXEC, 104)]), &mut last);
        assert_eq!((said.execs, said.lost), (vec![103, 104], 3));
        assert_eq!(last, [(0, 12), (1, 44)].into());
        // The numbers begin again after the last.
        let mut last = [(0, u32::MAX)].into();
        assert_eq!(read(&chunk(&[sample(1, 0, EXEC, 1)]), &mut last).lost, 1);
    }

    #[test]
    fn what_is_no_message_is_counted_and_hides_nothing() {
        let mut last = BTreeMap::new();
        let mut other = sample(1, 0, EXEC, 1);
        other[16] = 9;
        let short = sample(1, 0, EXEC, 1)[..50].to_vec();
        let answers = [sample(4, 0, NONE, 1), sample(0, NO_PROCESSOR, NONE, 1)];
        let [numbered, without] = answers;
        let messages = [other, short, Vec::new(), sample(3, 0, 1, 5), numbered, without, sample(5, 0, EXEC, 7)];
        let said = read(&chunk(&messages), &mut last);
        assert_eq!((said.unreadable, said.answer, said.execs, said.lost), (3, Some(1), vec![7], 0));
        assert_eq!(read(&[1, 2], &mut last).unreadable, 1);
        assert_eq!(read(&[255, 255, 255, 255, 1], &mut last).unreadable, 1);
    }
}
