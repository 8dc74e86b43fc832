//! What a process of an execution is told by its environment, whichever backend has started it.

/// The cluster it belongs to.
pub const CLUSTER: &str = "TERASLICE_CLUSTER";
/// Its execution.
pub const EX_ID: &str = "TERASLICE_EX_ID";
/// Its job.
pub const JOB_ID: &str = "TERASLICE_JOB_ID";
/// The controller object it belongs to.
pub const GENERATION: &str = "TERASLICE_GENERATION";
/// What it is: see [`Role::node_type`](super::Role::node_type).
pub const NODE_TYPE: &str = "NODE_TYPE";
/// Which of the workers it is; 0 for the controller.
pub const ORDINAL: &str = "TERASLICE_ORDINAL";
/// Tells it from others that hold its place before and after it; 0 where nobody counts them.
pub const INCARNATION: &str = "TERASLICE_INCARNATION";
/// Where files of a run are.
pub const RUN_DIRECTORY: &str = "TERASLICE_RUN_DIRECTORY";
/// The name of a worker; without it its place is its name.
pub const WORKER_ID: &str = "TERASLICE_WORKER_ID";
/// The host at which others reach it.
pub const HOST: &str = "TERASLICE_HOST";
/// The URL of the master.
pub const MASTER: &str = "TERASLICE_MASTER";
/// The certificate of the authority by which it knows the master and its controller, PEM, where the master has one of its own.
pub const AUTHORITY: &str = "TERASLICE_AUTHORITY";
/// The file with the token by which it shows who it is, renewed in place; without it, it knows a secret.
pub const TOKEN_FILE: &str = "TERASLICE_TOKEN_FILE";
/// The token itself, where there is no file for it.
pub const TOKEN: &str = "TERASLICE_TOKEN";
