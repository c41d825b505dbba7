//! Gives free memory back to the system.

/// Makes the C library return memory to the system as soon as it is free. By default it keeps some:
/// tens of megabytes for each thread that once read a large body.
pub(crate) fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// Size in bytes from which an allocation has its own pages, and free memory at the end of
        /// the heap is returned.
        const LARGE: libc::c_int = 1 << 20;
        /// Number of heaps. All threads share one, since large allocations use none.
        const HEAPS: libc::c_int = 1;
        for (parameter, value) in [
            (libc::M_MMAP_THRESHOLD, LARGE),
            (libc::M_TRIM_THRESHOLD, LARGE),
            (libc::M_ARENA_MAX, HEAPS),
        ] {
            // SAFETY: mallopt takes two numbers, and has a lock of its own. If it fails, memory is
            // returned later.
            unsafe { libc::mallopt(parameter, value) };
        }
    }
}

/// Counts freed memory of requests, in bytes. After some megabytes it returns all free pages to the
/// system, also those between pages in use: allocations of many requests lie mixed in one heap, and
/// the C library itself returns only free memory at its end.
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
            // Trimming takes milliseconds, and sockets may wait for this thread. If no thread
            // starts, memory is returned later.
            let _ = std::thread::Builder::new().name("trim".into()).spawn(trim);
        }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = bytes;
}
