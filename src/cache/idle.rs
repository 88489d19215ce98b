//! A thread that uses the disk only when nobody else does.
//!
//! The one `unsafe` of the cache: a system call that no crate here wraps.
#![allow(unsafe_code)]

/// `ioprio_set(2)`: of a thread, the calling one.
const WHO_PROCESS: libc::c_int = 1;
const THIS_THREAD: libc::c_int = 0;

/// The class `idle`, in its place among the bits.
const CLASS_IDLE: libc::c_int = 3 << 13;

/// Gives the calling thread the lowest priority at the disk. Where that cannot be had its own pace is all that holds it
/// back.
pub(super) fn yield_the_disk() {
    // SAFETY: three numbers go in and one comes out; no memory is touched.
    let _ = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, THIS_THREAD, CLASS_IDLE) };
}
