//! The socket of the kernel's process connector. Since Linux 6.6 anybody may listen; before, it takes CAP_NET_ADMIN once,
//! when the socket is opened. What must stay out: what the messages say.

use crate::collect::{connector, frame_datagram};
use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

/// Bytes that the kernel should keep for us while we are busy; it may give less.
const KEPT: libc::c_int = 8 << 20;
/// How long the kernel may take to answer a subscription.
const PATIENCE: Duration = Duration::from_secs(1);
/// Largest chunk in bytes.
const CHUNK: usize = 64 << 10;
/// The group of process events: `CN_IDX_PROC`.
const GROUP: u32 = 1;

/// An open subscription.
pub struct Connector {
    socket: OwnedFd,
    /// Read before the kernel's answer was.
    first: Vec<u8>,
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn set(socket: &OwnedFd, option: libc::c_int, value: *const libc::c_void, length: usize) -> io::Result<()> {
    // SAFETY: the caller's value lives during the call and has this length.
    #[expect(unsafe_code, reason = "no safe call sets an option of a netlink socket")]
    let done =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, length as libc::socklen_t) };
    checked(done).map(drop)
}

fn patience(socket: &OwnedFd, time: Duration) -> io::Result<()> {
    let time = libc::timeval { tv_sec: time.as_secs() as libc::time_t, tv_usec: 0 };
    set(socket, libc::SO_RCVTIMEO, (&raw const time).cast(), size_of::<libc::timeval>())
}

/// Subscribes to the starts of programs.
pub fn subscribe() -> io::Result<Connector> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: a new descriptor that nobody else owns, or an error.
    #[expect(unsafe_code, reason = "the standard library has no netlink sockets")]
    let socket = unsafe {
        let number = checked(libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_CONNECTOR))?;
        OwnedFd::from_raw_fd(number)
    };
    let kept = KEPT;
    let kept: *const libc::c_void = (&raw const kept).cast();
    // The first takes a capability and goes beyond the machine's limit. A smaller buffer loses more, and that is counted.
    let _ = set(&socket, libc::SO_RCVBUFFORCE, kept, size_of::<libc::c_int>())
        .or_else(|_| set(&socket, libc::SO_RCVBUF, kept, size_of::<libc::c_int>()));
    // SAFETY: all zeros is an address without a family.
    #[expect(unsafe_code, reason = "this structure has private padding and no constructor")]
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    (address.nl_family, address.nl_groups) = (libc::AF_NETLINK as libc::sa_family_t, GROUP);
    let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: the address lives during the call and has this length.
    #[expect(unsafe_code, reason = "the standard library has no netlink sockets")]
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    checked(bound)?;

    // `nlmsghdr`, `cn_msg`, `PROC_CN_MCAST_LISTEN`.
    let mut message = Vec::new();
    for word in [40, 3, 0, 0, GROUP, 1, 0, 0] {
        message.extend_from_slice(&u32::to_ne_bytes(word));
    }
    message.extend_from_slice(&4u16.to_ne_bytes());
    message.extend_from_slice(&[0; 2]);
    message.extend_from_slice(&u32::to_ne_bytes(1));
    // SAFETY: the message lives during the call and has this length.
    #[expect(unsafe_code, reason = "the standard library has no netlink sockets")]
    let sent = unsafe { libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
    checked(sent as libc::c_int)?;

    // In a container the kernel takes the message and says nothing, ever.
    let mut connector = Connector { socket, first: Vec::new() };
    patience(&connector.socket, PATIENCE)?;
    let begun = Instant::now();
    loop {
        let chunk = connector.read()?;
        let said = connector::read(&chunk, &mut BTreeMap::new());
        connector.first.extend(chunk);
        match said.answer {
            Some(0) => break,
            Some(error) => return Err(io::Error::from_raw_os_error(i32::try_from(error).unwrap_or(libc::EPERM))),
            None if begun.elapsed() > PATIENCE => return Err(io::ErrorKind::TimedOut.into()),
            None => {}
        }
    }
    // None is for ever.
    patience(&connector.socket, Duration::ZERO)?;
    Ok(connector)
}

impl Connector {
    /// Waits for messages; all that there are, up to a limit, each framed. What the kernel had to drop shows in their numbers.
    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        if !self.first.is_empty() {
            return Ok(std::mem::take(&mut self.first));
        }
        let (mut chunk, mut buffer, mut flags) = (Vec::new(), [0u8; 4_096], 0);
        while chunk.len() < CHUNK {
            // SAFETY: all zeros is an address without a family.
            #[expect(unsafe_code, reason = "this structure has private padding and no constructor")]
            let mut from: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
            let mut length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
            // SAFETY: buffer and address live during the call and have these lengths.
            #[expect(unsafe_code, reason = "the standard library has no netlink sockets")]
            let read = unsafe {
                let (to, who) = (buffer.as_mut_ptr().cast(), (&raw mut from).cast());
                libc::recvfrom(self.socket.as_raw_fd(), to, buffer.len(), flags, who, &raw mut length)
            };
            match usize::try_from(read) {
                // Only the kernel is 0: whoever else writes here is not heard.
                Ok(read) if from.nl_pid == 0 => frame_datagram(&mut chunk, &buffer[..read.min(buffer.len())]),
                Ok(_) => {}
                Err(_) => {
                    let error = io::Error::last_os_error();
                    match error.raw_os_error() {
                        Some(libc::ENOBUFS | libc::EINTR) => continue,
                        Some(libc::EAGAIN) if !chunk.is_empty() => break,
                        _ => return Err(error),
                    }
                }
            }
            flags = libc::MSG_DONTWAIT;
        }
        Ok(chunk)
    }
}
