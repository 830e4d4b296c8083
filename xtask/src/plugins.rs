//! First-party plugins: built for wasm32-wasip2, described once, and committed
//! with their digests, so that nobody else needs the target.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{Done, build_programs, cargo, carry_out, root};

const TARGET: &str = "wasm32-wasip2";
/// What makes a folder below `plugins/` a plugin.
const SCHEMA: &str = "settings.schema.json";

pub(crate) fn run(words: &[String]) -> Done {
    match words {
        [] => write(),
        [check] if check == "--check" => match compare()? {
            None => {
                println!("plugins/built is what the sources say");
                Ok(())
            }
            Some(why) => Err(format!("cannot compare: {why}")),
        },
        _ => Err("cargo xtask plugins takes --check or nothing".into()),
    }
}

fn built() -> PathBuf {
    root().join("plugins/built")
}

fn write() -> Done {
    if let Some(why) = target_missing() {
        return Err(why);
    }
    let components = build()?;
    let programs = build_programs("dev")?;
    std::fs::create_dir_all(built()).map_err(|cause| cause.to_string())?;
    let (mut catalogue, mut digests) = (Map::new(), String::new());
    for (name, path) in components {
        let bytes = std::fs::read(&path).map_err(|cause| format!("{}: {cause}", path.display()))?;
        let sha256 = sha256(&bytes);
        std::fs::write(built().join(format!("{name}.wasm")), &bytes).map_err(|cause| cause.to_string())?;
        let manifest = describe(&programs, &path)?;
        println!("{sha256}  {name}.wasm  {} bytes", bytes.len());
        digests.push_str(&format!("{sha256}  {name}.wasm\n"));
        let entry = json!({ "sha256": sha256, "bytes": bytes.len(), "manifest": manifest });
        catalogue.insert(name, entry);
    }
    let text = serde_json::to_string_pretty(&Value::Object(catalogue)).map_err(|cause| cause.to_string())?;
    std::fs::write(built().join("catalogue.json"), text + "\n").map_err(|cause| cause.to_string())?;
    std::fs::write(built().join("DIGESTS"), digests).map_err(|cause| cause.to_string())
}

/// Builds again and compares with what is committed; says why when it cannot.
pub(crate) fn compare() -> Result<Option<String>, String> {
    if let Some(why) = target_missing() {
        return Ok(Some(why));
    }
    for (name, path) in build()? {
        let fresh = std::fs::read(&path).map_err(|cause| format!("{}: {cause}", path.display()))?;
        let committed = std::fs::read(built().join(format!("{name}.wasm"))).unwrap_or_default();
        if fresh != committed {
            return Err(format!(
                "plugins/built/{name}.wasm is not what the sources build ({} against {}); run: cargo xtask plugins",
                sha256(&committed),
                sha256(&fresh)
            ));
        }
    }
    Ok(None)
}

fn target_missing() -> Option<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output().ok()?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let is_there = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    (!is_there).then(|| format!("the target {TARGET} is not installed (rustup target add {TARGET})"))
}

/// The same bytes on every machine: no path of this one is left in them.
fn build() -> Result<Vec<(String, PathBuf)>, String> {
    let plugins = root().join("plugins");
    let target = crate::target_folder()?.join("plugins");
    let mut build = cargo();
    build.current_dir(&plugins).env("RUSTFLAGS", remapped(&plugins)).env("CARGO_TARGET_DIR", &target);
    // Built one by one, a plugin may get fewer features of a shared crate, and other bytes.
    build.args(["build", "--release", "--locked", "--workspace", "--target", TARGET]);
    carry_out(&mut build)?;
    let folder = target.join(TARGET).join("release");
    Ok(names()?
        .into_iter()
        .map(|name| {
            let path = component(&folder, &name);
            (name, path)
        })
        .collect())
}

/// Cargo names a crate's product with underscores.
fn component(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{}.wasm", name.replace('-', "_")))
}

/// The plugins that stand in the tree, sorted.
fn names() -> Result<Vec<String>, String> {
    let entries = std::fs::read_dir(root().join("plugins")).map_err(|cause| cause.to_string())?;
    let is_plugin = |entry: &std::fs::DirEntry| entry.path().join(SCHEMA).exists();
    let mut names: Vec<String> = entries
        .flatten()
        .filter(is_plugin)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// As `plugins/BUILD.md` says.
fn remapped(plugins: &Path) -> String {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"));
    let mut flags = format!("--remap-path-prefix={}=plugins", plugins.display());
    let registries = std::fs::read_dir(home.join("registry/src")).into_iter().flatten().flatten();
    for registry in registries {
        flags.push_str(&format!(" --remap-path-prefix={}=crates", registry.path().display()));
    }
    flags
}

fn describe(programs: &Path, component: &Path) -> Result<Value, String> {
    let output = Command::new(programs.join("sternway-agent"))
        .args(["plugin", "describe"])
        .arg(component)
        .output()
        .map_err(|cause| format!("could not start sternway-agent: {cause}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|cause| format!("{}: {cause}", component.display()))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
