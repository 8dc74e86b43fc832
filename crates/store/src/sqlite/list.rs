//! Lists of jobs, executions and given up slices: the index that knows the order gives the keys, then the rows are read.

use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter, types::Value};
use teraslice_core::store::{ErrorQuery, ErrorRecord, ExecutionQuery, JobQuery, Page, Sort, Sums};
use teraslice_model::{
    execution::{Execution, JobRecord},
    id::ExId,
    status::Status,
    timestamp::Timestamp,
};
use uuid::Uuid;

use super::{
    error::Fault,
    row::{self, EXECUTION, SLICE, bound},
};
use crate::{
    list::{Collector, Listed},
    rules,
};

/// An order that an index has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Newest,
    Created { is_descending: bool },
    Updated { is_descending: bool },
}

impl Order {
    /// Returns the order that a list is to have, if an index has it.
    fn of(sort: Option<&Sort>) -> Option<Self> {
        let Some(Sort { field, is_descending }) = sort else { return Some(Self::Newest) };
        let is_descending = *is_descending;
        match field.as_str() {
            "_created" => Some(Self::Created { is_descending }),
            "_updated" => Some(Self::Updated { is_descending }),
            _ => None,
        }
    }

    const fn clause(self) -> &'static str {
        match self {
            Self::Newest => "key DESC",
            Self::Created { is_descending: true } => "created DESC, key DESC",
            Self::Created { is_descending: false } => "created, key DESC",
            Self::Updated { is_descending: true } => "updated DESC, key DESC",
            Self::Updated { is_descending: false } => "updated, key DESC",
        }
    }
}

