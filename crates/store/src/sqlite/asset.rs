//! Assets, as rows.

use rusqlite::{Connection, OptionalExtension as _, params};
use teraslice_model::asset::AssetRecord;

use super::{error::Fault, row};
use crate::rules;

pub(super) fn create(connection: &Connection, asset: &AssetRecord) -> Result<(), Fault> {
    let record = row::json("asset", asset)?;
    let AssetRecord { id, name, version, node_version, platform, arch, .. } = asset;
    let taken = connection
        .prepare_cached(
            "SELECT id FROM assets WHERE id = ?1 UNION ALL
             SELECT id FROM assets WHERE name = ?2 AND version = ?3 AND node_version IS ?4 AND platform IS ?5
                AND arch IS ?6
             LIMIT 1",
        )?
        .query_row(params![id, name, version, node_version, platform, arch], |row| row.get::<_, String>(0))
        .optional()?;
    if let Some(found) = taken {
        return Err(rules::asset_taken(asset, &found).into());
    }
    connection
        .prepare_cached(
            "INSERT INTO assets (id, name, version, node_version, platform, arch, record)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![id, name, version, node_version, platform, arch, record])?;
    Ok(())
}

pub(super) fn list(connection: &Connection) -> Result<Vec<AssetRecord>, Fault> {
    row::list(connection, "SELECT record FROM assets ORDER BY key DESC", [], |found| {
        row::parse_at("asset", found, 0)
    })
}

pub(super) fn delete(connection: &Connection, id: &str) -> Result<(), Fault> {
    match connection.prepare_cached("DELETE FROM assets WHERE id = ?1")?.execute([id])? {
        0 => Err(rules::no_asset(id).into()),
        _ => Ok(()),
    }
}
