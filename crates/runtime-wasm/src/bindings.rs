//! The contract `teraslice:asset`, as Rust.
#![expect(missing_docs, reason = "generated from crates/guest-sdk/wit, which documents each item")]
#![expect(unreachable_pub, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../guest-sdk/wit",
    world: "processor",
});
