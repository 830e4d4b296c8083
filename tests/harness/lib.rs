//! What the tests of the whole share.

pub mod fleet;
pub mod sealed;
