use std::{error::Error, io::Cursor, io::Write as _};

use proptest::prelude::*;
use zip::{ZipWriter, write::SimpleFileOptions};

use super::*;

const MAX: u64 = 1 << 20;

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Puts other bytes in the place of some, wherever they are.
fn replaced(zip: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut zip = zip.to_vec();
    let places: Vec<_> = (0..=zip.len() - from.len()).filter(|at| zip[*at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    for at in places {
        zip[at..at + from.len()].copy_from_slice(to);
    }
    zip
}

fn checked(zip: &[u8]) -> Result<(), String> {
    let text = |error: BundleError| match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    check(&mut Cursor::new(zip), MAX).map_err(text)
}

#[test]
fn lets_files_and_folders_pass() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.add_directory("static", SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
    writer.start_file("static/a..b", SimpleFileOptions::default().unix_permissions(0o644)).unwrap();
    writer.write_all(b"text").unwrap();
    assert_eq!(checked(&writer.finish().unwrap().into_inner()), Ok(()));
    // As programs write that do not know the sizes beforehand.
    let mut writer = ZipWriter::new_stream(Vec::new());
    writer.start_file("a", SimpleFileOptions::default()).unwrap();
    writer.write_all(&[7; 5_000]).unwrap();
    assert_eq!(checked(&writer.finish().unwrap().into_inner()), Ok(()));
}

#[test]
fn refuses_names_that_lead_out_of_the_bundle() {
    for name in ["../../xx", "/etc/xxx", "a/../../", "..\\..\\xx", "C:\\xxxxx", "\\\\xxxxxx"] {
        let zip = replaced(&zip(&[("12345678", b"x")]), b"12345678", &format!("{name:x<8}").as_bytes()[..8]);
        let refused = checked(&zip).unwrap_err();
        assert!(refused.ends_with(" leads out of the bundle"), "{name}: {refused}");
    }
    let zip = replaced(&zip(&[("12345678", b"x")]), b"12345678", b"a\0b.json");
    assert_eq!(checked(&zip).unwrap_err(), "\"a\\0b.json\" has no name that a file could have");
}

#[test]
fn refuses_links() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    assert_eq!(
        checked(&writer.finish().unwrap().into_inner()).unwrap_err(),
        "\"link\" is a link or a device: a bundle holds files and folders only"
    );
}

#[test]
fn refuses_a_name_that_comes_twice() {
    let zip = replaced(&zip(&[("a", b"1"), ("asset.jso1", b"2"), ("asset.jso2", b"3")]), b"jso2", b"jso1");
    assert_eq!(checked(&zip).unwrap_err(), "\"asset.jso1\" is there more than once");
}

#[test]
fn unpacks_no_more_than_the_limit() {
    let half = vec![0; 1 << 19];
    let two: &[(&str, &[u8])] = &[("one", &half), ("two", &half)];
    assert_eq!(checked(&zip(two)), Ok(()));
    let bomb = zip(&[("one", &half), ("two", &half), ("more", b"1")]);
    assert_eq!(checked(&bomb).unwrap_err(), "\"more\" makes the bundle larger than 1048576 bytes unpacked");
}

#[test]
fn does_not_believe_the_sizes_that_a_zip_tells() {
    let real = zip(&[("bomb", &[0; 500_000])]);
    let liar = replaced(&real, &500_000_u32.to_le_bytes(), &5_u32.to_le_bytes());
    assert!(checked(&liar).unwrap_err().contains("bomb"));
    let liar = replaced(&real, &500_000_u32.to_le_bytes(), &500_001_u32.to_le_bytes());
    assert!(checked(&liar).unwrap_err().contains("bomb"));
}

#[test]
fn refuses_more_entries_than_anybody_needs() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for number in 0..=ENTRIES_MAX {
        writer.start_file(number.to_string(), SimpleFileOptions::default()).unwrap();
    }
    assert_eq!(checked(&writer.finish().unwrap().into_inner()).unwrap_err(), "more than 10000 entries");
    // A zip of the large form may say so of any number.
    let mut large = b"PK\x03\x04".to_vec();
    large.extend([&LARGE[..], &[0; LARGE_LEN - 4], &END, &[0; END_LEN - 4]].concat());
    assert_eq!(checked(&large).unwrap_err(), "more than 10000 entries");
}

#[test]
fn tells_what_is_no_zip_from_what_is_none_any_more() {
    let whole = zip(&[("asset.json", b"{}"), ("asset.wasm", &[1; 3_000])]);
    for other in [&b""[..], b"PK", b"{}", b"\x7fELF"] {
        assert!(matches!(check(&mut Cursor::new(other), MAX), Err(BundleError::Signature)));
    }
    for len in 4..whole.len() {
        let refused = check(&mut Cursor::new(&whole[..len]), MAX).unwrap_err();
        assert!(matches!(refused, BundleError::Cut), "{len}: {refused}");
    }
}

#[test]
fn names_the_entry_that_is_damaged() {
    let content: Vec<_> = (0..10_000_u32).flat_map(|number| (number * number).to_le_bytes()).collect();
    let mut damaged = zip(&[("good", b"x"), ("asset.wasm", &content)]);
    damaged[5_000] ^= 0x10;
    let refused = checked(&damaged).unwrap_err();
    assert!(refused.starts_with("failed to unpack asset.wasm: "), "{refused}");
}

proptest! {
    #[test]
    fn takes_anything(at in prop::collection::vec((0..400_usize, any::<u8>()), 1..6)) {
        let mut bytes = zip(&[("asset.json", b"{\"a\":1}"), ("b/", b""), ("asset.wasm", &[1; 3_000])]);
        for (at, byte) in at {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let _checked = checked(&bytes);
    }
}
