//! The child process.

use std::io::{self, Read, Write};
use std::thread;

use super::request::{Answer, Limits, Request};
use crate::error::ErrorKind;
use crate::read::read_kind;

/// Stack of the reading thread in bytes. Only used pages count as memory.
const STACK: usize = 64 << 20;

/// Main function of the child process: reads the document on standard input, and answers on
/// standard output. `request` is the argument that [`Extractor`](super::Extractor) passes. Returns
/// the exit code.
pub fn child_main(request: &str) -> u8 {
    let Ok(request) = serde_json::from_str::<Request>(request) else {
        eprintln!("this command is for the use of the program itself");
        return 2;
    };
    limit(&request.limits);
    let answer = answer(request);
    let mut out = io::stdout().lock();
    match serde_json::to_writer(&mut out, &answer).map(|()| out.flush()) {
        Ok(Ok(())) => 0,
        // The parent is gone.
        _ => 1,
    }
}

fn answer(request: Request) -> Answer {
    let reading = thread::Builder::new().stack_size(STACK).spawn(move || {
        let mut bytes = Vec::new();
        let limit = request.limits.file;
        let stdin = io::stdin().lock();
        if let Err(error) = stdin.take(limit + 1).read_to_end(&mut bytes) {
            return Err(match error.kind() {
                io::ErrorKind::OutOfMemory => ErrorKind::OutOfMemory(request.limits.memory),
                _ => ErrorKind::Io(error.to_string()),
            });
        }
        if bytes.len() as u64 > limit {
            return Err(ErrorKind::TooLarge { what: "the file".into(), limit });
        }
        read_kind(&bytes, request.name.as_deref(), &request.options)
    });
    match reading.map(thread::JoinHandle::join) {
        Ok(Ok(answer)) => answer,
        Ok(Err(panic)) => {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(ErrorKind::Crashed(format!("panic: {}", message.unwrap_or("no message"))))
        }
        Err(error) => Err(ErrorKind::Io(error.to_string())),
    }
}

/// Sets the limits of this process. On systems without these limits, the parent ends the child
/// after its time.
#[cfg(unix)]
fn limit(limits: &Limits) {
    use rustix::process::{Resource, Rlimit, setrlimit};
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        let parent = getppid();
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        // The parent may have died before the signal was requested.
        if getppid() != parent {
            std::process::exit(1);
        }
    }
    let set = |resource, limit: u64| {
        let _ = setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) });
    };
    set(Resource::As, limits.memory + STACK as u64);
    // The parent measures the time. This limit ends a child whose parent no longer does.
    set(Resource::Cpu, limits.seconds + 5);
    // The child writes no files, and leaves no core dump.
    set(Resource::Fsize, 0);
    set(Resource::Core, 0);
}

#[cfg(not(unix))]
fn limit(_: &Limits) {}
