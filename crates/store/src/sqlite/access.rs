//! Tokens and the audit log, as rows.

use rusqlite::Connection;
use teraslice_core::store::Page;
use teraslice_model::access::{AuditEntry, TokenRecord};

use super::{
    error::Fault,
    row::{self, bound},
};
use crate::rules;

pub(super) fn create_token(connection: &Connection, token: &TokenRecord) -> Result<(), Fault> {
    let record = row::json("token", token)?;
    let sql = "INSERT INTO tokens (name, record) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING";
    match connection.prepare_cached(sql)?.execute((&token.name, record))? {
        0 => Err(rules::token_taken(&token.name).into()),
        _ => Ok(()),
    }
}

pub(super) fn tokens(connection: &Connection) -> Result<Vec<TokenRecord>, Fault> {
    row::list(connection, "SELECT record FROM tokens ORDER BY name", [], |found| {
        row::parse_at("token", found, 0)
    })
}

pub(super) fn delete_token(connection: &Connection, name: &str) -> Result<(), Fault> {
    match connection.prepare_cached("DELETE FROM tokens WHERE name = ?1")?.execute([name])? {
        0 => Err(rules::no_token(name).into()),
        _ => Ok(()),
    }
}

pub(super) fn note(connection: &Connection, entry: &AuditEntry) -> Result<(), Fault> {
    let record = row::json("audit entry", entry)?;
    connection.prepare_cached("INSERT INTO audit (record) VALUES (?1)")?.execute([record])?;
    Ok(())
}

pub(super) fn audit(connection: &Connection, page: Page) -> Result<Vec<AuditEntry>, Fault> {
    let sql = "SELECT record FROM audit ORDER BY key DESC LIMIT ?1 OFFSET ?2";
    row::list(connection, sql, (bound(page.size), bound(page.from)), |found| {
        row::parse_at("audit entry", found, 0)
    })
}
