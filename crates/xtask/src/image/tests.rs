//! Images of a small program, read back.

use std::{collections::BTreeMap, io::Read as _};

use serde_json::json;

use super::*;

/// An entry of a tar file: mode, owner, time, bytes.
type Entries = BTreeMap<String, (u32, u64, u64, Vec<u8>)>;

fn untar(bytes: &[u8]) -> Entries {
    let mut tar = tar::Archive::new(bytes);
    let entries = tar.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let (path, header) = (entry.path().unwrap().display().to_string(), entry.header().clone());
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let (mode, owner) = (header.mode().unwrap(), header.uid().unwrap());
        (path, (mode, owner, header.mtime().unwrap(), bytes))
    });
    entries.collect()
}

/// An image that was written to a file and read back.
struct Image {
    archive: Vec<u8>,
    files: Entries,
}

impl Image {
    /// Makes the image of a program of this machine.
    fn of_true(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("new/image.tar");
        let arguments = [name, "--binary", "/bin/true", "--output", output.to_str().unwrap()];
        make(&Options::parse(arguments.map(str::to_owned)).unwrap()).unwrap();
        let archive = fs::read(output).unwrap();
        Self { files: untar(&archive), archive }
    }

    fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_slice(&self.files[path].3).unwrap()
    }

    /// Returns what a descriptor names, when its size and digest are right.
    fn blob(&self, descriptor: &serde_json::Value) -> &[u8] {
        let name = descriptor["digest"].as_str().unwrap();
        let bytes = &self.files[&format!("blobs/{}", name.replace(':', "/"))].3;
        assert_eq!(descriptor["size"], bytes.len());
        assert_eq!(archive::digest(bytes), name);
        bytes
    }

    fn manifest(&self) -> serde_json::Value {
        serde_json::from_slice(self.blob(&self.json("index.json")["manifests"][0])).unwrap()
    }

    fn config(&self) -> serde_json::Value {
        serde_json::from_slice(self.blob(&self.manifest()["config"])).unwrap()
    }

    /// Returns the layer's tar file.
    fn layer(&self) -> Vec<u8> {
        let manifest = self.manifest();
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(self.blob(&manifest["layers"][0])).read_to_end(&mut tar).unwrap();
        tar
    }
}

