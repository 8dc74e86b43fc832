//! The C interface of shared libraries: one symbol, which returns a table.
//!
//! ```text
//!  host                                   library
//!   |---- teraslice_backend_entry_v1() --->|   magic, size, major and minor are looked at before anything else
//!   |<--- PluginTable ---------------------|
//!   |---- create(HostTable) -------------->|   a thread with a runtime
//!   |---- call(method, token, params) ---->|   returns at once
//!   |<--- complete(token, status, bytes) --|   once for each call, from any thread
//!   |---- cancel(token) ------------------>|   nobody waits for that call any more
//!   |---- destroy() ---------------------->|   nothing is called back after this returns
//! ```
//!
//! Bytes are the JSON of [`message`](crate::message), borrowed for the time of the call. Fields are only ever appended; whoever
//! reads a table reads no more than its `size`. A library is never unloaded.

use std::ffi::c_void;

/// The one symbol of a library.
pub const SYMBOL: &str = "teraslice_backend_entry_v1";
/// The first bytes of a table.
pub const MAGIC: [u8; 16] = *b"teraslice-plugin";
/// Tables with another major are not understood.
pub const MAJOR: u16 = 1;
/// Raised when a field is appended.
pub const MINOR: u16 = 0;
/// The type of the symbol.
pub type Entry = unsafe extern "C" fn() -> *const PluginTable;

/// What a call of the table returns.
pub mod status {
    /// Done; for a completion: the bytes are the result.
    pub const OK: i32 = 0;
    /// The bytes are an [`ErrorObject`](crate::message::ErrorObject).
    pub const ERROR: i32 = 1;
    /// Too many calls are under way.
    pub const BUSY: i32 = 2;
    /// There is no such method.
    pub const METHOD: i32 = 3;
    /// The instance has ended, or could not be made.
    pub const ENDED: i32 = 4;
    /// There was a panic.
    pub const PANIC: i32 = -2;
}

/// What a library offers.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PluginTable {
    /// [`MAGIC`].
    pub magic: [u8; 16],
    /// Bytes of this table.
    pub size: u32,
    /// [`MAJOR`].
    pub major: u16,
    /// [`MINOR`].
    pub minor: u16,
    /// The bits of [`Capabilities`](crate::Capabilities).
    pub capabilities: u64,
    /// Makes an instance. The host's table has to stay until [`destroy`](Self::destroy) has returned.
    pub create: unsafe extern "C" fn(host: *const HostTable, instance: *mut *mut c_void) -> i32,
    /// Starts a call.
    pub call: unsafe extern "C" fn(
        instance: *mut c_void,
        method: u32,
        token: u64,
        params: *const u8,
        params_len: usize,
    ) -> i32,
    /// Gives up a call.
    pub cancel: unsafe extern "C" fn(instance: *mut c_void, token: u64),
    /// Ends an instance.
    pub destroy: unsafe extern "C" fn(instance: *mut c_void),
}

impl PluginTable {
    /// Bytes of a table of this version.
    #[expect(clippy::cast_possible_truncation, reason = "a table has some dozens of bytes")]
    pub const SIZE: u32 = size_of::<Self>() as u32;
}

/// What the host offers. All of it may be called from any thread.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct HostTable {
    /// Bytes of this table.
    pub size: u32,
    /// [`MINOR`].
    pub minor: u32,
    /// To be handed back with every call.
    pub context: *mut c_void,
    /// Ends a call.
    pub complete:
        unsafe extern "C" fn(context: *mut c_void, token: u64, status: i32, bytes: *const u8, len: usize),
    /// Takes an [`Event`](crate::message::Event).
    pub event: unsafe extern "C" fn(context: *mut c_void, bytes: *const u8, len: usize),
    /// Takes a [`Log`](crate::message::Log).
    pub log: unsafe extern "C" fn(context: *mut c_void, bytes: *const u8, len: usize),
}

impl HostTable {
    /// Bytes of a table of this version.
    #[expect(clippy::cast_possible_truncation, reason = "a table has some dozens of bytes")]
    pub const SIZE: u32 = size_of::<Self>() as u32;
}
