//! Memory that was used goes back to the system.
//!
//! Bodies of a megabyte and more come and go on many threads. As glibc is set up it learns to take such blocks from its heaps,
//! of which it makes eight per core, and each heap keeps its holes: on 2 cores, after minutes of reading, 400 MB of which
//! hardly a tenth was in use. So long blocks are mapped by themselves, and there are few heaps.
//!
//! An `unsafe` of its own: nothing here wraps the call.
#![allow(unsafe_code)]

/// Heaps. Threads keep small blocks for themselves, so few of them meet at a heap.
#[cfg(target_env = "gnu")]
const HEAPS: libc::c_int = 4;

/// Blocks of at least so many bytes are mapped by themselves: longer ones than the answer to the longest read of the kernel
/// (1 MiB), which are as frequent as reads.
#[cfg(target_env = "gnu")]
const LONG_BLOCK: libc::c_int = (1 << 20) + (4 << 10);

/// A heap whose free end is longer gives it back: some answers to reads.
#[cfg(target_env = "gnu")]
const FREE_END: libc::c_int = 4 << 20;

/// Sets the process up so; before it has many threads. Elsewhere than with glibc there is nothing to do.
pub(super) fn give_back() {
    #[cfg(target_env = "gnu")]
    for (what, value) in
        [(libc::M_ARENA_MAX, HEAPS), (libc::M_MMAP_THRESHOLD, LONG_BLOCK), (libc::M_TRIM_THRESHOLD, FREE_END)]
    {
        // SAFETY: two numbers go in; what is allocated already is not touched.
        let done = unsafe { libc::mallopt(what, value) };
        debug_assert_eq!(done, 1, "glibc knows {what}");
    }
}
