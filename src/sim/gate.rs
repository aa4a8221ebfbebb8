//! The node's front door: a TCP listener that can be closed and opened again on the same port.
//!
//! The listener lives inside the lock and is polled there, so [`Gate::close`] returns only after the port refuses; what came
//! in before carries a token that is cancelled then.
//! While closed, a bound socket which does not listen keeps the port from being taken by somebody else.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Poll, Waker};

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

/// Connections waiting to be accepted; the usual value of servers.
const BACKLOG: u32 = 1024;

#[derive(Debug)]
pub(super) struct Gate {
    address: SocketAddr,
    door: Mutex<Door>,
}

#[derive(Debug)]
struct Door {
    state: State,
    /// Whoever waits in [`Gate::accept`]; woken when the door opens.
    waker: Option<Waker>,
    /// Cancelled when the door closes: the parent of the tokens of all connections since it opened.
    closing: CancellationToken,
}

#[derive(Debug)]
enum State {
    Open(TcpListener),
    /// The socket is absent when another process was quick enough to take the port.
    Closed(Option<TcpSocket>),
}

impl Gate {
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let listener = bind(address)?.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        Ok(Self {
            address,
            door: Mutex::new(Door {
                state: State::Open(listener),
                waker: None,
                closing: CancellationToken::new(),
            }),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection, and a token that is cancelled when it must end; waits while the gate is closed.
    pub(super) async fn accept(&self) -> io::Result<(TcpStream, CancellationToken)> {
        poll_fn(|context| {
            let mut door = self.door.lock();
            door.waker = Some(context.waker().clone());
            match &door.state {
                State::Open(listener) => listener
                    .poll_accept(context)
                    .map_ok(|(stream, _)| (stream, door.closing.child_token())),
                State::Closed(_) => Poll::Pending,
            }
        })
        .await
    }

    pub(super) fn close(&self) {
        let mut door = self.door.lock();
        if matches!(door.state, State::Open(_)) {
            // The listener must be gone before the address can be bound again.
            door.state = State::Closed(None);
            door.state = State::Closed(bind(self.address).ok());
            std::mem::take(&mut door.closing).cancel();
        }
    }

    pub(super) fn reopen(&self) -> io::Result<()> {
        let mut door = self.door.lock();
        let State::Closed(kept) = &mut door.state else { return Ok(()) };
        let socket = match kept.take() {
            Some(socket) => socket,
            None => bind(self.address)?,
        };
        door.state = State::Open(socket.listen(BACKLOG)?);
        if let Some(waker) = door.waker.take() {
            waker.wake();
        }
        Ok(())
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_gate_refuses_and_the_same_port_opens_again() {
        let gate = Gate::open("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = gate.address();
        gate.close();
        let refused = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        gate.reopen().unwrap();
        let (accepted, connected) = tokio::join!(gate.accept(), TcpStream::connect(address));
        assert_eq!(accepted.unwrap().0.local_addr().unwrap(), address);
        connected.unwrap();
    }

    #[tokio::test]
    async fn opening_wakes_who_waits() {
        let gate = Gate::open("127.0.0.1:0".parse().unwrap()).unwrap();
        gate.close();
        let open_and_connect = async {
            tokio::task::yield_now().await;
            gate.reopen().unwrap();
            TcpStream::connect(gate.address()).await
        };
        let (accepted, connected) = tokio::join!(gate.accept(), open_and_connect);
        assert!(accepted.is_ok() && connected.is_ok());
    }
}
