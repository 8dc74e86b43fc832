//! From an operation's name in a job to the operation behind it.

use std::sync::Arc;

use teraslice_model::{
    job::{CheckedJob, OperationConfig},
    problem::Problem,
};

use super::{Asset, BuiltIn, Registry};
use crate::operation::{OperationInfo, OperationKind};

/// What a name stands for.
pub(super) enum Resolved<'a> {
    BuiltIn(&'a BuiltIn),
    Asset(&'a Arc<dyn Asset>, &'a OperationInfo),
}

/// Finds the operation at `index`; the problem's pointer is into the job.
pub(super) fn resolve<'a>(
    registry: &'a Registry,
    job: &CheckedJob,
    index: usize,
    config: &OperationConfig,
) -> Result<Resolved<'a>, Problem> {
    let pointer = format!("/operations/{index}/_op");
    let found = match &config.asset {
        Some(asset) => Some(of_asset(registry, job, asset, &config.op, &pointer)?),
        None => of_any(registry, job, &config.op, &pointer)?,
    };
    let found = found.ok_or_else(|| {
        Problem::unknown(pointer.as_str(), "operation", &config.op, &known(registry, index))
    })?;
    check_place(&found, index, &config.op, pointer)?;
    Ok(found)
}

impl Resolved<'_> {
    pub(super) fn info(&self) -> OperationInfo {
        match self {
            Self::BuiltIn(operation) => operation.info(),
            Self::Asset(_, info) => (*info).clone(),
        }
    }
}

fn of_asset<'a>(
    registry: &'a Registry,
    job: &CheckedJob,
    wanted: &str,
    op: &str,
    pointer: &str,
) -> Result<Resolved<'a>, Problem> {
    let (name, version) =
        wanted.split_once(':').map_or((wanted, None), |(name, version)| (name, Some(version)));
    let is_exact = |asset: &&Arc<dyn Asset>| {
        asset.id() == Some(wanted)
            || (asset.name().0 == name && version.is_none_or(|version| version == asset.name().1))
    };
    let mut named: Vec<_> = registry.assets.iter().filter(is_exact).collect();
    if named.is_empty() && job.assets.iter().any(|listed| listed == wanted) {
        // A range, that has been resolved to what is loaded.
        named.extend(registry.assets.iter().filter(|asset| asset.name().0 == name));
    }
    let Some(first) = named.first() else {
        let known: Vec<_> = registry.assets.iter().map(|asset| asset.name().0).collect();
        return Err(Problem::unknown(pointer, "asset", wanted, &known));
    };
    let mut offers = named.iter().filter_map(|asset| offer(asset, op));
    match (offers.next(), offers.next()) {
        (Some(found), None) => Ok(found),
        (Some(_), Some(_)) => {
            let message = format!("several versions of asset {wanted:?} are loaded");
            Err(Problem::new(pointer, message).with_hint("write the version, as in op@asset:1.0.0"))
        }
        (None, _) => {
            let known: Vec<_> = first.operations().iter().map(|info| info.name.as_str()).collect();
            Err(Problem::unknown(pointer, &format!("operation of asset {wanted}"), op, &known))
        }
    }
}

fn of_any<'a>(
    registry: &'a Registry,
    job: &CheckedJob,
    op: &str,
    pointer: &str,
) -> Result<Option<Resolved<'a>>, Problem> {
    let offering = |is_wanted: &dyn Fn(&dyn Asset) -> bool| -> Vec<_> {
        let assets = registry.assets.iter().filter(|asset| is_wanted(asset.as_ref()));
        assets.filter_map(|asset| Some((asset, offer(asset, op)?))).collect()
    };
    // What the job lists comes before what is there anyway.
    let is_listed = |asset: &dyn Asset| {
        let same = |listed: &String| {
            listed.split(':').next() == Some(asset.name().0) || Some(listed.as_str()) == asset.id()
        };
        job.assets.iter().any(same)
    };
    let mut offers = offering(&is_listed);
    if offers.is_empty() {
        offers = offering(&|_| true);
    }
    if let [(one, _), (other, _), ..] = offers.as_slice() {
        let name = |asset: &Arc<dyn Asset>| format!("{}:{}", asset.name().0, asset.name().1);
        let (one, other) = (name(one), name(other));
        let message = format!("operation {op:?} is in several assets: {one} and {other}");
        return Err(Problem::new(pointer, message).with_hint(format!("write {op}@{one} or {op}@{other}")));
    }
    let of_asset = offers.pop().map(|(_, found)| found);
    Ok(of_asset.or_else(|| registry.built_in.get(op).map(Resolved::BuiltIn)))
}

fn offer<'a>(asset: &'a Arc<dyn Asset>, op: &str) -> Option<Resolved<'a>> {
    let info = asset.operations().iter().find(|info| info.name == op)?;
    Some(Resolved::Asset(asset, info))
}

/// Returns the names that fit at that place.
fn known(registry: &Registry, index: usize) -> Vec<&str> {
    let fits = |kind: OperationKind| (kind == OperationKind::Reader) == (index == 0);
    let of_assets = registry.assets.iter().flat_map(|asset| asset.operations());
    let of_assets = of_assets.filter(|info| fits(info.kind)).map(|info| info.name.as_str());
    let built_in = registry.built_in.iter().filter(|(_, operation)| fits(operation.info().kind));
    let mut known: Vec<_> = built_in.map(|(name, _)| name.as_str()).chain(of_assets).collect();
    known.sort_unstable();
    known.dedup();
    known
}

fn check_place(found: &Resolved<'_>, index: usize, op: &str, pointer: String) -> Result<(), Problem> {
    match (index, found.info().kind) {
        (0, OperationKind::Reader) => Ok(()),
        (0, kind) => {
            let kind = if kind == OperationKind::Sink { "sink" } else { "processor" };
            Err(Problem::new(pointer, format!("the first operation has to be a reader, {op:?} is a {kind}")))
        }
        (_, OperationKind::Reader) => {
            Err(Problem::new(pointer, format!("only the first operation can be a reader, as {op:?} is")))
        }
        _ => Ok(()),
    }
}
