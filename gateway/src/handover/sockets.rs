//! Sockets that listened before this process began, and which listeners they are for.

use crate::edge::{self, Bound};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

/// Sockets that are still to be matched.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    unmatched: Vec<Found>,
    /// Of the running process's, those that a listener has.
    kept: Vec<SocketAddr>,
}

#[derive(Debug)]
struct Found {
    /// Of the listener that had it, if somebody says.
    name: Option<String>,
    address: SocketAddr,
    activated: bool,
    socket: TcpListener,
    /// Of the running process, rather than of the service manager.
    inherited: bool,
}

impl Sockets {
    /// Adds one that the running process has.
    ///
    /// # Errors
    /// When it is no socket that listens.
    pub(super) fn inherit(
        &mut self,
        name: String,
        activated: bool,
        socket: TcpListener,
    ) -> io::Result<()> {
        self.add(Some(name), activated, true, socket)
    }

    /// Adds one that the service manager has.
    ///
    /// # Errors
    /// When it is no socket that listens.
    pub(crate) fn activate(&mut self, name: Option<String>, socket: TcpListener) -> io::Result<()> {
        self.add(name, true, false, socket)
    }

    fn add(
        &mut self,
        name: Option<String>,
        activated: bool,
        inherited: bool,
        socket: TcpListener,
    ) -> io::Result<()> {
        let address = socket.local_addr()?;
        if !rustix::net::sockopt::socket_acceptconn(&socket)? {
            return Err(io::Error::other(format!("the socket of {address} does not listen")));
        }
        self.unmatched.push(Found { name, address, activated, socket, inherited });
        Ok(())
    }

    /// The socket for the listener `name` at `address`: the one that is there already, or a new one.
    /// Port 0 is any port that a listener of that name had.
    ///
    /// # Errors
    /// When the system refuses; the message names the address.
    pub(crate) fn bind(&mut self, name: &Arc<str>, address: SocketAddr) -> io::Result<Bound> {
        let is_for = |found: &Found| match address.port() {
            0 => found.address.ip() == address.ip() && found.name.as_deref() == Some(&**name),
            port => (found.address.ip(), found.address.port()) == (address.ip(), port),
        };
        match self.unmatched.iter().position(is_for) {
            Some(position) => {
                let found = self.unmatched.swap_remove(position);
                if found.inherited {
                    self.kept.push(found.address);
                }
                let Found { socket, activated, .. } = found;
                Bound::adopt(name, socket, activated)
            }
            None => edge::bind(name, address),
        }
    }

    /// Lets go of what no listener wanted, and says so. The addresses of those that the running
    /// process had and that are kept.
    pub(crate) fn close_rest(mut self) -> Vec<SocketAddr> {
        for Found { name, address, inherited, .. } in self.unmatched.drain(..) {
            let name = name.as_deref().unwrap_or("?");
            if inherited {
                tracing::info!(name, %address, "no listener is here any more");
            } else {
                tracing::warn!(name, %address, "the service manager's socket is no listener's");
            }
        }
        self.kept
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn socket() -> (TcpListener, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[test]
    fn an_address_is_found_whatever_its_name() {
        let (mut sockets, (one, at)) = (Sockets::default(), socket());
        sockets.inherit("old".to_owned(), true, one).unwrap();
        let bound = sockets.bind(&"new".into(), at).unwrap();
        assert_eq!((bound.address, &*bound.name, bound.activated), (at, "new", true));
        assert!(sockets.unmatched.is_empty());
        // Taken: what is there is bound.
        assert!(sockets.bind(&"new".into(), at).is_err());
    }

    #[test]
    fn any_port_is_the_one_that_the_name_had() {
        let mut sockets = Sockets::default();
        let ((one, at), (two, _)) = (socket(), socket());
        sockets.inherit("web".to_owned(), false, one).unwrap();
        sockets.activate(None, two).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let other = sockets.bind(&"other".into(), any).unwrap();
        assert!(other.address != at && !other.activated);
        assert_eq!(sockets.bind(&"web".into(), any).unwrap().address, at);
        assert_ne!(sockets.bind(&"web".into(), any).unwrap().address, at);
        assert_eq!(sockets.unmatched.len(), 1);
        assert_eq!(sockets.close_rest(), [at]);
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let (_listener, address) = socket();
        let stream = std::net::TcpStream::connect(address).unwrap();
        let socket = TcpListener::from(std::os::fd::OwnedFd::from(stream));
        assert!(Sockets::default().activate(None, socket).is_err());
    }
}
