//! A backend in a shared library.
#![expect(unsafe_code, reason = "a C interface is pointers; each is used as `plugin_sdk::abi` says")]

use std::{
    ffi::c_void,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    ptr, slice,
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use libloading::os::unix::{Library as Loaded, RTLD_LOCAL, RTLD_NOW};
use teraslice_plugin_sdk::{
    abi::{Entry, HostTable, MAGIC, MAJOR, MINOR, PluginTable, SYMBOL, status},
    message::{ErrorObject, Method, code},
};
use tokio::{sync::oneshot, time::timeout};

use crate::{
    connection::{CallError, Carrier, Inbox},
    file,
    open_error::OpenError,
};

/// A backend in a shared library.
pub(crate) struct Library {
    table: PluginTable,
    instance: *mut c_void,
    path: PathBuf,
}

// SAFETY: the functions of the table may be called from any thread.
unsafe impl Send for Library {}
// SAFETY: as above; only `destroy` must be the last, and `drop` sees to that.
unsafe impl Sync for Library {}

/// What the library hands back with everything that it says.
struct Callback {
    inbox: Weak<Inbox>,
}

/// Loads a library and makes an instance in it. Its code runs on a thread of its own meanwhile, which is left behind when it
/// does not come back.
pub(crate) async fn load(
    path: &Path,
    sha256: Option<&str>,
    inbox: &Arc<Inbox>,
    within: Duration,
) -> Result<Library, OpenError> {
    let (path, sha256) = (path.to_owned(), sha256.map(str::to_owned));
    let inbox = Arc::downgrade(inbox);
    let (done, loaded) = oneshot::channel();
    let loading = thread::Builder::new().name("backend-load".to_owned()).spawn(move || {
        let _nobody_waits = done.send(load_here(&path, sha256.as_deref(), inbox));
    });
    let failed = |source| OpenError::Spawn { program: "a thread".to_owned(), source };
    drop(loading.map_err(failed)?);
    match timeout(within, loaded).await {
        Ok(Ok(library)) => library,
        Ok(Err(_)) => Err(OpenError::Gone { reason: "it panicked while it was loaded".to_owned() }),
        Err(_) => Err(OpenError::Hung { step: "loading", within }),
    }
}

fn load_here(path: &Path, sha256: Option<&str>, inbox: Weak<Inbox>) -> Result<Library, OpenError> {
    file::check(path, sha256)?;
    file::check_library(path)?;
    // SAFETY: the file belongs to root or to this user, who trust what it does when it is loaded.
    let loaded = unsafe { Loaded::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    let loaded = loaded.map_err(|source| OpenError::Load { path: path.to_owned(), source })?;
    // SAFETY: a library with this symbol keeps to the interface that the symbol stands for.
    let entry = unsafe { loaded.get::<Entry>(SYMBOL.as_bytes()) };
    let entry = *entry.map_err(|_| OpenError::Symbol { path: path.to_owned() })?;
    // Never unloaded: threads and thread-locals of it may be left.
    mem::forget(loaded);
    // SAFETY: as above.
    let table = read_table(unsafe { entry() }, path)?;
    let callback = Box::leak(Box::new(Callback { inbox }));
    let host: &'static HostTable = Box::leak(Box::new(HostTable {
        size: HostTable::SIZE,
        minor: MINOR.into(),
        context: ptr::from_mut(callback).cast(),
        complete,
        event,
        log,
    }));
    let mut instance = ptr::null_mut();
    // SAFETY: the table of the host stays for ever.
    let made = unsafe { (table.create)(host, &raw mut instance) };
    if made != status::OK || instance.is_null() {
        let reason = format!("create of {} returned {made}", path.display());
        return Err(OpenError::Gone { reason });
    }
    Ok(Library { table, instance, path: path.to_owned() })
}

