//! The wrong backends as a process.

mod backend;

use backend::Wrong;

teraslice_plugin_sdk::serve_stdio!(Wrong);
