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

/// Takes note of memory of a request that is free again, in bytes. After some megabytes it gives
/// the system the free pages between those that are in use: pieces of many requests lie mixed in
/// one heap, and the C library itself gives back only what is free at its end.
pub(crate) fn freed(bytes: usize) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::sync::atomic::{AtomicUsize, Ordering};
        const TRIM_AFTER: usize = 8 << 20;
        static FREED: AtomicUsize = AtomicUsize::new(0);
        if FREED.fetch_add(bytes, Ordering::Relaxed) + bytes >= TRIM_AFTER {
            FREED.store(0, Ordering::Relaxed);
            // SAFETY: malloc_trim takes a number, and has a lock of its own.
            let trim = || _ = unsafe { libc::malloc_trim(0) };
            // It takes milliseconds, and sockets may wait for this thread. Where no thread
            // starts, memory is given back later.
            let _ = std::thread::Builder::new().name("trim".into()).spawn(trim);
        }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = bytes;
}
