//! The programs in the kernel: what they tell, how they are loaded, and their clock.

pub(crate) mod event;
pub(crate) mod hooks;
pub(crate) mod own_process;
pub(crate) mod programs;
