//! Assets that are loaded, and the operations that they offer to jobs.

use std::sync::{Arc, Mutex, PoisonError};

use teraslice_core::registry::Registry;
use teraslice_model::{
    job::{CheckedJob, Sandbox},
    problem::Problem,
};
use teraslice_runtime_wasm::{Bundle, Runtime, Tier};

use super::{Bundles, STANDARD};
use crate::parts::{Parts, chain};

/// The assets that jobs list, loaded once. The standard asset is loaded for the first job that needs it.
#[derive(Debug)]
pub(crate) struct Loaded {
    parts: Parts,
    sandbox: Sandbox,
    slots: usize,
    has_standard: bool,
    listed: Registry,
    more: Mutex<More>,
}

/// What is made when it is needed.
#[derive(Debug)]
struct More {
    runtime: Option<Runtime>,
    /// What is listed, and the standard asset.
    all: Option<Registry>,
}

impl Loaded {
    /// Loads what `assets` stand for, with limits for a job and so many places. May compile: not for an async thread.
    ///
    /// # Errors
    ///
    /// When an asset cannot be had; pointers are into the job.
    pub(crate) fn new(
        parts: &Parts,
        assets: &[String],
        sandbox: &Sandbox,
        slots: usize,
    ) -> Result<Self, Vec<Problem>> {
        let wanted = Bundles::new(parts.asset_folders()).resolve(assets)?;
        let mut listed = Registry::default();
        teraslice_connectors::register(&mut listed, &parts.config().elastic);
        let has_standard = wanted.iter().any(|bundle| bundle.name == STANDARD);
        let mut runtime = None;
        if !wanted.is_empty() {
            let made = runtime.insert(parts.sandbox(sandbox, slots, Tier::Default)?);
            for bundle in wanted {
                add(&mut listed, made, bundle)?;
            }
        }
        let more = Mutex::new(More { runtime, all: None });
        Ok(Self { parts: parts.clone(), sandbox: *sandbox, slots, has_standard, listed, more })
    }

    /// Returns every operation that a job can name which lists these assets. May compile.
    ///
    /// # Errors
    ///
    /// When the standard asset is needed and cannot be loaded.
    pub(crate) fn registry(&self, job: &CheckedJob) -> Result<Registry, Vec<Problem>> {
        if self.has_standard || has_all(job, &self.listed) {
            return Ok(self.listed.clone());
        }
        self.all()
    }

    /// Loads the standard asset.
    ///
    /// # Errors
    ///
    /// When it cannot be loaded.
    pub(crate) fn warm(&self) -> Result<(), Vec<Problem>> {
        if self.has_standard { Ok(()) } else { self.all().map(drop) }
    }

    fn all(&self) -> Result<Registry, Vec<Problem>> {
        // Others that need it wait here, and find it.
        let mut more = self.more.lock().unwrap_or_else(PoisonError::into_inner);
        let More { runtime, all } = &mut *more;
        if let Some(all) = all {
            return Ok(all.clone());
        }
        let Some(bundle) = Bundles::new(self.parts.asset_folders()).standard() else {
            tracing::warn!("standard asset is missing: run `cargo xtask assets` and build again");
            return Ok(self.listed.clone());
        };
        let runtime = match runtime {
            Some(runtime) => runtime,
            None => runtime.insert(self.parts.sandbox(&self.sandbox, self.slots, Tier::Default)?),
        };
        // What the job asks for comes before what comes with every job.
        let mut made = self.listed.clone();
        add(&mut made, runtime, bundle)?;
        Ok(all.insert(made).clone())
    }
}

fn add(registry: &mut Registry, runtime: &Runtime, bundle: Bundle) -> Result<(), Vec<Problem>> {
    let asset = runtime.load(bundle).map_err(|error| vec![Problem::new("/assets", chain(&error))])?;
    registry.asset(Arc::new(asset));
    Ok(())
}

/// Tells whether nothing is missing that the job names.
fn has_all(job: &CheckedJob, registry: &Registry) -> bool {
    let known = registry.operations();
    let is_known = |name: &str| known.iter().any(|info| info.name == name);
    let is_listed = |asset: &String| job.assets.contains(asset);
    job.operations.iter().all(|op| op.asset.as_ref().is_none_or(is_listed) && is_known(&op.op))
}
