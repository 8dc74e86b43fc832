//! Lists of jobs, executions and given up slices: the index that knows the order gives the keys, then the rows are read.

use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter, types::Value};
use teraslice_core::store::{ErrorQuery, ErrorRecord, ExecutionQuery, JobQuery, Page, Sort, Sums};
use teraslice_model::{
    execution::{Execution, JobRecord},
    filter::Filter,
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

/// How a list is made: what of it the index does, and what is left to do on the rows.
struct Plan<'q> {
    order: Order,
    filter: Option<&'q Filter>,
    /// Absent when the index has the order already.
    sort: Option<&'q Sort>,
    page: Page,
}

impl<'q> Plan<'q> {
    fn new(filter: Option<&'q Filter>, sort: Option<&'q Sort>, page: Page) -> Self {
        match Order::of(sort) {
            Some(order) => Self { order, filter, sort: None, page },
            None => Self { order: Order::Newest, filter, sort, page },
        }
    }

    fn run<T: Listed>(
        &self,
        connection: &Connection,
        keys: Keys,
        sql: &str,
        read: impl Fn(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let is_paged_by_index = self.filter.is_none() && self.sort.is_none();
        let all = Page { from: 0, size: u64::MAX };
        let (of_index, of_rows) = if is_paged_by_index { (self.page, all) } else { (all, self.page) };
        let mut collector = Collector::new(self.filter, self.sort, of_rows);
        let mut statement = connection.prepare_cached(sql)?;
        for key in keys.ask(connection, self.order, of_index)? {
            let mut rows = statement.query([key])?;
            let found = rows.next()?.expect("keys and rows are of one snapshot");
            if !collector.offer(read(found)?) {
                break;
            }
        }
        Ok(collector.finish())
    }
}

/// A question for keys: conditions of constant text, and the values they speak of.
struct Keys {
    source: &'static str,
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Keys {
    /// Returns the keys of a page in order.
    fn ask(mut self, connection: &Connection, order: Order, page: Page) -> Result<Vec<i64>, Fault> {
        let sql = self.sql(order);
        self.values.extend([bound(page.size).into(), bound(page.from).into()]);
        let mut statement = connection.prepare(&sql)?;
        let keys = statement.query_map(params_from_iter(self.values), |row| row.get(0))?;
        Ok(keys.collect::<Result<_, _>>()?)
    }

    fn sql(&self, order: Order) -> String {
        let source = self.source;
        let conditions = if self.conditions.is_empty() { "true" } else { &self.conditions.join(" AND ") };
        format!("SELECT key FROM {source} WHERE {conditions} ORDER BY {} LIMIT ? OFFSET ?", order.clause())
    }
}

pub(super) fn jobs(connection: &Connection, query: &JobQuery) -> Result<Vec<JobRecord>, Fault> {
    let plan = Plan::new(query.filter.as_ref(), query.sort.as_ref(), query.page);
    let sql = "SELECT record FROM jobs WHERE key = ?1";
    plan.run(connection, keys_of_jobs(query, plan.order), sql, |found| row::parse_at("job", found, 0))
}

fn keys_of_jobs(query: &JobQuery, order: Order) -> Keys {
    let source = match order {
        Order::Newest => "jobs INDEXED BY jobs_in_order",
        Order::Created { .. } => "jobs INDEXED BY jobs_by_created",
        Order::Updated { .. } => "jobs INDEXED BY jobs_by_updated",
    };
    let mut keys = Keys { source, conditions: Vec::new(), values: Vec::new() };
    for (column, wanted) in [("is_deleted", query.is_deleted), ("is_active", query.is_active)] {
        if let Some(wanted) = wanted {
            keys.conditions.push(format!("{column} = ?"));
            keys.values.push(i64::from(wanted).into());
        }
    }
    keys
}

pub(super) fn executions(connection: &Connection, query: &ExecutionQuery) -> Result<Vec<Execution>, Fault> {
    let plan = Plan::new(query.filter.as_ref(), query.sort.as_ref(), query.page);
    let sql = format!("SELECT {EXECUTION} FROM executions WHERE key = ?1");
    plan.run(connection, keys_of_executions(query, plan.order), &sql, row::execution)
}

fn keys_of_executions(query: &ExecutionQuery, order: Order) -> Keys {
    let source = match order {
        _ if query.job_id.is_some() => "executions INDEXED BY executions_of_job",
        Order::Created { .. } => "executions INDEXED BY executions_by_created",
        Order::Updated { .. } => "executions INDEXED BY executions_by_updated",
        Order::Newest if query.statuses.is_empty() => "executions INDEXED BY executions_in_order",
        Order::Newest => "executions INDEXED BY executions_by_status",
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

pub(super) fn errors(connection: &Connection, query: &ErrorQuery) -> Result<Vec<ErrorRecord>, Fault> {
    let (source, order, is_sorted) = match (query.ex_id, Order::of(query.sort.as_ref())) {
        (Some(_), Some(Order::Updated { is_descending })) => {
            ("failed_slices_by_updated", if is_descending { "updated DESC," } else { "updated," }, true)
        }
        _ => ("failed_slices", "", query.sort.is_none()),
    };
    let sql = format!(
        "SELECT {SLICE}, updated FROM slices INDEXED BY {source} WHERE execution = ?1 AND state = 2
         ORDER BY {order} slicer_id, slicer_order"
    );
    let sort = query.sort.as_ref().filter(|_| !is_sorted);
    let mut collector = Collector::new(query.filter.as_ref(), sort, query.page);
    for (key, ex_id) in executions_with_errors(connection, query.ex_id)? {
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

/// Returns the executions to look into, the newest first.
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

/// Returns how the keys of jobs are asked for.
#[cfg(test)]
pub(super) fn sql_of_jobs(query: &JobQuery) -> String {
    let order = Plan::new(None, query.sort.as_ref(), query.page).order;
    keys_of_jobs(query, order).sql(order)
}

/// Returns how the keys of executions are asked for.
#[cfg(test)]
pub(super) fn sql_of_executions(query: &ExecutionQuery) -> String {
    let order = Plan::new(None, query.sort.as_ref(), query.page).order;
    keys_of_executions(query, order).sql(order)
}
