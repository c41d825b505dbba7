//! The listening socket: a new one, or that of a supervising parent process.

use std::io;
use std::net::{SocketAddr, TcpListener};

/// Environment variable that the supervisor sets: the standard input of the server is the listening
/// socket.
pub(crate) const INHERITED: &str = "EPITOME_INHERITED_LISTENER";

/// Reason why the server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is in use, or not an address of this machine.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Error of the system.
        source: io::Error,
    },
    /// The system refused threads, sockets or signals.
    #[error("cannot start the server: {0}")]
    System(#[from] io::Error),
}

/// Whether this process is the server of a supervisor.
pub fn is_supervised() -> bool {
    std::env::var_os(INHERITED).is_some()
}

/// Listens on an address.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).map_err(|source| ServeError::Listen { address, source })
}

/// Listens on an address, or takes the supervisor's socket. The socket does not block.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    #[cfg(unix)]
    let listener = match is_supervised() {
        true => inherited()?,
        false => bind(address)?,
    };
    #[cfg(not(unix))]
    let listener = bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes the parent's listening socket. From now on this process ends with its parent.
#[cfg(unix)]
fn inherited() -> io::Result<TcpListener> {
    use std::os::fd::AsFd;
    use std::os::unix::process::parent_id;
    use std::time::Duration;

    use epitome_runtime::scratch;

    /// Time between two checks whether the parent is running.
    const PARENT_CHECK: Duration = Duration::from_millis(500);

    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    let parent = parent_id();
    std::thread::spawn(move || {
        while parent_id() == parent {
            std::thread::sleep(PARENT_CHECK);
        }
        tracing::error!("the parent process is gone");
        scratch::exit_at_once(1);
    });
    Ok(listener)
}
