//! Signals that ask a process to stop: Ctrl-C, SIGTERM, and SIGHUP, which the end of a terminal
//! sends. A process that was started with SIGHUP ignored, as by nohup, goes on ignoring it.

use std::io;

/// Calls `handler` in a thread of its own each time that the process is asked to stop.
///
/// # Errors
/// If the process has such a handler already, or the system starts no thread.
pub fn on_stop(handler: impl FnMut() + Send + 'static) -> io::Result<()> {
    #[cfg(unix)]
    let is_hangup_ignored = is_hangup_ignored();
    ctrlc::set_handler(handler).map_err(io::Error::other)?;
    #[cfg(unix)]
    if is_hangup_ignored {
        // SAFETY: ignoring a signal runs no code of this program.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
    }
    Ok(())
}

#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the system only writes the present one, for which all zeros are
    // also a valid value.
    let action = unsafe {
        libc::sigaction(libc::SIGHUP, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}

/// Waits until the server is asked to stop.
pub(crate) struct StopSignal {
    #[cfg(unix)]
    signals: Vec<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl StopSignal {
    pub(crate) fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let hangup = (!is_hangup_ignored()).then(SignalKind::hangup);
        let kinds = [SignalKind::terminate(), SignalKind::interrupt()].into_iter().chain(hangup);
        Ok(Self { signals: kinds.map(signal).collect::<Result<_, _>>()? })
    }

    pub(crate) async fn wait(&mut self) {
        std::future::poll_fn(|context| {
            match self.signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready()) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
    }
}

#[cfg(not(unix))]
impl StopSignal {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    pub(crate) async fn wait(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
