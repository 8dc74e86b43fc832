//! `teraslice assets delete`: takes an asset out of a cluster.

use crate::{
    args::{Common, cluster::OneCluster, executions::DeleteAsset},
    command::cluster::{
        Site, of_client,
        outcome::{Outcome, each},
    },
    failure::Failure,
};

/// Deletes an asset; returns the exit code.
pub(super) fn execute(common: &Common, arguments: &DeleteAsset) -> Result<u8, Failure> {
    let DeleteAsset { cluster: OneCluster { alias, access }, id, yes } = arguments;
    let site = Site::new(common, access)?;
    let client = site.client(alias)?;
    site.confirm(&format!("delete the asset {id} in {alias}?"), *yes)?;
    each(&site, "asset_id", &[id], |id| {
        let answer = client.delete(&["assets", id]).map_err(of_client)?;
        Ok(Outcome::new("deleted").with_fields(&answer, &["asset_id"]))
    })
}
