//! Every pack that the index knows, with the length its file should have.

use std::collections::BTreeMap;

use rustic_core::repofile::{IndexFile, PackId};
use rustic_core::{FileType, Id, ReadBackend};

use super::repository::Session;
use super::{PointsError, guarded};

#[derive(Debug, Clone, Copy)]
pub(super) struct Pack {
    pub(super) size: u32,
    /// Given up by a prune; it goes when nobody can need it any more.
    pub(super) is_marked: bool,
}

#[derive(Debug, Default)]
pub(super) struct Register {
    pub(super) packs: BTreeMap<PackId, Pack>,
    /// Packs that are there, with their true lengths.
    pub(super) there: BTreeMap<PackId, u32>,
}

impl Register {
    pub(super) fn read(session: &Session) -> Result<Self, PointsError> {
        let mut packs: BTreeMap<PackId, Pack> = BTreeMap::new();
        let files = guarded("read the index of", || {
            session.repository.stream_files::<IndexFile>()?.collect::<Result<Vec<_>, _>>()
        })?;
        for (_, file) in files {
            let kept = file.packs.into_iter().map(|pack| (pack, false));
            for (pack, is_marked) in kept.chain(file.packs_to_delete.into_iter().map(|pack| (pack, true))) {
                let size = pack.pack_size();
                let known = packs.entry(pack.id).or_insert(Pack { size, is_marked });
                known.is_marked &= is_marked;
            }
        }
        let there = guarded("list the packs of", || session.shelf.list_with_size(FileType::Pack))?;
        Ok(Self { packs, there: there.into_iter().map(|(id, size)| (PackId::from(id), size)).collect() })
    }

    /// What is wrong with a pack as far as its name and length tell.
    pub(super) fn finding(&self, id: &PackId) -> Option<String> {
        let name = name(id);
        let Some(pack) = self.packs.get(id) else {
            return Some(format!("pack `{name}` is not in the index"));
        };
        match self.there.get(id) {
            None => Some(format!("pack `{name}` is missing")),
            Some(size) if *size != pack.size => {
                Some(format!("pack `{name}` has {size} bytes instead of {}", pack.size))
            }
            Some(_) => None,
        }
    }
}

pub(super) fn name(id: &Id) -> String {
    id.to_hex().as_str().to_owned()
}
