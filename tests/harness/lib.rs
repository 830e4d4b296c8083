//! What the tests of the whole share.

pub mod emergency;
pub mod fleet;
pub mod sealed;
