//! Files that are not loaded, and what the user is told.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use serde_json::json;
use teraslice_backend_plugin::{OpenError, Transport};
use teraslice_core::conformance::backend::Cluster as _;

use crate::support::{Stage, process, spoil, wrong_file, wrong_library, wrong_process};

async fn refused(transport: Transport) -> OpenError {
    Stage::wrong(transport, "none").connect().open().await.expect_err("it is not loaded")
}

fn library(path: PathBuf) -> Transport {
    Transport::Library { path, sha256: None }
}

/// Replaces the first place of some bytes.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let at = bytes.windows(from.len()).position(|window| window == from).expect("the bytes are there");
    bytes[at..at + to.len()].copy_from_slice(to);
}

#[tokio::test]
async fn names_what_is_wrong_with_a_file_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("text.so"), "#!/bin/sh\necho I am not a library\n").unwrap();
    fs::write(at("short.so"), "x").unwrap();
    let magic = teraslice_plugin_sdk::abi::MAGIC;
    let with = |at: usize, bytes: &[u8]| [&magic, &[0; 8][..at - 16], bytes].concat();
    let size = teraslice_plugin_sdk::abi::PluginTable::SIZE.to_le_bytes();
    let table = |from: &mut Vec<u8>, to: Vec<u8>| replace(from, &[&magic[..], &size].concat(), &to);
    let cases = [
        (library("libx.so".into()), "is not an absolute path", "beginning with /"),
        (library(at("missing.so")), "failed to read", "install it there"),
        (library(at("text.so")), "is not a shared library: it is not an ELF file", "transport: process"),
        (library(at("short.so")), "it is not an ELF file", "transport: process"),
        (
            library(spoil(folder.path(), "arch.so", |bytes| bytes[18] = 40)),
            "was built for another machine: arm",
            "build the backend for this machine",
        ),
        (
            library(spoil(folder.path(), "cut.so", |bytes| bytes.truncate(4_000))),
            "is not a shared library: it is cut off",
            "transport: process",
        ),
        (
            library(spoil(folder.path(), "symbol.so", |bytes| {
                let name = b"teraslice_backend_entry_v1";
                while bytes.windows(name.len()).any(|window| window == name) {
                    replace(bytes, name, b"teraslice_backend_entry_v0");
                }
            })),
            "has no symbol teraslice_backend_entry_v1",
            "export_backend!",
        ),
        (
            library(spoil(folder.path(), "magic.so", |bytes| {
                table(bytes, [b"teraslice-other!".to_vec(), size.to_vec()].concat());
            })),
            "it begins with \"teraslice-other!\"",
            "SDK of this version",
        ),
        (
            library(spoil(folder.path(), "size.so", |bytes| table(bytes, with(16, &[24, 0, 0, 0])))),
            "it has 24 bytes, at least",
            "SDK of this version",
        ),
        (
            library(spoil(folder.path(), "major.so", |bytes| {
                table(bytes, with(16, &[&size[..], &[9, 0]].concat()));
            })),
            "speaks version 9 of the C interface, this program 1",
            "SDK of this version",
        ),
        (process(&[]), "the command of the backend is empty", "the whole path"),
        (process(&["python3", "x.py"]), "is not an absolute path", "the whole path"),
    ];
    for (transport, expected, hint) in cases {
        let line = refused(transport).await.line();
        assert!(line.contains(expected) && line.contains(hint), "{line}");
    }
}

#[tokio::test]
async fn refuses_files_that_others_may_replace() {
    let folder = tempfile::tempdir().unwrap();
    let path = spoil(folder.path(), "open.so", |_| {});
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    let line = refused(library(path.clone())).await.line();
    assert!(line.contains("can be written by others than its owner: mode 777"), "{line}");
    assert!(line.contains("chmod go-w"), "{line}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let line = refused(library(path)).await.line();
    assert!(line.contains("can be written by others"), "its folder counts too: {line}");
}

#[tokio::test]
async fn loads_a_pinned_file_and_no_other() {
    let Transport::Library { path, .. } = wrong_library() else { unreachable!() };
    let pinned = |sha256: &str| Transport::Library { path: path.clone(), sha256: Some(sha256.to_owned()) };
    let OpenError::Digest { found, .. } = refused(pinned(&"0".repeat(64))).await else {
        panic!("another file")
    };
    let stage = Stage::wrong(pinned(&found.to_uppercase()), "none");
    assert_eq!(stage.connect().open().await.unwrap().version, "1.2.3");
    assert!(wrong_file().is_absolute());
}

#[tokio::test]
async fn checks_the_configuration_against_the_schema_of_the_backend() {
    for transport in [wrong_library(), wrong_process()] {
        let stage = Stage::new(transport, json!({"fault": 7, "queue": "long"}));
        let OpenError::Config(problems) = stage.connect().open().await.unwrap_err() else {
            panic!("its configuration is wrong")
        };
        let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|it| it.starts_with("/cluster_backends/tested/config/fault: ")), "{told:?}");
        assert!(told.iter().any(|it| it.contains("queue")), "{told:?}");
    }
}