#[test]
fn says_what_the_image_is_called_and_how_it_starts() {
    let image = Image::of_true("teraslice:k8sdev");
    let index = image.json("index.json");
    let annotations = json!({
        "io.containerd.image.name": "docker.io/library/teraslice:k8sdev",
        "org.opencontainers.image.ref.name": "k8sdev",
    });
    assert_eq!(index["manifests"][0]["annotations"], annotations);
    assert_eq!(image.json("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}));
    assert_eq!(image.json("manifest.json")[0]["RepoTags"], json!(["teraslice:k8sdev"]));
    let config = json!({
        "User": "10001:10001",
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
        "Entrypoint": ["/usr/local/bin/teraslice"],
        "WorkingDir": "/app",
    });
    assert_eq!(image.config()["config"], config);
}

#[test]
fn names_every_blob_by_its_digest() {
    let image = Image::of_true("teraslice:k8sdev");
    let config = image.config();
    assert_eq!(config["rootfs"]["diff_ids"], json!([archive::digest(&image.layer())]));
    let docker = image.json("manifest.json");
    let layer = image.manifest()["layers"][0]["digest"].as_str().unwrap().replace(':', "/");
    assert_eq!(docker[0]["Layers"], json!([format!("blobs/{layer}")]));
    assert_eq!(image.files.keys().filter(|path| path.starts_with("blobs/")).count(), 3);
}

#[test]
fn holds_the_program_its_libraries_and_its_user() {
    let layer = untar(&Image::of_true("teraslice:k8sdev").layer());
    let (mode, owner, _, program) = &layer["usr/local/bin/teraslice"];
    assert_eq!((*mode, *owner), (0o755, 0));
    assert!(program.starts_with(b"\x7fELF"));
    for library in programs::libraries(Path::new("/bin/true")).unwrap() {
        let (mode, _, _, bytes) = &layer[&library.strip_prefix("/").unwrap().display().to_string()];
        assert_eq!((*mode, bytes), (0o755, &fs::read(&library).unwrap()));
    }
    assert!(String::from_utf8_lossy(&layer["etc/passwd"].3).contains("\nteraslice:x:10001:10001:"));
    assert!(String::from_utf8_lossy(&layer["etc/group"].3).contains("\nteraslice:x:10001:"));
    let folders =
        [("tmp", 0o1777, 0), ("app", 0o755, 0), ("app/config", 0o755, 0), ("app/assets", 0o755, 10001)];
    for (path, mode, owner) in folders {
        let (found_mode, found_owner, ..) = layer.get(path).unwrap_or_else(|| &layer[&format!("{path}/")]);
        assert_eq!((*found_mode, *found_owner), (mode, owner), "{path}");
    }
}

#[test]
fn has_every_folder_before_what_is_in_it() {
    let layer = Image::of_true("teraslice:k8sdev").layer();
    let mut tar = tar::Archive::new(layer.as_slice());
    let mut seen = vec![PathBuf::new()];
    for entry in tar.entries().unwrap() {
        let path = entry.unwrap().path().unwrap().components().collect::<PathBuf>();
        assert!(seen.iter().any(|folder| Some(folder.as_path()) == path.parent()), "{}", path.display());
        seen.push(path);
    }
}

#[test]
fn makes_the_same_archive_again() {
    let (first, second) = (Image::of_true("teraslice:k8sdev"), Image::of_true("teraslice:k8sdev"));
    assert!(first.archive == second.archive);
    let times = untar(&first.layer()).into_values().chain(first.files.into_values());
    assert!(times.into_iter().all(|(_, _, time, _)| time == 0));
}

#[test]
fn qualifies_names() {
    let cases = [
        ("teraslice:k8sdev", "docker.io/library/teraslice:k8sdev"),
        ("teraslice", "docker.io/library/teraslice:latest"),
        ("terascope/teraslice:v1", "docker.io/terascope/teraslice:v1"),
        ("localhost/teraslice:1", "localhost/teraslice:1"),
        ("localhost:5000/teraslice", "localhost:5000/teraslice:latest"),
        ("registry.example.com/a/b-c:1.2_3", "registry.example.com/a/b-c:1.2_3"),
    ];
    for (name, qualified) in cases {
        assert_eq!(Reference::parse(name).unwrap().qualified(), qualified);
    }
}

#[test]
fn refuses_what_is_no_name() {
    let names = ["", ":1", "Teraslice:1", "a//b", "/a", "a/", "a:", "a:-1", "a b", "a@sha256:00", "a/b:1:2"];
    for name in names {
        assert!(Reference::parse(name).is_err(), "{name}");
    }
}

#[test]
fn reads_the_lines_of_ldd() {
    let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
    let paths = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
    assert_eq!(programs::libraries_in(text).unwrap(), paths);
    let error = programs::libraries_in("\tlibx.so => not found\n").unwrap_err();
    assert_eq!(error.to_string(), "the library libx.so was not found");
}

#[test]
fn takes_debug_information_out_of_programs() {
    let here = std::env::current_exe().unwrap();
    if let Some(stripped) = programs::stripped(&here).unwrap() {
        let len = fs::metadata(&here).unwrap().len();
        assert!(stripped.len() as u64 <= len);
    }
}

#[test]
fn refuses_arguments_that_it_does_not_know() {
    let parse = |arguments: &[&str]| Options::parse(arguments.iter().map(|&argument| argument.to_owned()));
    let refusal = |arguments: &[&str]| parse(arguments).unwrap_err().to_string();
    let nothing = Options { name: "teraslice:k8sdev".to_owned(), binary: None, output: None };
    assert_eq!(parse(&[]).unwrap(), nothing);
    assert_eq!(refusal(&["--name"]), "--name is not known: there are --binary and --output");
    assert_eq!(refusal(&["--output"]), "--output needs a path");
    assert_eq!(refusal(&["--binary", "a", "--binary", "b"]), "--binary is there twice");
    assert_eq!(refusal(&["a:1", "b:1"]), "there is one name at the most, found b:1 as well");
}

#[test]
fn says_how_to_build_a_program_that_is_not_there() {
    let options = ["--binary", "/nowhere/teraslice", "--output", "/nowhere/image.tar"].map(str::to_owned);
    let error = make(&Options::parse(options).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "there is no /nowhere/teraslice: build it by `make build`");
}

#[test]
fn lets_others_read_the_archive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar");
    replace(&path, b"archive").unwrap();
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o044, 0o044);
}
