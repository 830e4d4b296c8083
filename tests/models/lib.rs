//! Two small protocols, every interleaving, and the shortcuts that break them.
