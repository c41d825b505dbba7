//! Detects whether the client of a running request is still there.
//!
//! A client that has sent its request may close its sending side and wait for the answer. A client
//! that is gone looks the same until the server sends something. Therefore the server sends `100
//! Continue`, which every client of HTTP/1.1 skips (RFC 9110, section 15.2). The system of a client
//! that is gone refuses it.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::activity::{Activity, RequestState};

/// Interim answer that is sent as a probe.
const PROBE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Pause between two probes: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Returns once the client of a running request is gone.
pub(super) async fn watch(stream: &TcpStream, activity: &Activity) {
    loop {
        activity.request_begins().await;
        let mut pause = PAUSE.0;
        loop {
            sleep(pause).await;
            let RequestState::Running { interim } = activity.request() else {
                break;
            };
            match has_ended(stream).await {
                Ok(true) if interim => {
                    if stream.try_write(PROBE).is_err_and(|error| is_gone(&error)) {
                        return;
                    }
                    pause = (pause * 2).min(PAUSE.1);
                }
                Ok(_) => {}
                Err(()) => return,
            }
        }
    }
}

/// Whether the client has closed its sending side. `Err` if the connection is broken.
async fn has_ended(stream: &TcpStream) -> Result<bool, ()> {
    match timeout(Duration::ZERO, stream.peek(&mut [0])).await {
        Ok(Ok(count)) => Ok(count == 0),
        Ok(Err(error)) if is_gone(&error) => Err(()),
        Ok(Err(_)) | Err(_) => Ok(false),
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    error.kind() != std::io::ErrorKind::WouldBlock
}
