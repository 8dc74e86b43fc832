//! Embeds the kit for authors: the sources of the guest SDK and its contract.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

fn main() {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let kit = PathBuf::from(manifest).join("../guest-sdk");
    let kit = kit.canonicalize().expect("the guest SDK lies beside this crate");
    let mut files = Vec::new();
    for folder in ["src", "wit"] {
        println!("cargo::rerun-if-changed={}", kit.join(folder).display());
        collect(&kit.join(folder), &mut files);
    }
    files.sort();
    let mut code = "/// The files of the kit for authors, by their path in it.\npub(crate) const KIT: &[(&str, &str)] = &[\n".to_owned();
    for file in files {
        let name = file.strip_prefix(&kit).expect("it was found below");
        let _infallible = writeln!(code, "    ({name:?}, include_str!({file:?})),");
    }
    code.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("kit.rs");
    fs::write(out, code).expect("OUT_DIR can be written");
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}
