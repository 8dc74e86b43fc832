//! One runtime per process: the engine, the pool, the cache.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use wasmtime::{
    Engine,
    component::{HasSelf, Linker},
};
use wit_component::ComponentEncoder;

use crate::{
    asset::WasmAsset,
    bindings::Processor,
    bundle::{Bundle, BundleError},
    cache::{self, Cache},
    compiler::{CompileError, Compiler},
    engine::{self, Tier},
    host::State,
    leftovers,
    limits::Limits,
    slots::Slots,
};

/// What a guest may import.
const HOST: [&str; 2] = ["teraslice:asset/host@1.", "teraslice:asset/types@1."];

/// What a runtime is made with.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// How much guests are trusted (default: interrupted when they take too long).
    pub tier: Tier,
    /// Assets that are trusted more than that, by `name` or `name:version`.
    pub trusted: Vec<String>,
    /// What each instance may use.
    pub limits: Limits,
    /// Instances at once (default 128); who finds none waits. A worker needs one per chain of its job.
    pub slots: usize,
    /// Where compiled assets are kept; absent: nowhere.
    pub cache: Option<PathBuf>,
    /// Bytes of compiled assets that are kept (default 1 GiB); what was not used for longest goes.
    pub cache_bytes_max: u64,
    /// Where assets are compiled (default: in this process).
    pub compiler: Compiler,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            tier: Tier::Default,
            trusted: Vec::new(),
            limits: Limits::default(),
            slots: 128,
            cache: None,
            cache_bytes_max: 1 << 30,
            compiler: Compiler::InProcess,
        }
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
    /// By tier, made when they are first needed.
    engines: Mutex<HashMap<Tier, Engine>>,
    cache: Option<Cache>,
    slots: Slots,
}

/// An asset that cannot run here.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bundle is not right.
    #[error("failed to read the asset")]
    Bundle(#[from] BundleError),
    /// There is no engine for its tier.
    #[error("failed to start the sandbox for asset {asset}: {reason}")]
    Engine {
        /// The asset.
        asset: String,
        /// What is in the way.
        reason: String,
    },
    /// The core module is not one of the contract.
    #[error("failed to make a component of asset {asset}: {reason}")]
    Core {
        /// The asset.
        asset: String,
        /// What is in the way.
        reason: String,
    },
    /// The module does not compile under the features that are switched on.
    #[error("failed to compile asset {asset}")]
    Compile {
        /// The asset.
        asset: String,
        /// What the compiler says.
        #[source]
        source: CompileError,
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
        let engines = Mutex::new(HashMap::from([(options.tier, engine)]));
        let cache = options.cache.as_deref().and_then(|folder| {
            let opened = Cache::open(folder, options.cache_bytes_max);
            opened
                .inspect_err(|error| tracing::warn!(folder = %folder.display(), %error, "no compile cache"))
                .ok()
        });
        let slots = Slots::new(options.slots);
        Ok(Self { inner: Arc::new(Inner { options, engines, cache, slots }) })
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
            let system = leftovers::stand_in(&module)
                .map_err(|import| LoadError::Import { asset: asset.clone(), import })?;
            bundle.module = component_of(&module, system.as_deref())
                .map_err(|error| LoadError::Core { asset: asset.clone(), reason: format!("{error:#}") })?;
        }
        let compiler = &inner.options.compiler;
        let tier = self.tier(&bundle);
        let engine = self
            .engine(tier)
            .map_err(|error| LoadError::Engine { asset: asset.clone(), reason: format!("{error:#}") })?;
        let component = match &inner.cache {
            Some(cache) => cache.component(&engine, tier, &bundle, compiler),
            None => compiler
                .compile(&engine, tier, &bundle.module)
                .and_then(|code| cache::deserialize(&engine, &code)),
        };
        let component = component.map_err(|source| LoadError::Compile { asset: asset.clone(), source })?;
        let imports = component.component_type();
        let imports: Vec<_> = imports.imports(&engine).map(|(import, _)| import.to_owned()).collect();
        if let Some(import) = imports.iter().find(|import| !HOST.iter().any(|host| import.starts_with(host)))
        {
            return Err(LoadError::Import { asset, import: import.clone() });
        }
        WasmAsset::new(self.clone(), tier, &bundle, &component, imports)
    }

    /// Returns how much an asset is trusted.
    fn tier(&self, bundle: &Bundle) -> Tier {
        let Bundle { name, version, .. } = bundle;
        let is_named = |trusted: &String| {
            let rest = trusted.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix(':') == Some(version))
        };
        if self.inner.options.trusted.iter().any(is_named) { Tier::Trusted } else { self.inner.options.tier }
    }

    fn engine(&self, tier: Tier) -> wasmtime::Result<Engine> {
        let mut engines = self.inner.engines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = engines.get(&tier) {
            return Ok(made.clone());
        }
        let made = engine::engine(tier, self.inner.options.slots)?;
        engines.insert(tier, made.clone());
        Ok(made)
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.options.limits
    }

    pub(crate) fn slots(&self) -> &Slots {
        &self.inner.slots
    }

    pub(crate) fn linker(&self, engine: &Engine) -> wasmtime::Result<Linker<State>> {
        let mut linker = Linker::new(engine);
        Processor::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
        Ok(linker)
    }
}

/// Tells a core module from a component by the layer in its header.
fn is_core_module(module: &[u8]) -> bool {
    module.get(4..8) == Some(&[1, 0, 0, 0])
}

fn component_of(module: &[u8], system: Option<&[u8]>) -> wasmtime::Result<Vec<u8>> {
    let encoder = ComponentEncoder::default().validate(true).module(module);
    let encoder = encoder.and_then(|encoder| match system {
        Some(system) => encoder.adapter(leftovers::SYSTEM, system),
        None => Ok(encoder),
    });
    let component = encoder.and_then(|mut encoder| encoder.encode());
    component.map_err(|error| wasmtime::Error::msg(format!("{error:#}")))
}
