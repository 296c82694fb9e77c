//! When the allocator gives free memory back to the system.
//!
//! Under load blocks of half a MiB come and go. Given back after less than half a second instead of a second, they leave the program a
//! tenth smaller, for the same CPU; sooner costs page faults (`make bench`, case 3).
#![allow(unsafe_code, reason = "one call of the allocator's own interface, without pointers")]

use std::ffi::{c_int, c_long};

/// The number of mimalloc's option `purge_delay`, in milliseconds.
const PURGE_DELAY: c_int = 15;
/// How long memory is free before it is given back, in milliseconds.
const DELAY_MS: c_long = 400;

/// From now on free memory is given back soon.
pub(crate) fn give_back_soon() {
    // SAFETY: the option exists, which a test checks, and takes any number. No memory is passed.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, DELAY_MS) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: reads a number.
        let now = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(now(), 1_000, "mimalloc's default: else the options have other numbers now");
        give_back_soon();
        assert_eq!(now(), DELAY_MS);
    }
}
