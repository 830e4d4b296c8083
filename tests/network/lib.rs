//! Nothing: the package is its tests, and those begin in `nights.rs`.
