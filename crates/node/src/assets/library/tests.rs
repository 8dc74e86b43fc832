use futures::future::join_all;
use serde_json::{Value, json};
use teraslice_core::store::StatusChange;

use super::*;
use crate::assets::testing::{Place, bundle, described, id, module, zip};

fn body(bytes: &[u8]) -> BoxStream<'static, io::Result<Bytes>> {
    let chunks: Vec<_> = bytes.chunks(1_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    stream::iter(chunks).boxed()
}

async fn refused(library: &DiskLibrary, zip: &[u8]) -> LibraryError {
    library.upload(body(zip)).await.unwrap_err()
}

#[tokio::test]
async fn publishes_a_bundle_under_its_id() {
    let place = Place::new();
    let library = place.library().await;
    let more = json!({
        "description": "text", "version": "v1.0.0", "node_version": "18.16.0", "platform": "linux", "arch": "",
        "minimum_teraslice_version": "0.0.1",
    });
    let zip = described("mine", "", "evil", &more);
    let uploaded = library.upload(body(&zip)).await.unwrap();
    assert_eq!(uploaded, Uploaded { id: id(&zip), is_new: true });
    let listed = library.list().await.unwrap();
    let record = &listed[0];
    assert_eq!((record.name.as_str(), record.version.as_str()), ("mine", "1.0.0"));
    assert_eq!((record.description.as_deref(), record.node_version), (Some("text"), Some(18)));
    assert_eq!((record.platform.as_deref(), record.arch.as_deref()), (Some("linux"), None));
    assert_eq!(record.size, zip.len() as u64);
    let (opened, mut file) = library.open(&uploaded.id).await.unwrap();
    let mut read = Vec::new();
    file.read_to_end(&mut read).await.unwrap();
    assert_eq!((&opened, read), (record, zip));
    assert_eq!(place.files(), [format!("{}.zip", uploaded.id)]);
}

