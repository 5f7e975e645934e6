//! A client's socket with deadlines: for a request that arrives slowly, and for a client that does not read its
//! response.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use crate::{
    clock::Timer,
    connections::{Connection, Opened},
    metrics::Metrics,
};

/// Timeout for a client that reads next to nothing. The kernel accepts more data once a third of its buffer is free.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// A socket with deadlines.
pub(super) struct Socket {
    io: TcpStream,
    opened: Opened,
    metrics: Arc<Metrics>,
    arrival: Option<Timer>,
    departure: Option<Timer>,
    /// Whether the last write found the send buffer full.
    is_full: bool,
}

impl Socket {
    pub(super) fn new(io: TcpStream, opened: Opened, metrics: Arc<Metrics>) -> Self {
        Self {
            io,
            opened,
            metrics,
            arrival: None,
            departure: None,
            is_full: false,
        }
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        self.opened.connection()
    }

    /// Fails if the connection was closed to make room for others.
    fn check(&self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.connection().is_closed(cx) {
            true => Err(io::ErrorKind::ConnectionAborted.into()),
            false => Ok(()),
        }
    }

    fn late(&self, to: &'static str) -> io::Error {
        self.metrics.slow_connection(to);
        io::ErrorKind::TimedOut.into()
    }
}

/// Sets the timer to ring at `until`.
fn set(timer: &mut Option<Timer>, until: Instant) -> &mut Timer {
    let timer = timer.get_or_insert_with(|| Timer::new(until));
    timer.put_off(until);
    timer
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.io).poll_read(cx, buffer) {
            let is_right = self.connection().has_read(buffer.filled().len() - before);
            return match is_right {
                true => Poll::Ready(read),
                false => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            };
        }
        let Some(left) = self.connection().left_to_arrive() else {
            return Poll::Pending;
        };
        let timer = set(&mut self.arrival, Instant::now() + left);
        match left.is_zero() || timer.poll_ring(cx).is_ready() {
            true => Poll::Ready(Err(self.late("send"))),
            false => Poll::Pending,
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        if let Poll::Ready(written) = Pin::new(&mut self.io).poll_write(cx, bytes) {
            if std::mem::take(&mut self.is_full) {
                self.connection().has_room(true);
            }
            return Poll::Ready(written);
        }
        if !std::mem::replace(&mut self.is_full, true) {
            self.connection().has_room(false);
            set(&mut self.departure, Instant::now() + WRITE_TIMEOUT);
        }
        match self.departure.as_mut().map(|timer| timer.poll_ring(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(self.late("read"))),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }

    /// Checks for closing here too: actix flushes whenever it is woken, even if it neither reads nor writes.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
