//! The contract as Rust, generated from `wit/`. Made here once, so that every
//! plugin shares one set of types. Imports a plugin does not call are dropped
//! when it is linked: what a component imports bounds what it can ask for.
#![allow(
    unsafe_code,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    clippy::use_self,
    reason = "generated"
)]

wit_bindgen::generate!({
    world: "sternway:step/step",
    path: "../../wit",
    generate_all,
    pub_export_macro: true,
    default_bindings_module: "sternway_plugin::bindings",
    additional_derives: [PartialEq],
});
