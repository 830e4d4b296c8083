//! Hosts plugins: the only place that names the engine.
//!
//! A plugin reaches nothing but the calls of its contract, and those only
//! through the [gate](crate::gate). WASI is there because the standard
//! libraries ask for it, and it is empty: no files, no environment, no
//! sockets, no waiting.

mod bindings;
mod cache;
mod limits;
mod output;
mod plugin;
pub mod types;

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sternway_core::ids::Digest;
use sternway_core::manifest::Manifest;
use wasmtime::component::{Component, HasSelf, Linker, Val};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, StoreContextMut, Strategy, format_err};

pub use cache::CacheError;
pub use limits::{ANSWER_BYTES_MAX, COMPONENT_BYTES_MAX, Limits};
pub use plugin::{DescribeError, Plugin};

use bindings::Context;
use bindings::contract::{Step, StepPre};
use cache::Cache;

/// The tick by which a running plugin notices that its time is up.
const TICK: Duration = Duration::from_millis(10);
/// The version of the contract this agent speaks.
pub const CONTRACT: &str = "0.1";
const WASI_PARTS: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];

/// Why there can be no sandbox at all.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The engine refuses its own configuration.
    #[error("the engine could not be set up: {reason}")]
    Engine {
        /// The engine's words.
        reason: String,
    },
    /// The cache of compiled plugins cannot be used.
    #[error("compiled plugins cannot be kept")]
    Cache(#[from] CacheError),
    /// The ticker thread could not be started.
    #[error("the ticker could not be started")]
    Ticker(#[source] std::io::Error),
}

/// Why a plugin is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is larger than any plugin may be.
    #[error("the plugin has {bytes} bytes; {COMPONENT_BYTES_MAX} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// These are not the bytes that were named.
    #[error("the plugin's bytes have the digest {found}, not {expected}")]
    WrongDigest {
        /// As named, by the plan or the catalogue.
        expected: Digest,
        /// As hashed.
        found: Digest,
    },
    /// The engine cannot make sense of it.
    #[error("this is not a WebAssembly component that can be run: {reason}")]
    NotAComponent {
        /// The engine's words.
        reason: String,
    },
    /// It asks for something no agent lends.
    #[error("the plugin wants {}, which this agent does not lend", wanted.join(", "))]
    ImportRefused {
        /// The names of the imports.
        wanted: Vec<String>,
    },
    /// It speaks another version of the contract.
    #[error("the plugin wants {wanted}; this agent speaks {CONTRACT}")]
    OtherContract {
        /// The name of the import or export.
        wanted: String,
    },
    /// It does not offer what a step must.
    #[error("the plugin does not fit the contract {CONTRACT}: {reason}")]
    DoesNotFit {
        /// The engine's words.
        reason: String,
    },
}

/// Compiles, keeps and runs plugins. One for each process.
pub struct Sandbox {
    engine: Engine,
    linker: Linker<Context>,
    cache: Option<Cache>,
    compatibility: String,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sandbox").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Sandbox {
    /// With a cache of compiled plugins in `cache_dir`, which is made with
    /// mode 0700 and must be ours alone.
    ///
    /// # Errors
    /// The cache cannot be used, or the engine not set up.
    pub fn new(cache_dir: &Path) -> Result<Self, SandboxError> {
        let cache = Cache::open(cache_dir)?;
        Self::with_cache(Some(cache))
    }

    /// Compiles every time; for tools that look at a plugin once.
    ///
    /// # Errors
    /// The engine cannot be set up.
    pub fn without_cache() -> Result<Self, SandboxError> {
        Self::with_cache(None)
    }

    fn with_cache(cache: Option<Cache>) -> Result<Self, SandboxError> {
        let refused = |error: wasmtime::Error| SandboxError::Engine { reason: format!("{error:#}") };
        let engine = Engine::new(&configuration()).map_err(refused)?;
        let linker = linker(&engine).map_err(refused)?;
        start_ticker(&engine).map_err(SandboxError::Ticker)?;
        let compatibility = compatibility(&engine);
        Ok(Self { engine, linker, cache, compatibility })
    }

    /// Checks the digest, compiles (or finds compiled) and links.
    ///
    /// # Errors
    /// In plain words, what the plugin wants that is not lent.
    pub fn load(&self, sha256: &Digest, bytes: &[u8]) -> Result<Plugin, LoadError> {
        if bytes.len() > COMPONENT_BYTES_MAX {
            return Err(LoadError::TooLarge { bytes: bytes.len() });
        }
        let found = Digest::of(bytes);
        if found != *sha256 {
            return Err(LoadError::WrongDigest { expected: *sha256, found });
        }
        let compile = || {
            // Only the binary form: text is not what was signed.
            Component::from_binary(&self.engine, bytes)
        };
        let component = match &self.cache {
            Some(cache) => {
                let name = format!("{sha256}-{}", self.compatibility);
                cache.load_or_compile(&self.engine, &name, compile)
            }
            None => compile(),
        }
        .map_err(|error| LoadError::NotAComponent { reason: one_sentence(&error) })?;
        check_imports(&self.engine, &component)?;
        let does_not_fit = |error: wasmtime::Error| LoadError::DoesNotFit { reason: one_sentence(&error) };
        let linked = self.linker.instantiate_pre(&component).map_err(does_not_fit)?;
        let ready = StepPre::new(linked).map_err(does_not_fit)?;
        Ok(Plugin { engine: self.engine.clone(), ready, name: sha256.short() })
    }
}

