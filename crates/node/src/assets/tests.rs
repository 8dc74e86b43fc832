use super::*;
use testing::zip as packed;

fn zip(name: &str, version: &str) -> Vec<u8> {
    let description = format!(
        r#"{{"name":"{name}","version":"{version}","runtime":"wasm","wit":"teraslice:asset@1.0.0"}}"#
    );
    packed(&[("asset.json", description.as_bytes()), ("asset.wasm", b"\0asm\x0d\0\x01\0")])
}

/// Bundles of a folder with these assets; what is embedded does not count here.
fn bundles(assets: &[(&str, &str)]) -> Bundles {
    let folders = vec![PathBuf::from("assets")];
    let mut bundles = Bundles { found: Vec::new(), folders, is_searched: true };
    for (name, version) in assets {
        bundles.add(Path::new("a.zip"), Bundle::read(&zip(name, version)));
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
fn returns_each_bundle_once_in_the_order_asked_for() {
    let assets = [("mine", "1.0.0"), ("other", "1.0.0")];
    assert_eq!(resolved(&assets, &["other", "mine", "other:1"]).unwrap(), ["other:1.0.0", "mine:1.0.0"]);
}

#[test]
fn takes_the_first_standard_asset_for_jobs_that_list_none() {
    let assets = [("mine", "1.0.0"), ("standard", "1.0.0"), ("standard", "2.0.0")];
    assert_eq!(bundles(&assets).standard().unwrap().version, "1.0.0");
    assert_eq!(resolved(&assets, &["standard"]).unwrap(), ["standard:2.0.0"]);
    assert!(bundles(&[("mine", "1.0.0")]).standard().is_none());
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
    let mut bundles = Bundles::new(vec![folder.path().to_owned(), PathBuf::from("/nowhere")]);
    let found = bundles.resolve(&["mine".to_owned()]).unwrap();
    assert_eq!(found[0].version, "1.0.0");
}

#[test]
fn opens_a_bundle_by_its_id_without_reading_others() {
    let folder = tempfile::tempdir().unwrap();
    let zip = zip("mine", "1.0.0");
    let id = testing::id(&zip);
    fs::write(folder.path().join(format!("{id}.zip")), zip).unwrap();
    let mut bundles = Bundles::new(vec![PathBuf::from("/nowhere"), folder.path().to_owned()]);
    let found = bundles.resolve(&[id.clone(), id.clone()]).unwrap();
    assert_eq!((found.len(), &found[0].id, found[0].name.as_str()), (1, &id, "mine"));
    assert!(!bundles.is_searched);
    let unknown = bundles.resolve(&["0".repeat(40)]).unwrap_err();
    assert!(unknown[0].message.starts_with("unknown asset \"000"), "{unknown:?}");
    assert!(bundles.is_searched);
}
