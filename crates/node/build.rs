//! Embeds the standard asset, where it has been built.

use std::{env, ffi::OsStr, fs, path::PathBuf};

fn main() {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let assets = PathBuf::from(manifest).join("../../assets");
    let dist = assets.join("dist");
    // Without the folder, its making has to be seen, which changes the folder above.
    let watched = if dist.is_dir() { &dist } else { &assets };
    println!("cargo::rerun-if-changed={}", watched.display());
    let files = fs::read_dir(&dist).into_iter().flatten().flatten().map(|file| file.path());
    let is_standard = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.starts_with("standard-v") && name.ends_with(".zip")
    };
    // The newest, where an older version has been left behind.
    let newest =
        files.filter(is_standard).max_by_key(|path| path.metadata().and_then(|file| file.modified()).ok());
    let bytes = match newest.map(|path| path.canonicalize().unwrap_or(path)) {
        Some(path) => {
            println!("cargo::rerun-if-changed={}", path.display());
            format!("include_bytes!({path:?})")
        }
        None => "&[]".to_owned(),
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("embedded.rs");
    let code = format!(
        "/// The zip of the standard asset; empty when it was not built before.\npub(crate) const STANDARD: &[u8] = {bytes};\n"
    );
    fs::write(out, code).expect("OUT_DIR can be written");
}