/// Why a plugin's file could not be described.
#[derive(Debug, thiserror::Error)]
pub enum DescribeFileError {
    /// The file cannot be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's account.
        #[source]
        cause: std::io::Error,
    },
    /// No sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// It is not loaded.
    #[error("`{}` cannot be loaded", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: LoadError,
    },
    /// It does not describe itself.
    #[error("`{}` does not describe itself", path.display())]
    Describe {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Box<DescribeError>,
    },
}

/// Loads the component in a file and asks it what it is; for the packer.
///
/// # Errors
/// It cannot be read, loaded or asked.
pub fn describe_file(path: &Path) -> Result<Manifest, DescribeFileError> {
    let at = || path.to_path_buf();
    let bytes = std::fs::read(path).map_err(|cause| DescribeFileError::Read { path: at(), cause })?;
    Sandbox::without_cache()?
        .load(&Digest::of(&bytes), &bytes)
        .map_err(|cause| DescribeFileError::Load { path: at(), cause })?
        .describe()
        .map_err(|cause| DescribeFileError::Describe { path: at(), cause: Box::new(cause) })
}

fn configuration() -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        .epoch_interruption(true)
        .concurrency_support(false)
        .max_wasm_stack(limits::STACK_BYTES_MAX)
        .memory_init_cow(false)
        // Two hosts that run the same plugin get the same bits.
        .cranelift_nan_canonicalization(true)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false);
    // Not switched off: multi-memory. In 48.0 a component of two parts that
    // pass a string would then make the engine itself panic.
    config
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<Context>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    // A wait in WASI would hold our thread beyond every deadline, for epochs
    // are not looked at there. `control.sleep` waits, and knows when to end.
    linker.allow_shadowing(true);
    let mut poll = linker.instance("wasi:io/poll@0.2.12")?;
    for name in ["poll", "[method]pollable.block"] {
        poll.func_new(name, |_: StoreContextMut<'_, Context>, _, _: &[Val], _: &mut [Val]| {
            Err(format_err!("a step waits with `control.sleep`, not by itself"))
        })?;
    }
    linker.allow_shadowing(false);
    Step::add_to_linker::<_, HasSelf<_>>(&mut linker, |context| context)?;
    Ok(linker)
}

fn start_ticker(engine: &Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new().name("ticker".to_owned()).spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    })?;
    Ok(())
}

/// The engine's version, flags and processor features, as sixteen digits.
fn compatibility(engine: &Engine) -> String {
    struct Shortened(Sha256);
    impl Hasher for Shortened {
        fn finish(&self) -> u64 {
            let digest: [u8; 32] = self.0.clone().finalize().into();
            u64::from_be_bytes(digest[..8].try_into().expect("eight of thirty-two bytes"))
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut hasher = Shortened(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// An interface without functions would link silently, so names are compared.
fn check_imports(engine: &Engine, component: &Component) -> Result<(), LoadError> {
    let mut refused = Vec::new();
    for (name, _) in component.component_type().imports(engine) {
        let (interface, version) = name.split_once('@').unwrap_or((name, ""));
        if let Some(wasi) = interface.strip_prefix("wasi:") {
            let part = wasi.split('/').next().unwrap_or_default();
            if !WASI_PARTS.contains(&part) || !version.starts_with("0.2.") {
                refused.push(name.to_owned());
            }
        } else if interface.starts_with("sternway:host/") || interface.starts_with("sternway:step/") {
            if !speaks(version) {
                return Err(LoadError::OtherContract { wanted: name.to_owned() });
            }
        } else {
            refused.push(name.to_owned());
        }
    }
    if !refused.is_empty() {
        return Err(LoadError::ImportRefused { wanted: refused });
    }
    for (name, _) in component.component_type().exports(engine) {
        if let Some(version) = name.strip_prefix("sternway:step/lifecycle@")
            && !speaks(version)
        {
            return Err(LoadError::OtherContract { wanted: name.to_owned() });
        }
    }
    Ok(())
}

fn speaks(version: &str) -> bool {
    version.strip_prefix(CONTRACT).is_some_and(|patch| patch.starts_with('.'))
}

fn one_sentence(error: &wasmtime::Error) -> String {
    bindings::one_line(&format!("{error:#}").replace('\n', " "), 1_000)
}

#[cfg(test)]
mod tests;
