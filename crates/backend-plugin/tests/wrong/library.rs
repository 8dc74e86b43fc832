//! The wrong backends as a shared library.

mod backend;

teraslice_plugin_sdk::export_backend!(backend::Wrong);
