//! BPF programs that are loaded, by the system call `bpf` (bpf(2), `linux/bpf.h`).

use crate::kernel::Program;
use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

const NEXT_ID: libc::c_long = 11;
const BY_ID: libc::c_long = 13;
const INFO: libc::c_long = 15;
/// Most programs that are listed.
const MOST: usize = 4_096;
/// Bytes of what is said of a program, up to and including its name.
const SAID: usize = 80;
const NAME: std::ops::Range<usize> = 64..80;

/// Long enough for each of these commands.
#[repr(C, align(8))]
struct Attributes([u32; 32]);

fn call(command: libc::c_long, attributes: &mut Attributes) -> io::Result<i32> {
    // SAFETY: the attributes live during the call and have this length; what they point to does, too.
    #[expect(unsafe_code, reason = "the standard library has no such call")]
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<Attributes>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(result).unwrap_or(0)) }
}

/// All that this process may see.
pub fn bpf_programs() -> io::Result<Vec<Program>> {
    let (mut programs, mut id) = (Vec::new(), 0);
    while programs.len() < MOST {
        let mut attributes = Attributes([0; 32]);
        attributes.0[0] = id;
        match call(NEXT_ID, &mut attributes) {
            Ok(_) => id = attributes.0[1],
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => break,
            Err(error) => return Err(error),
        }
        // It may be gone by now.
        if let Ok(program) = about(id) {
            programs.push(program);
        }
    }
    Ok(programs)
}

fn about(id: u32) -> io::Result<Program> {
    let mut attributes = Attributes([0; 32]);
    attributes.0[0] = id;
    let number = call(BY_ID, &mut attributes)?;
    // SAFETY: the call gave a new descriptor that nobody else owns.
    #[expect(unsafe_code, reason = "the standard library has no such call")]
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    let mut said = [0u8; SAID];
    let place = said.as_mut_ptr() as u64;
    let mut attributes = Attributes([0; 32]);
    attributes.0[0] = u32::try_from(descriptor.as_raw_fd()).unwrap_or(0);
    attributes.0[1] = SAID as u32;
    // Two words for a place in memory, in the byte order of this machine.
    let words: [u8; 8] = place.to_ne_bytes();
    attributes.0[2] = u32::from_ne_bytes([words[0], words[1], words[2], words[3]]);
    attributes.0[3] = u32::from_ne_bytes([words[4], words[5], words[6], words[7]]);
    call(INFO, &mut attributes)?;
    let kind = said.first_chunk::<4>().map_or(0, |word| u32::from_ne_bytes(*word));
    let name = said.get(NAME).unwrap_or_default();
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    Ok(Program { id, kind, name: String::from_utf8_lossy(&name[..end]).into_owned() })
}