/// Reads a table, no more of it than is there.
fn read_table(table: *const PluginTable, path: &Path) -> Result<PluginTable, OpenError> {
    let wrong = |what: String| OpenError::Table { path: path.to_owned(), what };
    if table.is_null() || !table.is_aligned() {
        return Err(wrong("there is none".to_owned()));
    }
    // SAFETY: it is not null, and magic, size and version are in every table.
    let (magic, size, major) = unsafe { ((*table).magic, (*table).size, (*table).major) };
    if magic != MAGIC {
        return Err(wrong(format!("it begins with {:?}", String::from_utf8_lossy(&magic))));
    }
    if major != MAJOR {
        let (found, expected) = (major.to_string(), MAJOR.to_string());
        return Err(OpenError::Version { what: "C interface", found, expected });
    }
    if size < PluginTable::SIZE {
        return Err(wrong(format!("it has {size} bytes, at least {} are needed", PluginTable::SIZE)));
    }
    // SAFETY: it has as many bytes.
    Ok(unsafe { table.read() })
}

impl Carrier for Library {
    fn call(&self, id: u64, method: Method, params: &[u8]) -> Result<(), CallError> {
        let (ptr, len) = (params.as_ptr(), params.len());
        // SAFETY: the instance is there until `drop`, the params until this returns.
        let taken = unsafe { (self.table.call)(self.instance, method.number(), id, ptr, len) };
        match taken {
            status::OK => Ok(()),
            status::BUSY => Err(CallError::Busy),
            status::METHOD => {
                let message = format!("it has no method {}", method.name());
                Err(CallError::Remote(ErrorObject::new(code::METHOD, message)))
            }
            other => Err(CallError::Gone(format!("call of {} returned {other}", self.path.display()))),
        }
    }

    fn cancel(&self, id: u64) {
        // SAFETY: the instance is there until `drop`.
        unsafe { (self.table.cancel)(self.instance, id) }
    }

    fn end(&self) {
        // What hangs in this process cannot be ended.
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        let last = Last { destroy: self.table.destroy, instance: self.instance };
        // It may take its time. Without a thread the instance is left as it is.
        let _left = thread::Builder::new().name("backend-end".to_owned()).spawn(move || last.destroy());
    }
}

/// The last call of an instance.
struct Last {
    destroy: unsafe extern "C" fn(*mut c_void),
    instance: *mut c_void,
}

// SAFETY: the function may be called from any thread.
unsafe impl Send for Last {}

impl Last {
    fn destroy(self) {
        // SAFETY: nobody else has the instance any more.
        unsafe { (self.destroy)(self.instance) }
    }
}

unsafe extern "C" fn complete(context: *mut c_void, token: u64, status: i32, bytes: *const u8, len: usize) {
    receive(context, bytes, len, |inbox, bytes| {
        let reply = match status {
            status::OK => Ok(bytes.to_vec()),
            _ => Err(serde_json::from_slice(bytes).unwrap_or_else(|_| {
                let message = format!("the call ended with the status {status} and without a reason");
                ErrorObject::new(code::INTERNAL, message)
            })),
        };
        inbox.complete(token, reply);
    });
}

unsafe extern "C" fn event(context: *mut c_void, bytes: *const u8, len: usize) {
    receive(context, bytes, len, Inbox::event);
}

unsafe extern "C" fn log(context: *mut c_void, bytes: *const u8, len: usize) {
    receive(context, bytes, len, Inbox::log);
}

/// Hands bytes of the library over. A panic stays here: one that leaves a C function ends the process.
fn receive(context: *mut c_void, bytes: *const u8, len: usize, take: impl FnOnce(&Inbox, &[u8])) {
    let received = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the library hands back the context of the host's table, which stays for ever.
        let callback = unsafe { &*context.cast::<Callback>() };
        // SAFETY: the library keeps the bytes until this returns.
        let bytes = if bytes.is_null() { &[][..] } else { unsafe { slice::from_raw_parts(bytes, len) } };
        if let Some(inbox) = callback.inbox.upgrade() {
            take(&inbox, bytes);
        }
    }));
    if received.is_err() {
        tracing::error!("what a cluster backend said could not be taken");
    }
}
