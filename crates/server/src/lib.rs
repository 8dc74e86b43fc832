//! The HTTP API of the master, and the services behind it.

pub mod access;
mod answer;
mod app;
mod body;
pub mod checker;
pub mod controllers;
mod documents;
mod endpoint;
mod events;
mod executions;
mod explain;
mod jobs;
pub mod library;
mod locks;
mod metrics;
pub mod nodes;
pub mod openapi;
pub mod options;
mod params;
mod recovery;
mod refusal;
mod replay;
mod router;
mod routes;
pub mod services;
mod table;
mod trace;

pub use options::{ApiAuth, ServerOptions};
pub use router::{metrics_router, router};
pub use services::{Readiness, Services};
