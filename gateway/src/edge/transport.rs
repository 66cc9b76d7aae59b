//! The bytes under a connection: plain TCP, or TLS over it.

use std::{
    io::{self, IoSlice},
    os::fd::{AsRawFd, RawFd},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

/// A client's stream.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<Encrypted>),
}

/// A TLS stream, and a byte of it that was read to see whether there is one.
#[derive(Debug)]
pub(super) struct Encrypted {
    stream: TlsStream<TcpStream>,
    ahead: Option<u8>,
}

impl Transport {
    pub(super) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self::Tls(Box::new(Encrypted { stream, ahead: None }))
    }

    /// Ready when there is something to read (`true`) or the client is done (`false`). Nothing is
    /// taken: whoever reads next gets it.
    pub(super) fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        match self {
            Self::Plain(tcp) => {
                let mut byte = [0];
                let peeked = ready!(tcp.poll_peek(cx, &mut ReadBuf::new(&mut byte)));
                Poll::Ready(peeked.map(|count| count > 0))
            }
            Self::Tls(tls) => {
                if tls.ahead.is_none() {
                    let mut byte = [0];
                    let mut buf = ReadBuf::new(&mut byte);
                    ready!(Pin::new(&mut tls.stream).poll_read(cx, &mut buf))?;
                    tls.ahead = buf.filled().first().copied();
                }
                Poll::Ready(Ok(tls.ahead.is_some()))
            }
        }
    }

    /// Ready when it is worth to read. Cheaper than [`Transport::poll_peek`] and less sure.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => tcp.poll_read_ready(cx),
            Self::Tls(_) => self.poll_peek(cx).map_ok(|_| ()),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => match tls.ahead.take() {
                None => Pin::new(&mut tls.stream).poll_read(cx, buf),
                Some(byte) if buf.remaining() > 0 => {
                    buf.put_slice(&[byte]);
                    // And what else is there; an error meets the next read again.
                    let _ = Pin::new(&mut tls.stream).poll_read(cx, buf);
                    Poll::Ready(Ok(()))
                }
                Some(byte) => {
                    tls.ahead = Some(byte);
                    Poll::Ready(Ok(()))
                }
            },
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_shutdown(cx),
        }
    }
}

impl AsRawFd for Transport {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Plain(tcp) => tcp.as_raw_fd(),
            Self::Tls(tls) => tls.stream.get_ref().0.as_raw_fd(),
        }
    }
}
