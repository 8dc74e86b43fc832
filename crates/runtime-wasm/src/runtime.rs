//! One runtime per process: the engine, the pool, the cache.

use std::{path::PathBuf, sync::Arc};

use wasmtime::{
    Engine,
    component::{Component, HasSelf, Linker},
};
use wit_component::ComponentEncoder;

use crate::{
    asset::WasmAsset,
    bindings::Processor,
    bundle::{Bundle, BundleError},
    cache::Cache,
    engine::{self, Tier},
    host::State,
    limits::Limits,
    slots::Slots,
};

/// What a guest may import.
const HOST: [&str; 2] = ["teraslice:asset/host@1.", "teraslice:asset/types@1."];

/// What a runtime is made with.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// How much its guests are trusted (default: interrupted when they take too long).
    pub tier: Tier,
    /// What each instance may use.
    pub limits: Limits,
    /// Instances at once (default 128); who finds none waits. A worker needs one per chain of its job.
    pub slots: usize,
    /// Where compiled assets are kept; absent: nowhere.
    pub cache: Option<PathBuf>,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self { tier: Tier::Default, limits: Limits::default(), slots: 128, cache: None }
    }
}

/// Compiles and runs assets. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Runtime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: RuntimeOptions,
    engine: Engine,
    cache: Option<Cache>,
    slots: Slots,
}

/// An asset that cannot run here.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bundle is not right.
    #[error("failed to read the asset")]
    Bundle(#[from] BundleError),
    /// The core module is not one of the contract.
    #[error("failed to make a component of asset {asset}: {reason}")]
    Core {
        /// The asset.
        asset: String,
        /// What is in the way.
        reason: String,
    },
    /// The module does not compile under the features that are switched on.
    #[error("failed to compile asset {asset}: {reason}")]
    Compile {
        /// The asset.
        asset: String,
        /// The compiler's message.
        reason: String,
    },
    /// The module asks for more than the host gives.
    #[error("asset {asset} imports {import}: an asset may import teraslice:asset/host only")]
    Import {
        /// The asset.
        asset: String,
        /// The import.
        import: String,
    },
    /// The module lacks what the contract asks for, or fails to describe itself.
    #[error("asset {asset} does not keep the contract teraslice:asset: {reason}")]
    Contract {
        /// The asset.
        asset: String,
        /// What is in the way.
        reason: String,
    },
}

impl Runtime {
    /// Makes a runtime. A cache that cannot be used is done without, with a warning.
    ///
    /// # Errors
    ///
    /// When the processor of this machine is not supported.
    pub fn new(options: RuntimeOptions) -> Result<Self, wasmtime::Error> {
        let engine = engine::engine(options.tier, options.slots)?;
        let cache = options.cache.as_deref().and_then(|folder| {
            let opened = Cache::open(folder);
            opened
                .inspect_err(|error| tracing::warn!(folder = %folder.display(), %error, "no compile cache"))
                .ok()
        });
        let slots = Slots::new(options.slots);
        Ok(Self { inner: Arc::new(Inner { options, engine, cache, slots }) })
    }

    /// Loads an asset: from the cache in a millisecond, or compiled now.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load(&self, mut bundle: Bundle) -> Result<WasmAsset, LoadError> {
        let asset = bundle.name.clone();
        let inner = &self.inner;
        if is_core_module(&bundle.module) {
            let module = std::mem::take(&mut bundle.module);
            bundle.module = component_of(&module)
                .map_err(|error| LoadError::Core { asset: asset.clone(), reason: format!("{error:#}") })?;
        }
        let component = match &inner.cache {
            Some(cache) => cache.component(&inner.engine, inner.options.tier, &bundle),
            None => Component::new(&inner.engine, &bundle.module),
        };
        let component = component
            .map_err(|error| LoadError::Compile { asset: asset.clone(), reason: format!("{error:#}") })?;
        for (import, _) in component.component_type().imports(&inner.engine) {
            if !HOST.iter().any(|host| import.starts_with(host)) {
                return Err(LoadError::Import { asset, import: import.to_owned() });
            }
        }
        WasmAsset::new(self.clone(), &bundle, &component)
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.options.limits
    }

    pub(crate) fn tier(&self) -> Tier {
        self.inner.options.tier
    }

    pub(crate) fn slots(&self) -> &Slots {
        &self.inner.slots
    }

    pub(crate) fn linker(&self) -> wasmtime::Result<Linker<State>> {
        let mut linker = Linker::new(self.engine());
        Processor::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
        Ok(linker)
    }
}

/// Tells a core module from a component by the layer in its header.
fn is_core_module(module: &[u8]) -> bool {
    module.get(4..8) == Some(&[1, 0, 0, 0])
}

fn component_of(module: &[u8]) -> wasmtime::Result<Vec<u8>> {
    let encoder = ComponentEncoder::default().validate(true).module(module);
    let component = encoder.and_then(|mut encoder| encoder.encode());
    component.map_err(|error| wasmtime::Error::msg(format!("{error:#}")))
}
