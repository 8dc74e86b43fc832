//! Bindings to `wit/asset.wit`, made by the compiler.
#![expect(missing_docs, reason = "made from the interface, which is documented")]

wit_bindgen::generate!({
    path: "wit",
    world: "processor",
    pub_export_macro: true,
    default_bindings_module: "teraslice_guest_sdk::bindings",
});
