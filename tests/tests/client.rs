//! The client library of 2018, as it is in the registry, drives our master through every method that it has.

use std::{fs, path::Path, process::Command};

use teraslice_tests::{
    cache,
    cluster::{Cluster, ClusterOptions},
    root, tell,
};

/// Calls that the script makes: every method, some with more than one outcome.
const CALLS_MIN: usize = 36;

/// Installs the client from the registry, once per machine; false where there is no registry.
fn install(folder: &Path) -> bool {
    if folder.join("node_modules/teraslice-client-js").is_dir() {
        return true;
    }
    fs::create_dir_all(folder).expect("the cache can be written");
    fs::copy(root().join("tests/clients/package.json"), folder.join("package.json")).expect("a file to copy");
    let installed =
        Command::new("npm").args(["install", "--no-audit", "--no-fund"]).current_dir(folder).output();
    installed.is_ok_and(|installed| installed.status.success())
}

#[test]
fn the_client_of_2018_drives_the_master() {
    let folder = cache("client-2018");
    if !install(&folder) {
        tell("NOT RUN: the client of 2018 cannot be installed here (npm, a registry)");
        return;
    }
    fs::copy(root().join("tests/clients/drive.js"), folder.join("drive.js")).expect("a file to copy");
    let asset = fs::read_dir(root().join("assets/dist")).expect("assets are built").flatten();
    let asset = asset.map(|file| file.path()).find(|path| path.to_string_lossy().contains("testing"));
    let cluster = Cluster::start(ClusterOptions::default());
    let driven = Command::new("node")
        .arg(folder.join("drive.js"))
        .arg(cluster.url())
        .arg(asset.expect("the testing asset is built"))
        .arg(cluster.stage.path(""))
        .output()
        .expect("node is installed where npm is");
    let said = String::from_utf8_lossy(&driven.stderr).into_owned();
    assert!(driven.status.success(), "{said}\n{}", cluster.logs());
    let called: Vec<String> = serde_json::from_slice(&driven.stdout).expect("the script lists its calls");
    assert!(called.len() >= CALLS_MIN, "{} calls: {called:?}", called.len());
    cluster.await_quiet();
}
