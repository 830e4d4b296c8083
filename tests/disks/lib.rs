//! Power cuts, full disks and failing syncs under the real programs.
