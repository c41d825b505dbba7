//! Threads for work that grows with the size of a request. They serve no sockets, and have a lower
//! priority than threads that do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::error::ApiError;

/// Number of threads. More would only take processors from the model.
pub(crate) const THREADS: usize = 4;
/// Size in bytes from which a request is large. Few large requests run at a time, so that small
/// ones always find a thread.
const LARGE: usize = 64 << 10;
/// Permits for large requests.
static LARGE_THREADS: Semaphore = Semaphore::const_new(2);

/// Tells work when its result is no longer wanted.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    deadline: Instant,
    received: Instant,
    gone: Arc<AtomicBool>,
}

impl Stop {
    fn new(deadline: Instant) -> Self {
        Self { deadline, received: Instant::now(), gone: Arc::default() }
    }

    /// A signal that never stops the work.
    #[cfg(test)]
    pub(crate) fn never() -> Self {
        Self::new(Instant::now() + std::time::Duration::from_secs(3600))
    }

    /// A signal that has stopped the work.
    #[cfg(test)]
    pub(crate) fn stopped() -> Self {
        Self::new(Instant::now())
    }

    /// # Errors
    /// If the deadline has passed or the client is gone.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        if self.gone.load(Ordering::Relaxed) || Instant::now() >= self.deadline {
            return Err(ApiError::Deadline(self.deadline - self.received));
        }
        Ok(())
    }
}

/// Runs a function that may block, over this many bytes of a request. The function is told to stop
/// when the deadline passes or the returned future is dropped. It does not start after that.
///
/// # Errors
/// The function's own error; [`ApiError::Deadline`]; [`ApiError::WorkerFailed`] if it panicked.
pub(crate) async fn run<T: Send + 'static>(
    bytes: usize,
    deadline: Instant,
    work: impl FnOnce(&Stop) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    /// Stops the work when the future is dropped.
    struct Waiting(Stop);
    impl Drop for Waiting {
        fn drop(&mut self) {
            self.0.gone.store(true, Ordering::Relaxed);
        }
    }
    let waiting = Waiting(Stop::new(deadline));
    let stop = waiting.0.clone();
    let running = async {
        let turn = match bytes > LARGE {
            true => LARGE_THREADS.acquire().await.ok(),
            false => None,
        };
        let running = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            lower_priority();
            stop.check()?;
            work(&stop)
        });
        running.await.unwrap_or(Err(ApiError::WorkerFailed))
    };
    match tokio::time::timeout_at(deadline.into(), running).await {
        Ok(result) => result,
        Err(_) => Err(ApiError::Deadline(waiting.0.deadline - waiting.0.received)),
    }
}

/// Lowers the scheduling priority of this thread.
fn lower_priority() {
    /// Default increment of the `nice` command.
    #[cfg(target_os = "linux")]
    const NICE: i32 = 10;
    // Linux takes `None` for the calling thread. A failure changes only the priority.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICE);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn work_ends_at_the_deadline_and_when_nobody_waits() {
        let (said, heard) = std::sync::mpsc::channel();
        let endless = move |stop: &Stop| -> Result<(), ApiError> {
            said.send("started").unwrap();
            while stop.check().is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
            said.send("ended").unwrap();
            stop.check()
        };
        let hear = || heard.recv_timeout(Duration::from_secs(10)).unwrap();
        // A busy machine may start the work only after the deadline.
        let mut milliseconds = 20;
        loop {
            let soon = Instant::now() + Duration::from_millis(milliseconds);
            assert!(matches!(run(0, soon, endless.clone()).await, Err(ApiError::Deadline(_))));
            match heard.recv_timeout(Duration::from_millis(milliseconds)) {
                Ok(word) => break assert_eq!((word, hear()), ("started", "ended")),
                Err(_) => milliseconds *= 2,
            }
        }
        let late = Instant::now() + Duration::from_secs(600);
        let waiting = tokio::spawn(run(0, late, endless));
        assert_eq!(hear(), "started");
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert_eq!(hear(), "ended");
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let deadline = Instant::now() + Duration::from_secs(10);
        let result =
            run(0, deadline, |_| -> Result<(), ApiError> { panic!("asked to panic") }).await;
        assert_eq!(result, Err(ApiError::WorkerFailed));
    }
}
