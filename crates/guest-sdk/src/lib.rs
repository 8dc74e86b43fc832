//! What the authors of assets compile against.
//!
//! An operation is a struct with settings and a method per record; [`asset!`] makes a component of a set of them. The host
//! runs neighbouring operations of one asset as a chain: each record's fields are listed once for all of them, values are
//! parsed when touched, and what nobody touches is copied through byte by byte.
//!
//! ```
//! use serde::Deserialize;
//! use teraslice_guest_sdk::{ConfigError, Error, Info, Name, Operation, Record, Verdict};
//!
//! /// Leaves out records that lack a field.
//! struct Require {
//!     field: Name,
//! }
//!
//! #[derive(Deserialize)]
//! struct Config {
//!     field: Name,
//! }
//!
//! impl Operation for Require {
//!     type Config = Config;
//!
//!     const INFO: Info = Info::new(
//!         "require",
//!         "Leaves out records that lack a field.",
//!         r#"{"properties":{"field":{"type":"string"}},"required":["field"]}"#,
//!     );
//!
//!     fn new(config: Config) -> Result<Self, ConfigError> {
//!         Ok(Self { field: config.field })
//!     }
//!
//!     fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
//!         Ok(Verdict::keep_if(record.get(&self.field).is_some()))
//!     }
//! }
//!
//! teraslice_guest_sdk::asset!(Require);
//! # fn main() {
//! # let run = teraslice_guest_sdk::testing::Run::of::<Require>(r#"{"field":"a"}"#, &[r#"{"a":1}"#, "{}"]);
//! # assert_eq!((run.records.len(), run.dropped), (1, 1));
//! # }
//! ```

#[cfg(target_arch = "wasm32")]
pub mod bindings;
mod buffer;
mod chain;
#[cfg(target_arch = "wasm32")]
pub mod component;
pub mod config;
mod frame;
pub mod host;
mod name;
mod nested;
mod object;
mod operation;
mod record;
mod scan;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod value;

pub use name::{Name, Path};
pub use operation::{ConfigError, Entry, Error, Info, Operation, Released, Scope, Verdict};
pub use record::{Held, Record};
pub use value::{Elements, Kind, Members, Value};

/// Makes an asset of operations: a list of them, and in the sandbox the exports of a component.
#[macro_export]
macro_rules! asset {
    ($($operation:ty),+ $(,)?) => {
        /// The operations of this asset.
        pub const OPERATIONS: &[$crate::Entry] = &[$($crate::Entry::of::<$operation>()),+];

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::{bindings, component};

            #[used]
            #[unsafe(link_section = "teraslice-operations")]
            static NAMES: [u8; component::names_len(OPERATIONS)] = component::names(OPERATIONS);

            struct Asset;

            impl bindings::Guest for Asset {
                fn describe() -> Vec<bindings::Operation> {
                    component::describe(OPERATIONS)
                }

                fn open(steps: Vec<bindings::Step>) -> Result<(), bindings::Problem> {
                    component::open(OPERATIONS, &steps)
                }

                fn process(input: bindings::Batch) -> Result<bindings::Output, bindings::Problem> {
                    component::process(&input)
                }

                fn finish() -> Result<bindings::Output, bindings::Problem> {
                    component::finish()
                }
            }

            bindings::export!(Asset with_types_in bindings);
        };
    };
}
