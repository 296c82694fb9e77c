//! Links the program with packed relocations where the C library can read them (glibc since 2.36).
//!
//! Weir has some 240,000 of them. Plain, they are 6 MB that are read once, at the start, and count as memory
//! ever after; packed, 70 KB. Where it is not known that they can be read they stay plain.
//! `docs/performance.md` has what that saves.

use std::env::var;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if is_native_gnu() && glibc().is_some_and(|version| version >= (2, 36)) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether the program is for Linux with glibc, and for machines like this one.
fn is_native_gnu() -> bool {
    let is = |name: &str, value: &str| var(name).is_ok_and(|is| is == value);
    let native = var("TARGET").is_ok_and(|target| is("HOST", &target));
    native && is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu")
}

/// The version of this machine's glibc.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
