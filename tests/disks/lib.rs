//! Power cuts, full disks and failing syncs under the real programs: what the
//! tests share. A test that lacks root, loop devices or a tool says so and ends.

pub mod acked;
mod cut;
pub mod disk;
pub mod draw;
pub mod fuse;
pub mod ground;
pub mod host;
pub mod ledger;
pub mod plans;
pub mod tree;

/// Says why a test did not run, in the form that `cargo xtask test` looks for.
#[macro_export]
macro_rules! skip {
    ($($why:tt)*) => {{
        println!("skipped: {}", format!($($why)*));
        return;
    }};
}

/// Whether the long form of the tests was asked for: `STERNWAY_LONG=1`.
pub fn is_long() -> bool {
    std::env::var_os("STERNWAY_LONG").is_some_and(|value| value != "0")
}
