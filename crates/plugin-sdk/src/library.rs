//! A backend as a shared library: what [`export_backend!`](crate::export_backend) makes.
#![expect(unsafe_code, reason = "a C interface is pointers; each is used as `abi` says")]

use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    slice,
    sync::{Arc, mpsc as std_mpsc},
    thread,
    time::Duration,
};

use serde::Serialize;
use tokio::sync::mpsc;

use crate::{
    ClusterBackend, Host,
    abi::{HostTable, MAGIC, MAJOR, MINOR, PluginTable, status},
    backend::Sink,
    dispatch::{Answer, Calls, Dispatcher, Serve},
    message::{Event, Log, Method},
};

/// Calls that wait for the runtime of an instance.
const CALLS_MAX: usize = 1_024;
/// An instance that does not end within this is left behind.
const END_MAX: Duration = Duration::from_secs(5);

/// Makes a shared library of a backend: defines its one symbol.
#[macro_export]
macro_rules! export_backend {
    ($backend:ty) => {
        #[allow(unsafe_code, reason = "the one symbol of the library has a name that is not mangled")]
        const _: () = {
            static TABLE: $crate::abi::PluginTable = $crate::library::table::<$backend>();

            #[unsafe(no_mangle)]
            extern "C" fn teraslice_backend_entry_v1() -> *const $crate::abi::PluginTable {
                &raw const TABLE
            }
        };
    };
}

/// Returns the table of a backend.
#[must_use]
pub const fn table<B: ClusterBackend>() -> PluginTable {
    PluginTable {
        magic: MAGIC,
        size: PluginTable::SIZE,
        major: MAJOR,
        minor: MINOR,
        capabilities: B::CAPABILITIES.0,
        create: create::<B>,
        call,
        cancel,
        destroy,
    }
}

/// An instance: a thread with a runtime of its own.
struct Instance {
    commands: mpsc::Sender<Command>,
    ended: std_mpsc::Receiver<()>,
}

enum Command {
    Call { method: Method, token: u64, params: Vec<u8> },
    Cancel { token: u64 },
}

/// The host, as its table says.
struct HostSink(HostTable);

// SAFETY: the host promises that its functions may be called from any thread.
unsafe impl Send for HostSink {}
// SAFETY: as above.
unsafe impl Sync for HostSink {}

impl HostSink {
    fn complete(&self, token: u64, answer: Answer) {
        let (status, bytes) = match answer {
            Ok(result) => (status::OK, result),
            Err(error) => (status::ERROR, json(&error)),
        };
        let HostTable { context, complete, .. } = self.0;
        // SAFETY: the table stays until the instance is destroyed, and the bytes until this returns.
        unsafe { complete(context, token, status, bytes.as_ptr(), bytes.len()) }
    }
}

impl Sink for HostSink {
    fn event(&self, event: &Event) {
        let bytes = json(event);
        // SAFETY: as in `complete`.
        unsafe { (self.0.event)(self.0.context, bytes.as_ptr(), bytes.len()) }
    }

    fn log(&self, log: &Log) {
        let bytes = json(log);
        // SAFETY: as in `complete`.
        unsafe { (self.0.log)(self.0.context, bytes.as_ptr(), bytes.len()) }
    }
}

fn json<T: Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).unwrap_or_default()
}

unsafe extern "C" fn create<B: ClusterBackend>(host: *const HostTable, instance: *mut *mut c_void) -> i32 {
    guarded(|| {
        // SAFETY: the host hands over a table of its own.
        let table = unsafe { host.read() };
        let sink = Arc::new(HostSink(table));
        let dispatcher: Arc<dyn Serve> =
            Arc::new(Dispatcher::<B>::new(Host::new(Arc::clone(&sink) as Arc<dyn Sink>)));
        let (commands, received) = mpsc::channel(CALLS_MAX);
        let (over, ended) = std_mpsc::channel();
        let thread = thread::Builder::new().name(format!("backend-{}", B::NAME)).spawn(move || {
            run(received, dispatcher, sink);
            drop(over);
        });
        if thread.is_err() {
            return status::ENDED;
        }
        let made = Box::into_raw(Box::new(Instance { commands, ended }));
        // SAFETY: the host hands over a place for it.
        unsafe { instance.write(made.cast()) };
        status::OK
    })
}

unsafe extern "C" fn call(
    instance: *mut c_void,
    method: u32,
    token: u64,
    params: *const u8,
    params_len: usize,
) -> i32 {
    guarded(|| {
        // SAFETY: the host hands back what `create` made, and params that stay until this returns.
        let (instance, params) =
            unsafe { (&*instance.cast::<Instance>(), slice::from_raw_parts(params, params_len)) };
        let Some(method) = Method::of_number(method) else { return status::METHOD };
        match instance.commands.try_send(Command::Call { method, token, params: params.to_vec() }) {
            Ok(()) => status::OK,
            Err(mpsc::error::TrySendError::Full(_)) => status::BUSY,
            Err(mpsc::error::TrySendError::Closed(_)) => status::ENDED,
        }
    })
}

unsafe extern "C" fn cancel(instance: *mut c_void, token: u64) {
    guarded(|| {
        // SAFETY: as in `call`.
        let instance = unsafe { &*instance.cast::<Instance>() };
        // Where there is no room for it the call goes on, and its answer is passed over.
        let _no_room = instance.commands.try_send(Command::Cancel { token });
        status::OK
    });
}

unsafe extern "C" fn destroy(instance: *mut c_void) {
    guarded(|| {
        // SAFETY: the host hands back what `create` made, for the last time.
        let Instance { commands, ended } = *unsafe { Box::from_raw(instance.cast::<Instance>()) };
        drop(commands);
        let _left_behind = ended.recv_timeout(END_MAX);
        status::OK
    });
}

/// Keeps panics inside: one that leaves a C function ends the process.
fn guarded(act: impl FnOnce() -> i32) -> i32 {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or(status::PANIC)
}

/// Answers calls until the instance is destroyed.
fn run(mut commands: mpsc::Receiver<Command>, dispatcher: Arc<dyn Serve>, sink: Arc<HostSink>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let calls = Calls::default();
    runtime.block_on(async {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Call { method, token, params } => {
                    let sink = Arc::clone(&sink);
                    let answering = Arc::clone(&dispatcher).call(method, params);
                    calls.start(token, answering, move |answer| sink.complete(token, answer));
                }
                Command::Cancel { token } => calls.cancel(token),
            }
        }
    });
    runtime.shutdown_background();
}
