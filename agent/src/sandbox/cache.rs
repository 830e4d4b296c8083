//! Compiled plugins on disk, so that a restart does not compile again.
//!
//! A compiled plugin is native code: loading one that somebody else wrote is
//! running their code as us. So each carries a code (HMAC-SHA256) under a key
//! that only we can read, over its name and its bytes, and the very bytes that
//! were checked are the ones that are loaded.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::hmac;
use rustix::fs::FlockOperation;
use wasmtime::component::Component;
use wasmtime::{Engine, Result};

use crate::durable;

const KEY_BYTES: usize = 32;
const CODE_BYTES: usize = 32;

/// Why the cache cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Input or output.
    #[error("could not {step} the cache `{}`", path.display())]
    Io {
        /// What was being done.
        step: &'static str,
        /// The directory or the key in it.
        path: PathBuf,
        /// The operating system's account.
        #[source]
        cause: io::Error,
    },
    /// Somebody else could write it.
    #[error("the cache `{}` must be ours alone (mode 0700)", path.display())]
    Shared {
        /// The directory.
        path: PathBuf,
    },
    /// The key could not be written.
    #[error(transparent)]
    Durable(#[from] durable::DurableError),
}

pub(super) struct Cache {
    directory: PathBuf,
    key: hmac::Key,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cache").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Cache {
    pub(super) fn open(directory: &Path) -> std::result::Result<Self, CacheError> {
        let failed = |step, cause| CacheError::Io { step, path: directory.to_path_buf(), cause };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|cause| failed("make", cause))?;
        let stat = fs::symlink_metadata(directory).map_err(|cause| failed("look at", cause))?;
        let ours = stat.uid() == rustix::process::geteuid().as_raw();
        if !stat.is_dir() || !ours || stat.mode() & 0o077 != 0 {
            return Err(CacheError::Shared { path: directory.to_path_buf() });
        }
        let _lock = lock(directory, "key").map_err(|cause| failed("lock", cause))?;
        let path = directory.join("key");
        let key = match fs::read(&path) {
            Ok(key) if key.len() == KEY_BYTES => key,
            Ok(_) => new_key(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => new_key(&path)?,
            Err(cause) => return Err(failed("read the key of", cause)),
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        Ok(Self { directory: directory.to_path_buf(), key })
    }

    /// Loads `<name>.cwasm`, or compiles and keeps it; two processes that want
    /// the same one compile it once.
    pub(super) fn load_or_compile(
        &self,
        engine: &Engine,
        name: &str,
        compile: impl FnOnce() -> Result<Component>,
    ) -> Result<Component> {
        if let Some(component) = self.load(engine, name) {
            return Ok(component);
        }
        // Without the lock both compile, which costs time and nothing else.
        let _lock = lock(&self.directory, name).ok();
        if let Some(component) = self.load(engine, name) {
            return Ok(component);
        }
        let component = compile()?;
        if let Err(error) = self.keep(name, &component.serialize()?) {
            tracing::warn!(error = &error as &dyn std::error::Error, "a compiled plugin was not kept");
        }
        Ok(component)
    }

    fn load(&self, engine: &Engine, name: &str) -> Option<Component> {
        let path = self.path(name);
        let bytes = fs::read(&path).ok()?;
        let (code, compiled) = bytes.split_at_checked(CODE_BYTES)?;
        if hmac::verify(&self.key, &signed(name, compiled), code).is_err() {
            tracing::warn!(path = %path.display(), "a compiled plugin was changed; it is not used");
            return None;
        }
        deserialize(engine, compiled).ok()
    }

    fn keep(&self, name: &str, compiled: &[u8]) -> std::result::Result<(), durable::DurableError> {
        let code = hmac::sign(&self.key, &signed(name, compiled));
        let bytes = [code.as_ref(), compiled].concat();
        durable::write(&self.path(name), 0o400, &bytes)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.cwasm"))
    }
}

#[expect(unsafe_code, reason = "the engine cannot check native code; the caller checked its code")]
fn deserialize(engine: &Engine, compiled: &[u8]) -> Result<Component> {
    // SAFETY: these bytes carry our code under a key that only we can read, so
    // they are what `Component::serialize` gave us for an engine of this
    // configuration; the engine itself refuses those of another.
    unsafe { Component::deserialize(engine, compiled) }
}

fn signed(name: &str, compiled: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b"\n", compiled].concat()
}

fn new_key(path: &Path) -> std::result::Result<Vec<u8>, CacheError> {
    let mut key = vec![0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|cause| CacheError::Io {
        step: "make a key for",
        path: path.to_path_buf(),
        cause: io::Error::other(cause.to_string()),
    })?;
    durable::write(path, 0o600, &key)?;
    Ok(key)
}

fn lock(directory: &Path, name: &str) -> io::Result<fs::File> {
    let path = directory.join(format!("{name}.lock"));
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    Ok(lock)
}
