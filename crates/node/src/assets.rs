//! Asset bundles: the standard one, embedded, and those in the asset folders; chosen by the names in a job.

mod aside;
pub mod cache;
pub mod checker;
pub mod library;
mod loaded;
mod pins;
pub mod resolve;
#[cfg(test)]
mod testing;
mod wanted;

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use semver::Version;
use teraslice_model::problem::Problem;
use teraslice_runtime_wasm::{Bundle, BundleError, bundle::is_id};

use crate::parts::chain;
pub(crate) use loaded::Loaded;
use wanted::Wanted;

/// The zip of the standard asset; empty when it was not built before this crate was.
mod embedded {
    include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
}

/// The asset that every job can use without listing it.
pub(crate) const STANDARD: &str = "standard";

/// Returns the zip of the standard asset, if it was there when this crate was built.
pub(crate) fn embedded() -> Option<&'static [u8]> {
    // Unit tests do without: an unoptimized compiler takes minutes for it.
    Some(embedded::STANDARD).filter(|zip| !zip.is_empty() && !cfg!(test))
}

/// The bundles that this process can load. The folders are looked through when that is needed.
#[derive(Debug)]
pub(crate) struct Bundles {
    found: Vec<Found>,
    folders: Vec<PathBuf>,
    is_searched: bool,
}

#[derive(Debug)]
struct Found {
    bundle: Bundle,
    version: Version,
}

/// Why a zip is no asset.
#[derive(Debug, thiserror::Error)]
enum Broken {
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
    /// Knows where to look; folders that do not exist are passed over.
    pub(crate) const fn new(folders: Vec<PathBuf>) -> Self {
        Self { found: Vec::new(), folders, is_searched: false }
    }

    /// Returns the bundles that `names` stand for, in their order, each once.
    ///
    /// # Errors
    ///
    /// Every name that stands for none; pointers are into the job.
    pub(crate) fn resolve(&mut self, names: &[String]) -> Result<Vec<Bundle>, Vec<Problem>> {
        let mut chosen = Vec::new();
        let mut problems = Vec::new();
        for (index, name) in names.iter().enumerate() {
            match self.find(name) {
                Ok(place) if chosen.contains(&place) => {}
                Ok(place) => chosen.push(place),
                Err(problem) => problems.push(problem.below(&format!("/assets/{index}"))),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(chosen.into_iter().map(|place| self.found[place].bundle.clone()).collect())
    }

    /// Returns the standard asset: the embedded one, else the first that lies in a folder.
    pub(crate) fn standard(&mut self) -> Option<Bundle> {
        let is_standard = |found: &Found| found.bundle.name == STANDARD;
        self.add_embedded();
        if !self.found.iter().any(is_standard) {
            self.search();
        }
        self.found.iter().find(|found| is_standard(found)).map(|found| found.bundle.clone())
    }

    fn add_embedded(&mut self) {
        if let (false, Some(standard)) = (self.is_searched, embedded()) {
            self.add(Path::new("(embedded)/standard.zip"), Bundle::read(standard));
        }
    }

    /// Reads the embedded bundle and every zip in the folders, once.
    fn search(&mut self) {
        self.add_embedded();
        if std::mem::replace(&mut self.is_searched, true) {
            return;
        }
        for folder in self.folders.clone() {
            let Ok(files) = fs::read_dir(folder) else { continue };
            let mut zips: Vec<_> = files.flatten().map(|file| file.path()).collect();
            zips.retain(|path| path.extension().and_then(OsStr::to_str) == Some("zip"));
            zips.sort_unstable();
            for path in zips {
                self.add(&path, Bundle::open(&path));
            }
        }
    }

    /// Takes a bundle, unless it is there; one that cannot be used is passed over, with a warning.
    fn add(&mut self, path: &Path, read: Result<Bundle, BundleError>) {
        let found = read.map_err(Broken::from).and_then(|bundle| {
            let parsed = Version::parse(&bundle.version);
            let version =
                parsed.map_err(|source| Broken::Version { version: bundle.version.clone(), source })?;
            Ok(Found { bundle, version })
        });
        match found {
            Ok(found) if self.found.iter().any(|other| other.bundle.id == found.bundle.id) => {}
            Ok(found) => self.found.push(found),
            Err(error) => {
                tracing::warn!(path = %path.display(), reason = chain(&error), "asset passed over");
            }
        }
    }

    /// Returns the place of the bundle with that id; it lies under the id, or is known already.
    fn find_id(&mut self, id: &str) -> Option<usize> {
        let place = |all: &[Found]| all.iter().position(|found| found.bundle.id == id);
        if let Some(place) = place(&self.found) {
            return Some(place);
        }
        let paths = self.folders.iter().map(|folder| folder.join(format!("{id}.zip")));
        let path = paths.into_iter().find(|path| path.is_file())?;
        self.add(&path, Bundle::open_known(&path, id));
        place(&self.found)
    }

    /// Returns the place of the highest version that `name` stands for.
    fn find(&mut self, name: &str) -> Result<usize, Problem> {
        if is_id(name)
            && let Some(place) = self.find_id(name)
        {
            return Ok(place);
        }
        self.search();
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
