//! Compiles the .proto files with protox, so that no protoc is needed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 7] = [
    "evidence/v1/evidence.proto",
    "station/v1/station.proto",
    "ca/v1/ca.proto",
    "ca/v1/lots.proto",
    "ca/v1/administration.proto",
    "journal/v1/station.proto",
    "journal/v1/ca.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    // Its `Debug` would show a PIN to every log.
    tonic_prost_build::configure().skip_debug([".station.v1.Supervisor"]).compile_fds(descriptors)?;
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    Ok(())
}
