//! A parent process that starts the server again if it is killed.
//!
//! The weights are memory-mapped files. If such a file is truncated while it is used, the system
//! kills the process that reads it, and error handling in that process cannot help. The parent
//! holds the listening socket, so that clients only wait while the server starts again and loads
//! its model.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::listener::{INHERITED, ServeError, bind};
use crate::signals;

/// Pause before a restart, so that a server that fails at once does not occupy the machine.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens on an address, and runs a program with these arguments as the server until it ends by
/// itself.
///
/// The first signal to stop is passed on.
///
/// # Errors
/// If the address is in use, or the system starts no process.
pub fn supervise(
    address: SocketAddr,
    program: &Path,
    arguments: &[OsString],
) -> Result<ExitStatus, ServeError> {
    let listener = bind(address)?;
    let child = Arc::new(Child::default());
    let handler = child.clone();
    signals::on_stop(move || handler.stop())?;
    loop {
        let mut server = Command::new(program)
            .args(arguments)
            .env(INHERITED, "1")
            .stdin(Stdio::from(OwnedFd::from(listener.try_clone()?)))
            .spawn()?;
        child.started(server.id());
        let status = server.wait()?;
        child.ended();
        match status.signal() {
            Some(signal) if !child.stopping.load(Ordering::SeqCst) => {
                tracing::error!(signal, "the server was killed and is started again");
                sleep(PAUSE);
            }
            _ => return Ok(status),
        }
    }
}

/// The server process, for the signal handler.
#[derive(Default)]
struct Child {
    id: Mutex<Option<Pid>>,
    stopping: AtomicBool,
}

impl Child {
    fn started(&self, id: u32) {
        let id = i32::try_from(id).ok().and_then(Pid::from_raw);
        *self.id.lock().unwrap_or_else(PoisonError::into_inner) = id;
        if self.stopping.load(Ordering::SeqCst) {
            self.stop();
        }
    }

    fn ended(&self) {
        *self.id.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        if let Some(id) = *self.id.lock().unwrap_or_else(PoisonError::into_inner) {
            // Fails only if the process has ended already.
            let _ = kill_process(id, Signal::TERM);
        }
    }
}
