//! The same backend as a process.

use fork_exec_backend::ForkExec;

teraslice_plugin_sdk::serve_stdio!(ForkExec);
