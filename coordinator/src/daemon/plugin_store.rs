//! Plugin components by digest: those built into this program, and those an
//! operator laid under the data folder. Hosts check the digest again.

use std::collections::HashMap;
use std::path::PathBuf;

use sternway_core::ids::Digest;
use sternway_core::wire::PLUGIN_BYTES_MAX;

const EMBEDDED: &[&[u8]] = include!(concat!(env!("OUT_DIR"), "/plugins.rs"));

#[derive(Debug)]
pub struct PluginStore {
    embedded: HashMap<Digest, &'static [u8]>,
    /// Holds `<sha256>.wasm`.
    folder: PathBuf,
}

impl PluginStore {
    pub fn new(folder: PathBuf) -> Self {
        Self { embedded: EMBEDDED.iter().map(|bytes| (Digest::of(bytes), *bytes)).collect(), folder }
    }

    /// Digests of the components built into this program.
    pub fn embedded(&self) -> impl Iterator<Item = Digest> {
        self.embedded.keys().copied()
    }

    /// The component with this digest. A file that is too large or whose bytes
    /// are not what its name says counts as unknown.
    pub async fn find(&self, digest: Digest) -> Option<Vec<u8>> {
        if let Some(bytes) = self.embedded.get(&digest) {
            return Some(bytes.to_vec());
        }
        let path = self.folder.join(format!("{digest}.wasm"));
        let size = tokio::fs::metadata(&path).await.ok()?.len();
        if size > PLUGIN_BYTES_MAX as u64 {
            tracing::warn!(plugin = %digest.short(), bytes = size, "a plugin is too large to be relayed");
            return None;
        }
        let bytes = tokio::fs::read(&path).await.ok()?;
        if Digest::of(&bytes) != digest {
            tracing::warn!(plugin = %digest.short(), "a plugin's bytes are not what its name says");
            return None;
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_plugin_is_found_by_what_it_is_not_by_what_it_is_called() {
        let dir = tempfile::tempdir().unwrap();
        let store = PluginStore::new(dir.path().into());
        let digest = Digest::of(b"component");
        let path = dir.path().join(format!("{digest}.wasm"));
        assert_eq!(store.find(digest).await, None);
        std::fs::write(&path, b"other").unwrap();
        assert_eq!(store.find(digest).await, None);
        std::fs::write(&path, b"component").unwrap();
        assert_eq!(store.find(digest).await.unwrap(), b"component");
        std::fs::write(&path, vec![0; PLUGIN_BYTES_MAX + 1]).unwrap();
        assert_eq!(store.find(Digest::of(&vec![0; PLUGIN_BYTES_MAX + 1])).await, None);
    }

    #[tokio::test]
    async fn the_built_plugins_are_here() {
        let store = PluginStore::new(PathBuf::from("nowhere"));
        for digest in store.embedded().collect::<Vec<_>>() {
            assert_eq!(Digest::of(&store.find(digest).await.unwrap()), digest);
        }
    }
}
