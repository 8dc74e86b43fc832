//! `teraslice controllers`: the controllers of running executions, and what they count.

use serde_json::Value;
use teraslice_node::exit_code;

use super::cluster::{Site, of_client, show};
use crate::{
    args::{
        Common,
        cluster::{Controllers, OneCluster, OneOf},
    },
    failure::Failure,
};

/// Runs a command about controllers; returns the exit code.
pub(crate) fn execute(common: &Common, command: &Controllers) -> Result<u8, Failure> {
    match command {
        Controllers::List(arguments) => list(common, arguments),
        Controllers::Stats(arguments) => stats(common, arguments),
    }
}

fn list(common: &Common, OneCluster { alias, access }: &OneCluster) -> Result<u8, Failure> {
    let site = Site::new(common, access)?;
    let found = site.client(alias)?.get(&["cluster", "controllers"], &[]).map_err(of_client)?;
    let columns = [
        ("name", "name"),
        ("job_id", "job_id"),
        ("ex_id", "ex_id"),
        ("available", "workers_available"),
        ("active", "workers_active"),
        ("failed", "failed"),
        ("queued", "queued"),
        ("processed", "processed"),
    ];
    site.list(&found, "ex_id", &columns)?;
    Ok(exit_code::DONE)
}

fn stats(common: &Common, OneOf { alias, id, access }: &OneOf) -> Result<u8, Failure> {
    let site = Site::new(common, access)?;
    let client = site.client(alias)?;
    let Some(id) = id else {
        let stats = client.get(&["cluster", "stats"], &[]).map_err(of_client)?;
        let sums = stats.get("controllers").cloned().unwrap_or(stats);
        site.print(&sums, "processed", || show::fields(&sums))?;
        return Ok(exit_code::DONE);
    };
    let found = client.get(&["cluster", "controllers"], &[]).map_err(of_client)?;
    let is = |one: &Value, key: &str| one.get(key).and_then(Value::as_str) == Some(id);
    let found = found.as_array().into_iter().flatten().find(|one| is(one, "ex_id") || is(one, "job_id"));
    let controller = found.ok_or_else(|| {
        Failure::text(exit_code::REFUSED, format!("no controller runs for {id} in {alias}"))
            .with_hint(format!("`teraslice controllers list {alias}` shows all"))
    })?;
    site.print(controller, "ex_id", || show::fields(controller))?;
    Ok(exit_code::DONE)
}
