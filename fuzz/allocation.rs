//! How much memory a call asks for at most: a counting allocator over the system's.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes in use by this thread since the last reset, and their highest number.
    static IN_USE: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn add(bytes: isize) {
    // A thread that ends may allocate behind its own variables: that is not measured.
    let _ = IN_USE.try_with(|cell| {
        let (now, peak) = cell.get();
        cell.set((now + bytes, peak.max(now + bytes)));
    });
}

struct Counting;

// SAFETY: every call is handed to the system's allocator unchanged; counting touches only a const-initialised
// thread-local without destructor, which allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as isize);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as isize);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add(-(layout.size() as isize));
        // SAFETY: the caller's promises are handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the call returns, and the most memory that it had in use at once.
pub(crate) fn peak_of<T>(call: impl FnOnce() -> T) -> (T, usize) {
    IN_USE.set((0, 0));
    let value = call();
    (value, IN_USE.get().1.unsigned_abs())
}
