use std::io::{Cursor, Write as _};

use zip::{ZipWriter, write::SimpleFileOptions};

use super::*;

fn zip(name: &str, version: &str) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let description = format!(
        r#"{{"name":"{name}","version":"{version}","runtime":"wasm","wit":"teraslice:asset@1.0.0"}}"#
    );
    for (name, content) in [("asset.json", description.as_bytes()), ("asset.wasm", b"\0asm\x0d\0\x01\0")] {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Bundles of a folder with these assets; what is embedded does not count here.
fn bundles(assets: &[(&str, &str)]) -> Bundles {
    let mut bundles =
        Bundles { found: Vec::new(), broken: Vec::new(), folders: vec![PathBuf::from("assets")] };
    for (name, version) in assets {
        bundles.add(Path::new("a.zip"), Ok(zip(name, version)));
    }
    bundles
}

fn resolved(assets: &[(&str, &str)], names: &[&str]) -> Result<Vec<String>, Vec<String>> {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    match bundles(assets).resolve(&names) {
        Ok(found) => Ok(found.iter().map(|found| format!("{}:{}", found.name, found.version)).collect()),
        Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
    }
}

#[test]
fn takes_the_highest_version_that_fits() {
    let assets = [("mine", "1.2.0"), ("mine", "1.10.0"), ("mine", "2.0.0")];
    assert_eq!(resolved(&assets, &["mine"]).unwrap(), ["mine:2.0.0"]);
    assert_eq!(resolved(&assets, &["mine:^1"]).unwrap(), ["mine:1.10.0"]);
    assert_eq!(resolved(&assets, &["mine:1.2.0", "mine:2"]).unwrap(), ["mine:1.2.0", "mine:2.0.0"]);
}

#[test]
fn finds_an_asset_by_its_id() {
    let id = bundles(&[("mine", "1.0.0")]).found[0].bundle.id.clone();
    assert_eq!(id.len(), 40);
    assert_eq!(resolved(&[("mine", "1.0.0"), ("other", "1.0.0")], &[&id]).unwrap(), ["mine:1.0.0"]);
}

#[test]
fn adds_the_standard_asset_to_what_a_job_lists() {
    let assets = [("standard", "1.0.0"), ("mine", "1.0.0"), ("standard", "2.0.0")];
    assert_eq!(resolved(&assets, &[]).unwrap(), ["standard:1.0.0"]);
    assert_eq!(resolved(&assets, &["mine"]).unwrap(), ["standard:1.0.0", "mine:1.0.0"]);
    assert_eq!(resolved(&assets, &["standard:2"]).unwrap(), ["standard:2.0.0"]);
}

#[test]
fn lists_what_is_there_when_an_asset_is_unknown() {
    let assets = [("mine", "1.2.0"), ("mine", "1.3.0"), ("other", "1.0.0")];
    assert_eq!(
        resolved(&assets, &["mime", "mine:2", "other:newest"]).unwrap_err(),
        [
            "/assets/0: unknown asset \"mime\" (did you mean \"mine\"? known: mine, other; looked for zips in assets)",
            "/assets/1: no version of asset \"mine\" fits \"mine:2\" (there are: 1.2.0, 1.3.0)",
            "/assets/2: \"newest\" in \"other:newest\" is neither a version nor a range: unexpected character 'n' while parsing major version number",
        ]
    );
}

#[test]
fn passes_over_zips_that_are_no_assets() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.zip"), b"not a zip").unwrap();
    fs::write(folder.path().join("b.zip"), zip("mine", "one")).unwrap();
    fs::write(folder.path().join("c.zip"), zip("mine", "1.0.0")).unwrap();
    fs::write(folder.path().join("d.txt"), b"").unwrap();
    let bundles = Bundles::with_folders(vec![folder.path().to_owned(), PathBuf::from("/nowhere")]);
    let broken: Vec<_> = bundles.broken.iter().map(|broken| crate::parts::chain(&broken.source)).collect();
    assert_eq!(broken[0], "not a zip file: invalid Zip archive: Could not find EOCD");
    assert!(broken[1].starts_with("asset.json: version \"one\" is not like 1.2.3: "), "{}", broken[1]);
    assert!(bundles.found.iter().any(|found| found.bundle.name == "mine"));
}
