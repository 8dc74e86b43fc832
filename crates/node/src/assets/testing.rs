//! Bundles, jobs and stores for the tests of assets.

use std::{
    io::{Cursor, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use teraslice_core::{context::Context, store::StateStore};
use teraslice_model::{execution::Execution, id::ExId, job::RawJob};
use teraslice_runtime_wasm::bundle::Digests;
use teraslice_store::MemoryStore;
use wit_component::StringEncoding;
use wit_parser::Resolve;
use zip::{ZipWriter, write::SimpleFileOptions};

use super::library::{DiskLibrary, LibraryOptions};
use crate::{config::Config, parts::Parts};

/// A cluster's folder, store and library.
pub(super) struct Place {
    pub(super) folder: TempDir,
    pub(super) store: Arc<dyn StateStore>,
    pub(super) context: Context,
    pub(super) parts: Parts,
}

impl Place {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let context = Context::system();
        let parts = parts(&folder.path().join("assets"));
        let store = Arc::new(MemoryStore::new(context.clone()));
        Self { folder, store, context, parts }
    }

    pub(super) fn assets(&self) -> PathBuf {
        self.folder.path().join("assets")
    }

    pub(super) fn options(&self) -> LibraryOptions {
        LibraryOptions::new(self.assets())
    }

    pub(super) async fn library(&self) -> DiskLibrary {
        self.library_with(self.options()).await
    }

    pub(super) async fn library_with(&self, options: LibraryOptions) -> DiskLibrary {
        let store = Arc::clone(&self.store);
        DiskLibrary::open(options, self.parts.clone(), store, self.context.clone()).await.unwrap()
    }

    /// Lists the files in the folder of the assets.
    pub(super) fn files(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.assets()).unwrap().map(|file| file.unwrap().file_name());
        let mut files: Vec<_> = files.map(|name| name.into_string().unwrap()).collect();
        files.sort_unstable();
        files
    }

    pub(super) async fn execution(&self, assets: Value) -> ExId {
        let ex_id = self.context.ex_id();
        let now = self.context.wall();
        let mut job = Map::new();
        job.insert("assets".to_owned(), assets);
        let execution = Execution::new(ex_id, self.context.job_id(), job, now);
        self.store.create_execution(execution).await.unwrap();
        ex_id
    }
}

pub(super) fn parts(assets: &Path) -> Parts {
    let autoload = assets.join("../autoload");
    let assets_directories = vec![assets.to_owned()];
    Parts::new(Config { assets_directories, autoload_directory: autoload, ..Config::default() })
}

/// Makes a module with one operation, whose name has four letters.
pub(super) fn module(op: &str) -> Vec<u8> {
    assert_eq!(op.len(), 4);
    let text = include_str!("../../../runtime-wasm/tests/hostile/module.wat")
        .replace("\"evil\"", &format!("{op:?}"));
    let mut module = wat::parse_str(text).unwrap();
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-sdk/wit");
    let (package, _) = resolve.push_dir(wit).unwrap();
    let world = resolve.select_world(&[package], Some("processor")).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    module
}

pub(super) fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Makes a bundle that is described as usual but for `more`.
pub(super) fn described(name: &str, version: &str, op: &str, more: &Value) -> Vec<u8> {
    let mut description =
        json!({"name": name, "version": version, "runtime": "wasm", "wit": "teraslice:asset@1.0.0"});
    for (key, value) in more.as_object().unwrap() {
        description[key] = value.clone();
    }
    zip(&[("asset.json", description.to_string().as_bytes()), ("asset.wasm", &module(op))])
}

pub(super) fn bundle(name: &str, version: &str, op: &str) -> Vec<u8> {
    described(name, version, op, &json!({}))
}

pub(super) fn id(zip: &[u8]) -> String {
    let mut digests = Digests::default();
    digests.update(zip);
    digests.finish().id
}

/// Makes a job of built-in operations around others.
pub(super) fn job(assets: &Value, ops: &[&str]) -> RawJob {
    let mut operations = vec![json!({"_op": "data_generator", "size": 10})];
    operations.extend(ops.iter().map(|op| json!({"_op": op})));
    operations.push(json!({"_op": "noop"}));
    let Value::Object(job) = json!({"assets": assets, "operations": operations}) else { unreachable!() };
    RawJob(job)
}
