//! `teraslice assets inspect`: what an asset holds.

use std::{fmt::Write as _, path::Path};

use serde::Serialize;
use teraslice_core::{operation::OperationInfo, registry::Asset as _};
use teraslice_node::exit_code;
use teraslice_runtime_wasm::Tier;

use super::{Found, find, load};
use crate::{command::session::Session, failure::Failure, output, units};

/// What is shown of an asset.
#[derive(Debug, Serialize)]
struct Inspected {
    name: String,
    version: String,
    id: String,
    sha256: String,
    bytes: usize,
    imports: Vec<String>,
    operations: Vec<OperationInfo>,
}

/// Shows an asset; returns the exit code.
pub(super) fn execute(session: &Session, asset: &Path) -> Result<u8, Failure> {
    let Found { bundle, .. } = find(session, asset)?;
    let (id, sha256, bytes) = (bundle.id.clone(), bundle.digest().to_owned(), bundle.module_len());
    let (name, version) = (bundle.name.clone(), bundle.version.clone());
    let loaded = load(session, bundle, Tier::Default)?;
    let (imports, operations) = (loaded.imports().to_vec(), loaded.operations().to_vec());
    let inspected = Inspected { name, version, id, sha256, bytes, imports, operations };
    output::print(session.output(), &inspected, || render(&inspected))?;
    Ok(exit_code::DONE)
}

fn render(asset: &Inspected) -> String {
    let Inspected { name, version, id, sha256, bytes, imports, operations } = asset;
    let size = units::bytes(*bytes as f64);
    let imports = if imports.is_empty() { "nothing".to_owned() } else { imports.join(", ") };
    let mut text = format!(
        "asset    {name} {version}\nid       {id}\nsha256   {sha256}\nsize     {size}\nimports  {imports}\n"
    );
    for operation in operations {
        let OperationInfo { name, description, schema, .. } = operation;
        let _infallible = writeln!(text, "\n{name}\n  {description}");
        let properties = schema.get("properties").and_then(serde_json::Value::as_object);
        let required = schema.get("required").and_then(serde_json::Value::as_array);
        for (setting, about) in properties.into_iter().flatten() {
            let is_required = required.is_some_and(|all| all.iter().any(|name| name == setting));
            let needed = if is_required { " (required)" } else { "" };
            let kind = about.get("type").and_then(serde_json::Value::as_str).unwrap_or("any");
            let about = about.get("description").and_then(serde_json::Value::as_str).unwrap_or_default();
            let _infallible = writeln!(text, "  {setting}: {kind}{needed}  {about}");
        }
    }
    text
}
