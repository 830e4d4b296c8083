//! One file per verb.

pub(crate) mod plugin;
pub(crate) mod points;
pub(crate) mod serve;
pub(crate) mod service;
