//! Requests of a program to callgrind, if it runs under it: when to count, and when to write the
//! count.
//!
//! A request is a sequence of instructions that does nothing on a processor and that valgrind
//! recognizes. The sequences and the numbers are valgrind's public interface (its `valgrind.h` and
//! `callgrind.h`). Outside of valgrind a request has no effect.

use std::ffi::CString;
use std::ptr;

/// Whether requests exist for this processor's architecture.
pub(super) const SUPPORTED: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// The numbers of callgrind's requests begin with the letters C and T.
const BASE: usize = 0x4354_0000;

#[derive(Clone, Copy)]
#[repr(usize)]
enum Request {
    ToggleCollect = BASE + 2,
    DumpStatsAt = BASE + 3,
    StartInstrumentation = BASE + 4,
    StopInstrumentation = BASE + 5,
}

/// Starts the instrumentation, which makes everything about 50 times slower. Only instrumented code
/// can be counted.
pub(super) fn start_instrumentation() {
    request(Request::StartInstrumentation, ptr::null());
}

/// Stops the instrumentation.
pub(super) fn stop_instrumentation() {
    request(Request::StopInstrumentation, ptr::null());
}

/// Starts or stops counting.
pub(super) fn toggle_collect() {
    request(Request::ToggleCollect, ptr::null());
}

/// Writes the count since the last dump to a new file. The heading must have no NUL.
pub(super) fn dump(heading: &str) {
    let heading = CString::new(heading).unwrap_or_default();
    request(Request::DumpStatsAt, heading.as_ptr().cast());
}

fn request(request: Request, argument: *const u8) {
    let arguments = [request as usize, argument.expose_provenance(), 0, 0, 0, 0];
    // SAFETY: the rotations of rdi add up to twice its width and rbx is exchanged with itself, so a
    // processor changes nothing. valgrind reads the six numbers, one of which is the address of the
    // text. Both live until valgrind has answered in rdx.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") 0usize => _,
            options(nostack),
        );
    }
    // SAFETY: as above; the rotations of x12 add up to twice its width, and the answer is in x3.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(
            "ror x12, x12, #3", "ror x12, x12, #13", "ror x12, x12, #51", "ror x12, x12, #61",
            "orr x10, x10, x10",
            in("x4") arguments.as_ptr(),
            inout("x3") 0usize => _,
            options(nostack),
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = arguments;
}
