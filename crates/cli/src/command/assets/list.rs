//! `teraslice assets list`: the assets of a cluster.

use teraslice_node::exit_code;

use crate::{
    args::{Common, cluster::OneCluster, executions::ListAssets},
    command::cluster::{Site, of_client},
    failure::Failure,
};

/// Lists assets; returns the exit code.
pub(super) fn execute(common: &Common, arguments: &ListAssets) -> Result<u8, Failure> {
    let ListAssets { cluster: OneCluster { alias, access }, name, version, from, size } = arguments;
    let site = Site::new(common, access)?;
    let mut path = vec!["assets"];
    path.extend(name.as_deref());
    path.extend(version.as_deref());
    let (from, size) = (from.to_string(), size.to_string());
    let query = [("from", from.as_str()), ("size", &size)];
    let assets = site.client(alias)?.get(&path, &query).map_err(of_client)?;
    let columns = [
        ("name", "name"),
        ("version", "version"),
        ("id", "id"),
        ("created", "_created"),
        ("node", "node_version"),
        ("platform", "platform"),
        ("arch", "arch"),
        ("description", "description"),
    ];
    site.list(&assets, "id", &columns)?;
    Ok(exit_code::DONE)
}
