//! Compiles the programs of the kernel. Without clang the crate is built without them, and says why.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The versions of clang that Debian and Ubuntu install beside each other.
const VERSIONS: std::ops::RangeInclusive<u32> = 11..=22;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(weir_programs)");
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=WEIR_CLANG");
    match compile() {
        Ok(()) => println!("cargo::rustc-cfg=weir_programs"),
        Err(reason) => {
            println!("cargo::rustc-env=WEIR_EBPF_ABSENT={}", reason.replace('\n', " "));
            println!("cargo::warning=the receiver `ebpf` is built without its programs: {reason}");
        }
    }
}

/// `weir.o` in the output directory.
fn compile() -> Result<(), String> {
    let variable = |name: &str| env::var(name).unwrap_or_default();
    if variable("CARGO_CFG_TARGET_OS") != "linux" {
        return Err("eBPF is a part of Linux".to_owned());
    }
    let (kernel, triple) = match variable("CARGO_CFG_TARGET_ARCH").as_str() {
        "x86_64" => ("x86", "x86_64-linux-gnu"),
        "aarch64" => ("arm64", "aarch64-linux-gnu"),
        other => return Err(format!("no system calls are known for {other}")),
    };
    let clang = clang()?;
    let out = PathBuf::from(variable("OUT_DIR")).join("weir.o");
    let source = Path::new(&variable("CARGO_MANIFEST_DIR")).join("bpf/weir.bpf.c");
    let headers = format!("/usr/include/{triple}");
    let mut command = Command::new(&clang);
    command.args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", &format!("-D__TARGET_ARCH_{kernel}")]);
    command.arg(format!("-I{headers}")).arg("-c").arg(&source).arg("-o").arg(&out);
    let compiled = command.output().map_err(|error| format!("{clang} cannot be run: {error}"))?;
    if !compiled.status.success() {
        let said = String::from_utf8_lossy(&compiled.stderr);
        let first = said.lines().find(|line| line.contains("error")).unwrap_or("no reason given").to_owned();
        return Err(format!("{clang} cannot compile them (Debian: libbpf-dev, linux-libc-dev): {first}"));
    }
    // What debuggers need; the types of the kernel's structures (BTF) stay.
    let strip = clang.replace("clang", "llvm-strip");
    let stripped = Command::new(&strip).arg("-g").arg(&out).status();
    if !stripped.is_ok_and(|status| status.success()) {
        println!("cargo::warning={strip} is not there: the programs are larger than they need to be");
    }
    fs::metadata(&out).map(drop).map_err(|error| format!("{}: {error}", out.display()))
}

/// The first clang that can be run.
fn clang() -> Result<String, String> {
    let named = env::var("WEIR_CLANG").ok();
    let several = || VERSIONS.rev().map(|version| format!("clang-{version}"));
    let mut candidates = match named {
        Some(named) => vec![named],
        None => std::iter::once("clang".to_owned()).chain(several()).collect(),
    };
    candidates
        .retain(|name| Command::new(name).arg("--version").output().is_ok_and(|ran| ran.status.success()));
    let missing = "clang was not found when it was built (Debian: clang, llvm, libbpf-dev)";
    candidates.into_iter().next().ok_or_else(|| missing.to_owned())
}