/// A question for keys: conditions of constant text, and the values they speak of.
struct Keys {
    source: &'static str,
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Keys {
    /// Returns the keys in order; those of one page, if it is given.
    fn ask(mut self, connection: &Connection, order: Order, page: Option<Page>) -> Result<Vec<i64>, Fault> {
        let mut sql = format!("SELECT key FROM {}", self.source);
        if !self.conditions.is_empty() {
            sql = format!("{sql} WHERE {}", self.conditions.join(" AND "));
        }
        sql = format!("{sql} ORDER BY {}", order.clause());
        if let Some(page) = page {
            sql.push_str(" LIMIT ? OFFSET ?");
            self.values.extend([bound(page.size).into(), bound(page.from).into()]);
        }
        let mut statement = connection.prepare(&sql)?;
        let keys = statement.query_map(params_from_iter(self.values), |row| row.get(0))?;
        Ok(keys.collect::<Result<_, _>>()?)
    }
}

pub(super) fn jobs(connection: &Connection, query: &JobQuery) -> Result<Vec<JobRecord>, Fault> {
    let order = Order::of(query.sort.as_ref());
    let source = match order {
        None | Some(Order::Newest) => "jobs INDEXED BY jobs_in_order",
        Some(Order::Created { .. }) => "jobs INDEXED BY jobs_by_created",
        Some(Order::Updated { .. }) => "jobs INDEXED BY jobs_by_updated",
    };
    let mut keys = Keys { source, conditions: Vec::new(), values: Vec::new() };
    for (column, wanted) in [("is_deleted", query.is_deleted), ("is_active", query.is_active)] {
        if let Some(wanted) = wanted {
            keys.conditions.push(format!("{column} = ?"));
            keys.values.push(i64::from(wanted).into());
        }
    }
    let page = (order.is_some() && query.filter.is_none()).then_some(query.page);
    let keys = keys.ask(connection, order.unwrap_or(Order::Newest), page)?;
    let collector = Collector::of(query.filter.as_ref(), query.sort.as_ref(), query.page, order.is_some());
    let sql = "SELECT record FROM jobs WHERE key = ?1";
    rows(connection, &keys, page.is_some(), collector, sql, |found| row::parse_at("job", found, 0))
}

pub(super) fn executions(connection: &Connection, query: &ExecutionQuery) -> Result<Vec<Execution>, Fault> {
    let order = Order::of(query.sort.as_ref());
    let page = (order.is_some() && query.filter.is_none()).then_some(query.page);
    let keys = keys_of_executions(query, order).ask(connection, order.unwrap_or(Order::Newest), page)?;
    let collector = Collector::of(query.filter.as_ref(), query.sort.as_ref(), query.page, order.is_some());
    let sql = format!("SELECT {EXECUTION} FROM executions WHERE key = ?1");
    rows(connection, &keys, page.is_some(), collector, &sql, row::execution)
}

fn keys_of_executions(query: &ExecutionQuery, order: Option<Order>) -> Keys {
    let source = match order {
        _ if query.job_id.is_some() => "executions INDEXED BY executions_of_job",
        Some(Order::Created { .. }) => "executions INDEXED BY executions_by_created",
        Some(Order::Updated { .. }) => "executions INDEXED BY executions_by_updated",
        None | Some(Order::Newest) if query.statuses.is_empty() => {
            "executions INDEXED BY executions_in_order"
        }
        None | Some(Order::Newest) => "executions INDEXED BY executions_by_status",
    };
    let mut keys = Keys { source, conditions: Vec::new(), values: Vec::new() };
    if let Some(job_id) = query.job_id {
        keys.conditions.push("job_id = ?".to_owned());
        keys.values.push(job_id.uuid().as_bytes().to_vec().into());
    }
    let statuses: Vec<_> = Status::ALL.into_iter().filter(|status| query.statuses.contains(status)).collect();
    if !statuses.is_empty() {
        keys.conditions.push(format!("status IN ({})", vec!["?"; statuses.len()].join(", ")));
        keys.values.extend(statuses.iter().map(|status| Value::from(status.as_str().to_owned())));
    }
    match query.is_deleted {
        Some(true) => keys.conditions.push("deleted IS NOT NULL".to_owned()),
        Some(false) => keys.conditions.push("deleted IS NULL".to_owned()),
        None => {}
    }
    keys
}

/// Reads the rows of keys, one after the other, as long as the list wants more.
fn rows<T: Listed>(
    connection: &Connection,
    keys: &[i64],
    is_page: bool,
    mut collector: Collector<'_, T>,
    sql: &str,
    read: impl Fn(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut page = Vec::new();
    for key in keys {
        let mut found = statement.query([key])?;
        let Some(row) = found.next()? else { continue };
        let record = read(row)?;
        if is_page {
            page.push(record);
        } else if !collector.offer(record) {
            break;
        }
    }
    Ok(if is_page { page } else { collector.finish() })
}

pub(super) fn errors(connection: &Connection, query: &ErrorQuery) -> Result<Vec<ErrorRecord>, Fault> {
    let mut collector = Collector::new(query.filter.as_ref(), query.sort.as_ref(), query.page);
    let order = Order::of(query.sort.as_ref());
    let _ = order;
    for (key, ex_id) in executions_with_errors(connection, query.ex_id)? {
        let sql = format!(
            "SELECT {SLICE}, updated FROM slices INDEXED BY failed_slices WHERE execution = ?1 AND state = 2
             ORDER BY slicer_id, slicer_order"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([key])?;
        while let Some(found) = rows.next()? {
            let updated = Timestamp::from_millis(found.get(9)?);
            if !collector.offer(ErrorRecord { ex_id, slice: row::slice(found)?, updated }) {
                return Ok(collector.finish());
            }
        }
    }
    Ok(collector.finish())
}

fn executions_with_errors(connection: &Connection, ex_id: Option<ExId>) -> Result<Vec<(i64, ExId)>, Fault> {
    if let Some(ex_id) = ex_id {
        let key = connection
            .prepare_cached("SELECT key FROM executions WHERE ex_id = ?1")?
            .query_row([ex_id.uuid().as_bytes()], |row| row.get(0))
            .optional()?;
        return Ok(key.into_iter().map(|key| (key, ex_id)).collect());
    }
    let sql = "SELECT key, ex_id FROM executions WHERE deleted IS NULL AND EXISTS (
                   SELECT 1 FROM slices INDEXED BY failed_slices WHERE execution = executions.key AND state = 2)
               ORDER BY key DESC";
    row::list(connection, sql, [], |found| {
        Ok((found.get(0)?, ExId::new(Uuid::from_bytes(found.get::<_, [u8; 16]>(1)?))))
    })
}

/// Adds up one narrow row per execution.
pub(super) fn sums(connection: &Connection) -> Result<Sums, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT processed, failed, queued, job_duration, workers_joined, workers_disconnected,
                workers_reconnected FROM statistics",
    )?;
    let mut rows = statement.query([])?;
    let mut sums = Sums::default();
    while let Some(found) = rows.next()? {
        let number = |at| found.get::<_, i64>(at).map(i64::cast_unsigned);
        let part = Sums {
            processed: number(0)?,
            failed: number(1)?,
            queued: number(2)?,
            job_duration: number(3)?,
            workers_joined: number(4)?,
            workers_disconnected: number(5)?,
            workers_reconnected: number(6)?,
        };
        rules::add(&mut sums, part);
    }
    Ok(sums)
}
