//! Lists the built plugins for `include_bytes!`, so that nobody keeps that list by hand.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() {
    let built = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../plugins/built");
    println!("cargo::rerun-if-changed={}", built.display());
    let mut paths: Vec<_> = fs::read_dir(&built)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .collect();
    paths.sort();
    let mut list = String::from("&[\n");
    for path in &paths {
        println!("cargo::rerun-if-changed={}", path.display());
        writeln!(list, "    include_bytes!({:?}),", path.display().to_string())
            .expect("a string takes everything");
    }
    list.push(']');
    let out = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("plugins.rs");
    fs::write(out, list).expect("the output folder can be written");
}
