//! Memory that is given back to the system.

/// Has the C library give memory back as soon as it is free. Without this it keeps some for later,
/// tens of megabytes for each thread that once read a large body.
pub(crate) fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// Bytes from which an allocation is of pages of its own, and free memory is given back.
        const LARGE: libc::c_int = 1 << 20;
        /// Heaps: all threads share one. What is large needs none.
        const HEAPS: libc::c_int = 1;
        for (parameter, value) in [
            (libc::M_MMAP_THRESHOLD, LARGE),
            (libc::M_TRIM_THRESHOLD, LARGE),
            (libc::M_ARENA_MAX, HEAPS),
        ] {
            // SAFETY: mallopt takes two numbers, and has a lock of its own. Where it refuses,
            // memory is given back later.
            unsafe { libc::mallopt(parameter, value) };
        }
    }
}
