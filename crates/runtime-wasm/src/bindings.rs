//! The contract `teraslice:asset`, as Rust.

wasmtime::component::bindgen!({
    path: "../guest-sdk/wit",
    world: "processor",
});
