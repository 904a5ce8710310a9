//! Descriptors through unix sockets (SCM_RIGHTS, unix(7)).

use crate::error::{Errno, Result, check};
use crate::mount::owned;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// How many descriptors one message may carry here.
pub const MAX_DESCRIPTORS: usize = 16;

/// Sends bytes with descriptors. The bytes must not be empty.
///
/// # Errors
/// As sendmsg(2).
pub fn send_with_fds(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize> {
    let numbers: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control: &[ControlMessage<'_>] = if numbers.is_empty() { &[] } else { &rights };
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None)
}

/// Receives bytes and the descriptors that came with them, close-on-exec. No bytes: the peer has closed.
///
/// # Errors
/// As recvmsg(2); `EMSGSIZE` when more descriptors came than fit.
pub fn receive_with_fds(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    let mut control = nix::cmsg_space!([i32; MAX_DESCRIPTORS]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            for number in numbers {
                fds.push(owned(i64::from(number))?);
            }
        }
    }
    if message.flags.contains(MsgFlags::MSG_CTRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    Ok((message.bytes, fds))
}

/// How many bytes that were sent over a stream socket have not been read by the other end (unix(7), SIOCOUTQ): of a
/// unix socket, memory that the kernel still holds, which is more than the bytes.
///
/// # Errors
/// `EINVAL` for what is no socket.
pub fn unread_bytes(socket: BorrowedFd<'_>) -> Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ, which SIOCOUTQ is, writes one int.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    check(done.into())?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_pipe_travels() {
        let (a, b) = UnixStream::pair().unwrap();
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        send_with_fds(a.as_fd(), b"x", &[reader.as_fd()]).unwrap();
        let mut buffer = [0; 4];
        let (count, mut fds) = receive_with_fds(b.as_fd(), &mut buffer).unwrap();
        assert_eq!((count, fds.len()), (1, 1));
        let mut received = std::fs::File::from(fds.remove(0));
        writer.write_all(b"hello").unwrap();
        drop(writer);
        let mut text = String::new();
        received.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
    }
}
