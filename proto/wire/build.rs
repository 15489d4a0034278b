//! Compiles the `.proto` files without a protoc on the machine, and keeps their descriptors for
//! reflection.

use std::path::Path;
use std::{env, error, fs};

use prost::Message as _;

const FILES: [&str; 3] =
    ["drover/sync/v1/sync.proto", "drover/enroll/v1/enroll.proto", "drover/control/v1/control.proto"];

fn main() -> Result<(), Box<dyn error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for file in FILES {
        println!("cargo::rerun-if-changed={}", root.join(file).display());
    }
    let descriptors = protox::compile(FILES, [&root])?;
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("descriptors.bin"), descriptors.encode_to_vec())?;
    // Without the clients' own `connect`, which would clash with the call of that name; channels
    // are made by those who need certificates on them.
    let build = tonic_prost_build::configure().build_transport(false);
    build.bytes(".").btree_map(".").compile_fds(descriptors)?;
    Ok(())
}