#[tokio::test]
async fn takes_the_same_bundle_again_and_puts_a_lost_file_back() {
    let place = Place::new();
    let library = place.library().await;
    let zip = bundle("mine", "1.0.0", "evil");
    let new = library.upload(body(&zip)).await.unwrap();
    assert!(!library.upload(body(&zip)).await.unwrap().is_new);
    let path = place.assets().join(format!("{}.zip", new.id));
    for loss in ["gone", "short", "changed"] {
        match loss {
            "gone" => fs::remove_file(&path).unwrap(),
            "short" => fs::write(&path, &zip[..100]).unwrap(),
            _ => fs::write(&path, vec![0; zip.len()]).unwrap(),
        }
        let again = library.upload(body(&zip)).await.unwrap();
        assert_eq!(again, Uploaded { id: new.id.clone(), is_new: false }, "{loss}");
        assert_eq!(fs::read(&path).unwrap(), zip, "{loss}");
    }
    assert_eq!(library.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn one_of_many_uploads_of_the_same_bundle_is_new() {
    let place = Place::new();
    let library = place.library().await;
    let zip = bundle("mine", "1.0.0", "evil");
    let uploads = join_all((0..12).map(|_| library.upload(body(&zip)))).await;
    let uploads: Vec<_> = uploads.into_iter().map(Result::unwrap).collect();
    assert_eq!(uploads.iter().filter(|uploaded| uploaded.is_new).count(), 1);
    assert!(uploads.iter().all(|uploaded| uploaded.id == id(&zip)));
    assert_eq!(place.files(), [format!("{}.zip", id(&zip))]);
}

#[tokio::test]
async fn refuses_another_bundle_of_the_same_name_and_version() {
    let place = Place::new();
    let library = place.library().await;
    let first = library.upload(body(&bundle("mine", "1.0.0", "evil"))).await.unwrap();
    let other = bundle("mine", "1.0.0", "good");
    let error = refused(&library, &other).await;
    assert!(matches!(&error, LibraryError::Exists { id, .. } if *id == first.id), "{error}");
    // Another platform is another asset.
    let elsewhere = described("mine", "1.0.0", "good", &json!({"platform": "darwin"}));
    assert!(library.upload(body(&elsewhere)).await.unwrap().is_new);
    let uploads = [bundle("mine", "2.0.0", "evil"), bundle("mine", "2.0.0", "good")];
    let both = join_all(uploads.iter().map(|zip| library.upload(body(zip)))).await;
    assert_eq!(both.iter().filter(|uploaded| uploaded.is_ok()).count(), 1, "{both:?}");
    assert_eq!(place.files().len(), 3, "nothing is left of what was refused");
}

#[tokio::test]
async fn says_what_is_wrong_with_a_bundle() {
    let place = Place::new();
    let library = place.library().await;
    let described = |more: Value| described("mine", "1.0.0", "evil", &more);
    let (module, script) = (module("evil"), br#"{"name":"old","version":"1.0.0"}"#);
    let good = br#"{"name":"a","version":"1.0.0","runtime":"wasm","wit":"teraslice:asset@1.0.0"}"#;
    let cases = [
        (Vec::new(), "failed to save asset: the upload is empty"),
        (b"{}".to_vec(), "failed to save asset: not a zip file: it does not begin as one"),
        (
            described(json!({}))[..300].to_vec(),
            "failed to save asset: not a whole zip file: its end is missing",
        ),
        (zip(&[("a", b"")]), "asset.json was not found at the root of the zip"),
        (
            zip(&[("asset.json", script), ("index.js", b"exports.ASSETS = {}")]),
            "asset old is JavaScript and has no WebAssembly module: its operations have to be rebuilt",
        ),
        (zip(&[("asset.json", b"[")]), "asset.json is not the description of an asset: EOF"),
        (
            zip(&[("asset.json", good), ("asset.wasm", &module), ("x/../../y", b"")]),
            "\"x/../../y\" leads out",
        ),
        (
            zip(&[("asset.json", good), ("asset.wasm", b"\0asm\x0d\0\x01\0")]),
            "asset a does not keep the contract",
        ),
        (
            zip(&[("asset.json", good), ("asset.wasm", &module[..200])]),
            "asset a imports unexpected end-of-file",
        ),
        (described(json!({"version": "one"})), "asset.json: version \"one\" is not like 1.2.3: "),
        (described(json!({"name": "a:b"})), "asset.json: name is \"a:b\", expected a name"),
        (described(json!({"wit": "teraslice:asset@2.0.0"})), "asset.json: wit is \"teraslice:asset@2.0.0\""),
        (
            described(json!({"minimum_teraslice_version": "99.0.0"})),
            "asset mine needs Teraslice 99.0.0 or later, this is ",
        ),
    ];
    for (zip, message) in cases {
        let error = refused(&library, &zip).await;
        assert!(error.to_string().starts_with(message), "{error}\nexpected {message}");
        let is_zip = !message.starts_with("failed to save");
        assert_eq!(matches!(error, LibraryError::Invalid { .. }), is_zip, "{error:?}");
        assert_eq!(matches!(error, LibraryError::NotZip { .. }), !is_zip, "{error:?}");
    }
    assert_eq!(place.files(), [""; 0]);
    assert_eq!(library.list().await.unwrap(), []);
}

#[tokio::test]
async fn lets_in_no_more_than_it_may() {
    let place = Place::new();
    let library = place.library_with(LibraryOptions { size_max: 2_000, ..place.options() }).await;
    let endless = stream::repeat_with(|| Ok(Bytes::from_static(&[0; 500]))).boxed();
    let error = library.upload(endless).await.unwrap_err();
    assert_eq!(error.to_string(), "the bundle is larger than 2000 bytes");
    let library = place.library_with(LibraryOptions { unpacked_max: 5_000, ..place.options() }).await;
    let bomb = described("mine", "1.0.0", "evil", &json!({"more": " ".repeat(5_000)}));
    let error = refused(&library, &bomb).await;
    assert_eq!(error.to_string(), "\"asset.json\" makes the bundle larger than 5000 bytes unpacked");
    assert_eq!(place.files(), [""; 0]);
}

#[tokio::test]
async fn leaves_nothing_of_an_upload_that_breaks_off() {
    let place = Place::new();
    let options = LibraryOptions { idle_max: Duration::from_millis(20), uploads_max: 1, ..place.options() };
    let library = place.library_with(options).await;
    let start = bundle("mine", "1.0.0", "evil")[..1_000].to_vec();
    let broken =
        stream::iter([Ok(Bytes::from(start.clone())), Err(io::Error::other("reset by peer"))]).boxed();
    let error = library.upload(broken).await.unwrap_err();
    assert_eq!(error.to_string(), "failed to save asset: the upload has broken off: reset by peer");
    let silent = || body(&start).chain(stream::pending()).boxed();
    let error = library.upload(silent()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to save asset: the upload has broken off: nothing has come for 0 s"
    );
    // Dropped while it waits.
    let _dropped = timeout(Duration::from_millis(1), library.upload(silent())).await;
    wait_until(|| place.files().is_empty()).await;
    assert!(
        library.upload(body(&bundle("mine", "1.0.0", "evil"))).await.unwrap().is_new,
        "there is a turn left"
    );
}

#[tokio::test]
async fn lets_others_wait_for_their_turn_for_a_while() {
    let place = Place::new();
    let turn_wait = Duration::from_millis(10);
    let library = place.library_with(LibraryOptions { uploads_max: 1, turn_wait, ..place.options() }).await;
    let first = library.clone();
    let first = place.context.spawn(async move { first.upload(stream::pending().boxed()).await });
    wait_until(|| library.inner.uploads.available_permits() == 0).await;
    let error = refused(&library, b"").await;
    assert!(matches!(error, LibraryError::Store(StoreError::Unavailable { .. })), "{error:?}");
    first.abort();
}

#[tokio::test]
async fn deletes_what_no_active_execution_uses() {
    let place = Place::new();
    let library = place.library().await;
    let id = library.upload(body(&bundle("mine", "1.0.0", "evil"))).await.unwrap().id;
    place.execution(json!(null)).await;
    let user = place.execution(json!(["x", id])).await;
    let error = library.delete(&id).await.unwrap_err();
    assert!(matches!(error, LibraryError::InUse { ex_id, .. } if ex_id == user), "{error:?}");
    place.store.set_status(user, StatusChange::new(Status::Pending, Status::Failed)).await.unwrap();
    library.delete(&id).await.unwrap();
    assert_eq!((library.list().await.unwrap(), place.files()), (Vec::new(), Vec::new()));
    for unknown in [id.as_str(), "mine", "../../etc/passwd"] {
        assert!(matches!(library.delete(unknown).await, Err(LibraryError::Unknown { .. })), "{unknown}");
        assert!(matches!(library.open(unknown).await, Err(LibraryError::Unknown { .. })), "{unknown}");
    }
}

#[tokio::test]
async fn tidies_up_after_a_master_that_has_died() {
    let place = Place::new();
    let zip = bundle("mine", "1.0.0", "evil");
    let kept = place.library().await.upload(body(&zip)).await.unwrap().id;
    let lost = "b".repeat(40);
    let foreign = "c".repeat(40);
    for name in [
        ".aside-x",
        &format!(".pending-{kept}"),
        &format!(".pending-{lost}"),
        &format!("{lost}.zip"),
        &format!("{foreign}.zip"),
    ] {
        fs::write(place.assets().join(name), b"PK").unwrap();
    }
    let library = place.library().await;
    assert_eq!(place.files(), [format!("{kept}.zip"), format!("{foreign}.zip")].sorted());
    assert!(library.open(&kept).await.is_ok());
}

#[tokio::test]
async fn loads_the_zips_of_a_folder_and_goes_on_past_bad_ones() {
    let place = Place::new();
    let autoload = place.folder.path().join("autoload");
    let library = place.library().await;
    library.autoload(&autoload).await;
    fs::create_dir(&autoload).unwrap();
    let zips = [
        ("a.zip", b"no zip".to_vec()),
        ("b.zip", bundle("mine", "1.0.0", "evil")),
        ("c.zip", bundle("mine", "1.0.0", "good")),
        ("d.zip", bundle("mine", "1.1.0", "good")),
        ("e.txt", bundle("mine", "1.2.0", "good")),
    ];
    for (name, zip) in &zips {
        fs::write(autoload.join(name), zip).unwrap();
    }
    for _again in 0..2 {
        library.autoload(&autoload).await;
        let mut versions: Vec<_> =
            library.list().await.unwrap().into_iter().map(|record| record.version).collect();
        versions.sort_unstable();
        assert_eq!(versions, ["1.0.0", "1.1.0"]);
    }
}

#[tokio::test]
async fn publishes_the_standard_asset_of_each_binary() {
    let place = Place::new();
    let library = place.library().await;
    let own = |version, op| -> &'static [u8] { bundle(STANDARD, version, op).leak() };
    // The last has the version of another, as happens to who builds their own.
    for zip in [own("1.0.0", "evil"), own("1.0.0", "evil"), own("1.1.0", "evil"), own("1.1.0", "good")] {
        library.publish_own(zip).await.unwrap();
    }
    let listed = library.list().await.unwrap().into_iter();
    let mut versions: Vec<_> = listed.map(|record| format!("{}:{}", record.name, record.version)).collect();
    versions.sort_unstable();
    assert_eq!(versions, ["standard:1.0.0", "standard:1.1.0"]);
}

async fn wait_until(mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), wait).await.expect("it comes to pass");
}

trait Sorted {
    fn sorted(self) -> Vec<String>;
}

impl<const N: usize> Sorted for [String; N] {
    fn sorted(mut self) -> Vec<String> {
        self.sort_unstable();
        self.to_vec()
    }
}
