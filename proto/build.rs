//! Compiles the protobuf texts into Rust types, without an installed `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=skywalking");
    let files = protox::compile(["tracing.proto", "metrics.proto", "logging.proto"], ["skywalking"])?;
    prost_build::Config::new().compile_fds(files)?;
    Ok(())
}
