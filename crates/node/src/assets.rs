//! Asset bundles: the standard one, embedded, and those in the asset folders; chosen by the names in a job.

mod wanted;

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use semver::Version;
use teraslice_model::problem::Problem;
use teraslice_runtime_wasm::{Bundle, BundleError};

use wanted::Wanted;

/// The zip of the standard asset; empty when it was not built before this crate was.
mod embedded {
    include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
}

/// The asset that every job can use without listing it.
pub(crate) const STANDARD: &str = "standard";

/// The bundles that this process can load.
#[derive(Debug)]
pub(crate) struct Bundles {
    found: Vec<Found>,
    /// Zips that are no assets, each with the reason.
    pub(crate) broken: Vec<Broken>,
    folders: Vec<PathBuf>,
}

#[derive(Debug)]
struct Found {
    bundle: Bundle,
    version: Version,
}

/// A zip in an asset folder that is no asset.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the asset {path}", path = path.display())]
pub struct Broken {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub source: BrokenReason,
}

/// Why a zip is no asset.
#[derive(Debug, thiserror::Error)]
pub enum BrokenReason {
    /// It cannot be read.
    #[error("failed to read the file")]
    Io(#[from] io::Error),
    /// It is no bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Its version is none.
    #[error("asset.json: version {version:?} is not like 1.2.3")]
    Version {
        /// As found.
        version: String,
        /// What is wrong with it.
        #[source]
        source: semver::Error,
    },
}

impl Bundles {
    /// Reads the embedded bundle alone.
    pub(crate) fn embedded() -> Self {
        let mut bundles = Self { found: Vec::new(), broken: Vec::new(), folders: Vec::new() };
        if !embedded::STANDARD.is_empty() {
            bundles.add(Path::new("(embedded)/standard.zip"), Ok(embedded::STANDARD.to_vec()));
        }
        bundles
    }

    /// Reads the embedded bundle and every zip in `folders`; folders that do not exist are passed over.
    pub(crate) fn with_folders(folders: Vec<PathBuf>) -> Self {
        let mut bundles = Self::embedded();
        for folder in &folders {
            let Ok(files) = fs::read_dir(folder) else { continue };
            let mut zips: Vec<_> = files.flatten().map(|file| file.path()).collect();
            zips.retain(|path| path.extension().and_then(OsStr::to_str) == Some("zip"));
            zips.sort_unstable();
            for path in zips {
                bundles.add(&path, fs::read(&path));
            }
        }
        bundles.folders = folders;
        bundles
    }

    fn add(&mut self, path: &Path, content: io::Result<Vec<u8>>) {
        let read = || -> Result<Found, BrokenReason> {
            let bundle = Bundle::read(&content?)?;
            let version = bundle.version.trim_start_matches('v');
            let version = Version::parse(version)
                .map_err(|source| BrokenReason::Version { version: bundle.version.clone(), source })?;
            Ok(Found { bundle, version })
        };
        match read() {
            Ok(found) if self.found.iter().any(|other| other.bundle.id == found.bundle.id) => {}
            Ok(found) => self.found.push(found),
            Err(source) => self.broken.push(Broken { path: path.to_owned(), source }),
        }
    }

    /// Tells whether the standard asset is there.
    pub(crate) fn has_standard(&self) -> bool {
        self.found.iter().any(|found| found.bundle.name == STANDARD)
    }

    /// Returns the bundles that `names` stand for, each once, and the standard one when no name stands for it.
    pub(crate) fn resolve(self, names: &[String]) -> Result<Vec<Bundle>, Vec<Problem>> {
        let mut chosen = Vec::new();
        let mut problems = Vec::new();
        for (index, name) in names.iter().enumerate() {
            match self.find(name) {
                Ok(place) => chosen.push(place),
                Err(problem) => problems.push(problem.below(&format!("/assets/{index}"))),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let has_standard = chosen.iter().any(|place: &usize| self.found[*place].bundle.name == STANDARD);
        if !has_standard {
            // Embedded comes first among the found ones, and is what a job means that says nothing.
            chosen.extend(self.found.iter().position(|found| found.bundle.name == STANDARD));
        }
        let mut places = 0..;
        let chosen = self
            .found
            .into_iter()
            .filter(|_| places.next().is_some_and(|place: usize| chosen.contains(&place)));
        Ok(chosen.map(|found| found.bundle).collect())
    }

    /// Returns the place of the highest version that `name` stands for.
    fn find(&self, name: &str) -> Result<usize, Problem> {
        if let Some(place) = self.found.iter().position(|found| found.bundle.id == name) {
            return Ok(place);
        }
        let wanted = Wanted::parse(name).map_err(|reason| Problem::new("", reason))?;
        let named = self.found.iter().enumerate().filter(|(_, found)| found.bundle.name == wanted.name);
        let named: Vec<_> = named.collect();
        if named.is_empty() {
            return Err(self.unknown(wanted.name));
        }
        let fitting = named.iter().filter(|(_, found)| wanted.accepts(&found.version));
        let best = fitting.max_by(|(_, one), (_, other)| one.version.cmp(&other.version));
        best.map(|(place, _)| *place).ok_or_else(|| {
            let mut versions: Vec<_> = named.iter().map(|(_, found)| found.version.clone()).collect();
            versions.sort_unstable();
            let versions: Vec<_> = versions.iter().map(ToString::to_string).collect();
            let message = format!("no version of asset {:?} fits {name:?}", wanted.name);
            Problem::new("", message).with_hint(format!("there are: {}", versions.join(", ")))
        })
    }

    fn unknown(&self, name: &str) -> Problem {
        let mut known: Vec<_> = self.found.iter().map(|found| found.bundle.name.as_str()).collect();
        known.sort_unstable();
        known.dedup();
        let mut problem = Problem::unknown("", "asset", name, &known);
        let folders: Vec<_> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        if let (false, Some(hint)) = (folders.is_empty(), &mut problem.hint) {
            *hint = format!("{hint}; looked for zips in {}", folders.join(", "));
        }
        problem
    }
}

#[cfg(test)]
mod tests;
