//! A connection between two processes: lines, and descriptors that come with them.

use super::message::Say;
use rustix::{
    cmsg_space,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::Shutdown,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

/// The longest line.
const MAX_LINE: usize = 64 * 1024;

/// Descriptors that may have come and not be taken yet; each line has one at most.
const MAX_DESCRIPTORS: usize = 64;

/// For a line to be taken by a peer that does not read.
const WRITE: Duration = Duration::from_secs(2);

/// One end.
#[derive(Debug)]
pub(super) struct Wire {
    stream: UnixStream,
    /// Received and not yet taken.
    bytes: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Wire {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(WRITE))?;
        Ok(Self { stream, bytes: Vec::new(), descriptors: VecDeque::new() })
    }

    /// Another handle of the same end, to say something while somebody listens at this one.
    pub(super) fn speaker(&self) -> io::Result<Self> {
        Self::new(self.stream.try_clone()?)
    }

    /// Ends the connection, whoever else has a handle of it.
    pub(super) fn hang_up(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Whether the other end is this user's, or root's.
    #[cfg(target_os = "linux")]
    pub(super) fn is_trusted(&self) -> io::Result<bool> {
        let peer = rustix::net::sockopt::socket_peercred(&self.stream)?;
        Ok(peer.uid == rustix::process::geteuid() || peer.uid.is_root())
    }

    /// Elsewhere the socket's mode alone says who may connect.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn is_trusted(&self) -> io::Result<bool> {
        Ok(true)
    }

    pub(super) fn say(&self, say: &Say) -> io::Result<()> {
        self.send(say, None)
    }

    /// The same with a descriptor.
    pub(super) fn hand(&self, say: &Say, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        self.send(say, Some(descriptor))
    }

    fn send(&self, say: &Say, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut line = serde_json::to_vec(say)?;
        line.push(b'\n');
        let one;
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if let Some(descriptor) = descriptor {
            one = [descriptor];
            ancillary.push(SendAncillaryMessage::ScmRights(&one));
        }
        let mut sent = 0;
        while sent < line.len() {
            let bytes = [IoSlice::new(&line[sent..])];
            match sendmsg(&self.stream, &bytes, &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(more) => sent += more,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            // It went with the first byte.
            ancillary.clear();
        }
        Ok(())
    }

    /// The next line, within `limit` if there is one.
    ///
    /// # Errors
    /// [`is_gone`] when the other end is; `TimedOut`; `InvalidData` when it makes no sense.
    pub(super) fn hear(&mut self, limit: Option<Duration>) -> io::Result<Say> {
        let end = limit.map(|limit| Instant::now() + limit);
        loop {
            if let Some(at) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=at).collect();
                return serde_json::from_slice(&line).map_err(io::Error::from);
            }
            if self.bytes.len() >= MAX_LINE || self.descriptors.len() > MAX_DESCRIPTORS {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "too much at once"));
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
            }
            self.stream.set_read_timeout(left)?;
            self.receive()?;
        }
    }

    /// The descriptor that came with the line that was heard last; call it for each that has one.
    pub(super) fn descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(4))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut bytes)];
        let received =
            match recvmsg(&self.stream, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => received,
                // The time is over; whoever waits knows.
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a descriptor was lost"));
        }
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.bytes.extend_from_slice(&bytes[..received.bytes]);
        Ok(())
    }
}

/// Whether `error` says that the other process has ended, or wants no more of this.
pub(super) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected | UnexpectedEof)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::{io::Write as _, net::TcpListener, os::fd::AsFd as _};

    fn pair() -> (Wire, Wire) {
        let (a, b) = UnixStream::pair().unwrap();
        (Wire::new(a).unwrap(), Wire::new(b).unwrap())
    }

    const MOMENT: Option<Duration> = Some(Duration::from_millis(20));

    #[test]
    fn descriptors_come_with_their_lines() {
        let (one, mut other) = pair();
        let sockets: Vec<_> = (0..40).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let sent = sockets.clone_all();
        // More than the other end has room for at once: it has to be read meanwhile.
        let thread = std::thread::spawn(move || {
            one.say(&Say::Released).unwrap();
            for socket in &sent {
                let address = socket.local_addr().unwrap();
                let say = Say::Socket { name: "x".repeat(300), address, activated: false };
                one.hand(&say, socket.as_fd()).unwrap();
            }
            one.say(&Say::Draining).unwrap();
            one
        });
        assert_eq!(other.hear(None).unwrap(), Say::Released);
        for socket in &sockets {
            let Say::Socket { address, .. } = other.hear(None).unwrap() else {
                panic!("no socket")
            };
            let received = TcpListener::from(other.descriptor().unwrap());
            assert_eq!(received.local_addr().unwrap(), address);
            assert_eq!(address, socket.local_addr().unwrap());
        }
        assert_eq!(other.hear(None).unwrap(), Say::Draining);
        drop(thread.join().unwrap());
        assert!(is_gone(&other.hear(None).unwrap_err()));
        assert!(is_gone(&other.say(&Say::Farewell).unwrap_err()));
    }

    trait CloneAll {
        fn clone_all(&self) -> Self;
    }

    impl CloneAll for Vec<TcpListener> {
        fn clone_all(&self) -> Self {
            self.iter().map(|one| one.try_clone().unwrap()).collect()
        }
    }

    #[test]
    fn silence_ends() {
        let (one, mut other) = pair();
        assert_eq!(other.hear(MOMENT).unwrap_err().kind(), io::ErrorKind::TimedOut);
        // Half a line is no answer either.
        (&one.stream).write_all(b"{\"say\":").unwrap();
        assert_eq!(other.hear(MOMENT).unwrap_err().kind(), io::ErrorKind::TimedOut);
        (&one.stream).write_all(b"\"farewell\",\"more\":[1]}\n").unwrap();
        assert_eq!(other.hear(MOMENT).unwrap(), Say::Farewell);
    }

    #[test]
    fn nonsense_is_refused() {
        let (one, mut other) = pair();
        (&one.stream).write_all(b"GET / HTTP/1.1\r\n").unwrap();
        assert_eq!(other.hear(MOMENT).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let endless = vec![b'x'; MAX_LINE + 1];
        let thread = std::thread::spawn(move || drop((&one.stream).write_all(&endless)));
        assert_eq!(other.hear(None).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(other);
        thread.join().unwrap();
    }

    #[test]
    fn this_user_is_trusted() {
        assert!(pair().0.is_trusted().unwrap());
    }
}
