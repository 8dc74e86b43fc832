//! Connections to Elasticsearch (7 to 9) and OpenSearch (1 to 3), as plain HTTP and JSON.
//!
//! One [`Client`] per connection and process. All its requests share one view of the servers: what is down is tried by one
//! request at a time while the others wait, so that an outage pauses work instead of failing it.

mod bulk;
mod client;
mod connections;
mod error;
mod nodes;
mod outage;
mod request;
mod server;
mod settings;

pub use bulk::{Bulk, BulkFailure, BulkItem, BulkOutcome};
pub use client::Client;
pub use connections::Connections;
pub use error::Error;
pub use request::{ANSWER_TOO_LARGE, Method, Request, Response, index_path};
pub use server::{Product, Server};
pub use settings::Settings;
