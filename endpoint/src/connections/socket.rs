//! A client's socket, with a deadline for reading the answer.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::Activity;

/// Lowest average rate at which a client must read, in bytes per second.
const MIN_RATE: f64 = 1024.0;

/// The socket of a client.
pub(super) struct Socket {
    stream: Arc<TcpStream>,
    activity: Arc<Activity>,
    /// Longest time in which the client reads nothing.
    stall: Duration,
    /// Set while the client does not accept all of the answer.
    waiting: Option<Waiting>,
}

struct Waiting {
    since: Instant,
    /// Bytes sent since that time.
    sent: usize,
    deadline: Pin<Box<Sleep>>,
}

impl Waiting {
    fn new(stall: Duration) -> Self {
        let since = Instant::now();
        Self { since, sent: 0, deadline: Box::pin(sleep_until(since + stall)) }
    }

    fn sent(&mut self, bytes: usize, stall: Duration) {
        self.sent += bytes;
        let earned = Duration::from_secs_f64(self.sent as f64 / MIN_RATE);
        self.deadline.as_mut().reset(self.since + stall + earned);
    }
}

impl Socket {
    pub(super) fn new(stream: Arc<TcpStream>, activity: Arc<Activity>, stall: Duration) -> Self {
        Self { stream, activity, stall, waiting: None }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.activity.reads();
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            match self.stream.try_read(buffer.initialize_unfilled()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stall = self.stall;
        loop {
            if self.stream.poll_write_ready(context)?.is_pending() {
                let waiting = self.waiting.get_or_insert_with(|| Waiting::new(stall));
                ready!(waiting.deadline.as_mut().poll(context));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            match self.stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(count) => {
                    if let Some(waiting) = &mut self.waiting {
                        waiting.sent(count, stall);
                    }
                    return Poll::Ready(Ok(count));
                }
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The system has accepted everything. The next write has a new deadline.
        self.waiting = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Tells the client that the answer has ended. Fails only if the client is gone.
        let _ = SockRef::from(&*self.stream).shutdown(Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn who_reads_nothing_is_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let stall = Duration::from_millis(50);
        let mut socket = Socket::new(Arc::new(stream), Arc::default(), stall);
        let piece = vec![0; 1 << 20];
        let mut refused = None;
        // Much more than the buffers of the system hold.
        for _ in 0..64 {
            let sent = poll_fn(|context| Pin::new(&mut socket).poll_write(context, &piece)).await;
            refused = refused.or(sent.err());
        }
        assert_eq!(refused.unwrap().kind(), io::ErrorKind::TimedOut);
        drop(client);
    }
}
