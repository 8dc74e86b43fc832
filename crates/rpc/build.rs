//! Generates the messages and services of `proto/`, without `protoc`.

use std::{error::Error, fs, path::Path};

const FOLDER: &str = "proto/teraslice/v1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut files: Vec<_> =
        fs::read_dir(FOLDER)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    files.sort();
    let descriptors = protox::compile(&files, [Path::new("proto")])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
