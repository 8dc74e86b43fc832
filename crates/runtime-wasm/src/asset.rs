//! A loaded asset: what it offers, and chains of its operations.

use std::{collections::HashSet, fmt, sync::Arc};

use serde_json::Value;
use teraslice_core::{
    operation::{OperationInfo, OperationKind, ProcessorFactory, Scope},
    registry::Asset,
};
use teraslice_model::{dead_letter::DeadLetterAction, job::OperationConfig, problem::Problem};
use wasmtime::component::Component;

use crate::{
    bindings::{ProcessorPre, teraslice::asset::types},
    bundle::Bundle,
    engine::Tier,
    host::State,
    instance::{CallError, Instance},
    limits::Limits,
    processor::Chain,
    runtime::{LoadError, Runtime},
};

/// Operations of one asset at the most.
const OPERATIONS_MAX: usize = 1_000;
/// Bytes of an operation's name at the most.
const NAME_MAX: usize = 128;
/// Bytes of an operation's description, and of its schema, at the most.
const TEXT_MAX: usize = 64 << 10;

/// A loaded asset. Cheap to clone.
#[derive(Clone)]
pub struct WasmAsset {
    inner: Arc<Inner>,
}

struct Inner {
    id: String,
    name: String,
    version: String,
    operations: Vec<OperationInfo>,
    imports: Vec<String>,
    guest: Guest,
}

/// A compiled component with its imports resolved. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Guest {
    pub(crate) runtime: Runtime,
    pub(crate) tier: Tier,
    pub(crate) pre: ProcessorPre<State>,
}

impl Guest {
    pub(crate) fn limits(&self) -> &Limits {
        self.runtime.limits()
    }
}

impl fmt::Debug for WasmAsset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmAsset")
            .field("id", &self.inner.id)
            .field("name", &self.inner.name)
            .field("version", &self.inner.version)
            .finish_non_exhaustive()
    }
}

impl WasmAsset {
    pub(crate) fn new(
        runtime: Runtime,
        tier: Tier,
        bundle: &Bundle,
        component: &Component,
        imports: Vec<String>,
    ) -> Result<Self, LoadError> {
        let contract = |error: &dyn fmt::Display| LoadError::Contract {
            asset: bundle.name.clone(),
            reason: error.to_string(),
        };
        let pre = runtime.linker(component.engine()).and_then(|linker| linker.instantiate_pre(component));
        let pre = pre.and_then(ProcessorPre::new).map_err(|error| contract(&format!("{error:#}")))?;
        let guest = Guest { runtime, tier, pre };
        let mut instance = Instance::new(&guest, None).map_err(|error| contract(&error))?;
        let described = instance.describe().map_err(|error| contract(&error))?;
        let operations = checked(described).map_err(|error| contract(&error))?;
        let operations = operations.into_iter().map(|operation| info(operation, &bundle.name));
        let operations = operations.collect::<Result<_, _>>().map_err(|error| contract(&error))?;
        let inner = Inner {
            id: bundle.id.clone(),
            name: bundle.name.clone(),
            version: bundle.version.clone(),
            operations,
            imports,
            guest,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns what the asset asks of the host.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.inner.imports
    }

    /// Binds neighbouring operations, unchecked.
    pub(crate) fn chain_of(&self, steps: &[OperationConfig]) -> Chain {
        let scope = |step: &OperationConfig| self.operations().iter().find(|known| known.name == step.op);
        let has_state = steps.iter().filter_map(scope).any(|known| known.scope != Scope::Record);
        Chain::new(self.inner.guest.clone(), steps, has_state)
    }
}

impl Asset for WasmAsset {
    fn name(&self) -> (&str, &str) {
        (&self.inner.name, &self.inner.version)
    }

    fn id(&self) -> Option<&str> {
        Some(&self.inner.id)
    }

    fn operations(&self) -> &[OperationInfo] {
        &self.inner.operations
    }

    fn chain(&self, steps: &[OperationConfig]) -> Result<Arc<dyn ProcessorFactory>, Vec<Problem>> {
        let chain = self.chain_of(steps);
        match chain.try_open() {
            Ok(()) => Ok(Arc::new(chain)),
            Err(CallError::Config { step, field, message }) => {
                let field = if field.is_empty() { field } else { format!("/{field}") };
                Err(vec![Problem::new(format!("/{step}{field}"), message)])
            }
            Err(other) => Err(vec![Problem::new("/0", other.to_string())]),
        }
    }
}

/// Refuses descriptions of a size that nobody needs.
fn checked(described: Vec<types::Operation>) -> Result<Vec<types::Operation>, String> {
    let count = described.len();
    if !(1..=OPERATIONS_MAX).contains(&count) {
        return Err(format!(
            "it describes {count} operations, at most {OPERATIONS_MAX} and at least one are allowed"
        ));
    }
    let mut names = HashSet::new();
    for operation in &described {
        let texts = [
            ("name", &operation.name, NAME_MAX),
            ("description", &operation.description, TEXT_MAX),
            ("schema", &operation.config_schema, TEXT_MAX),
        ];
        for (what, text, max) in texts {
            if text.len() > max {
                let len = text.len();
                return Err(format!("the {what} of an operation has {len} bytes, at most {max} are allowed"));
            }
        }
        if operation.name.is_empty() || !names.insert(&operation.name) {
            return Err(format!("operation {:?} has no name, or one that another has too", operation.name));
        }
    }
    Ok(described)
}

fn info(operation: types::Operation, asset: &str) -> Result<OperationInfo, String> {
    let types::Operation { name, description, config_schema, scope, capabilities: _ } = operation;
    let schema: Value = serde_json::from_str(&config_schema)
        .map_err(|error| format!("the schema of operation {name:?} is not JSON: {error}"))?;
    let action = schema.pointer("/properties/_dead_letter_action/default").and_then(Value::as_str);
    Ok(OperationInfo {
        dead_letter_action: action.map_or(DeadLetterAction::Throw, DeadLetterAction::parse),
        name,
        kind: OperationKind::Processor,
        description,
        schema,
        scope: match scope {
            types::Scope::Record => Scope::Record,
            types::Scope::Slice => Scope::Slice,
            types::Scope::Worker => Scope::Worker,
        },
        asset: Some(asset.to_owned()),
    })
}
