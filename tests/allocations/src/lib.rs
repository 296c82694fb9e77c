//! An allocator that counts, for measurements: `make bench` says how many heap allocations a segment takes.
//!
//! Counts only; every call goes to the allocator inside as it came.
#![allow(unsafe_code, reason = "a global allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the allocations of `A`. Growing counts as one, freeing does not count.
pub struct Counting<A> {
    inner: A,
    count: AtomicU64,
}

impl<A> Counting<A> {
    /// Counts from 0.
    pub const fn new(inner: A) -> Counting<A> {
        Counting { inner, count: AtomicU64::new(0) }
    }

    /// Allocations so far, of all threads.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every method does what the same method of `inner` does with the same arguments, and `inner` is an
// allocator.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.add();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { self.inner.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.add();
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { self.inner.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.add();
        // SAFETY: the caller keeps the contract of `realloc`; `block` came from `inner`.
        unsafe { self.inner.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`; `block` came from `inner`.
        unsafe { self.inner.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::alloc::System;

    #[test]
    fn allocations_are_counted() {
        let counting = Counting::new(System);
        let layout = Layout::from_size_align(64, 8).unwrap();
        // SAFETY: the layout is not empty; the block is used with the layout it has.
        unsafe {
            let block = counting.alloc(layout);
            let block = counting.realloc(block, layout, 128);
            counting.dealloc(block, Layout::from_size_align(128, 8).unwrap());
        }
        assert_eq!(counting.count(), 2);
    }
}
