//! What a plugin author writes against: the step contract with typed settings
//! and state, so that a plugin is a settings struct, a pure `decide` module and
//! five short phases.
//!
//! ```text
//! struct Flush;
//!
//! impl Plugin for Flush {
//!     type Settings = Settings;
//!     type State = State;
//!     fn manifest() -> Manifest { /* name, schema, modes, powers */ }
//!     fn look(on: &Step<Settings>) -> Result<Looked<State>, Error> { /* read only */ }
//!     fn prepare(on: &Step<Settings>, seen: State) -> Result<Prepared<State>, Error> { /* stage */ }
//!     fn apply(on: &Step<Settings>, kept: State) -> Result<Outcome<State>, Failure> { /* switch */ }
//!     fn verify(on: &Step<Settings>, done: State) -> Result<Vec<Verification>, Error> { /* read only */ }
//!     fn undo(on: &Step<Settings>, kept: State) -> Result<Outcome<State>, Failure> { /* put back */ }
//! }
//!
//! sternway_plugin::export_plugin!(Flush);
//! ```

pub mod bindings;
pub mod checks;
mod clock;
pub mod deeds;
mod duration;
mod error;
pub mod exchange;
mod guest;
pub mod json;
pub mod memory;
pub mod owned;
pub mod paths;
pub mod recopy;
#[cfg(feature = "rehearsal")]
pub mod rehearsal;
#[cfg(feature = "schema")]
pub mod schema;
mod texts;

#[cfg(not(feature = "rehearsal"))]
pub use bindings::sternway::host;
pub use bindings::sternway::host::errors::{Error, Kind};
pub use bindings::sternway::step::types::{
    Action, Class, Failure, Finding, Invocation, Manifest, Mode, Power, Reversibility, Risk, Verdict,
    Verification,
};
pub use clock::utc;
pub use duration::{DurationError, duration_ms};
pub use error::IntoFailure;
pub use guest::{Looked, Outcome, Plugin, Prepared, Step};
#[cfg(feature = "rehearsal")]
pub use rehearsal::host;
pub use texts::Texts;

/// Makes a type that implements [`Plugin`] the component's one plugin.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ident) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "the component model's calling convention")]
        mod exported {
            use super::$plugin;
            $crate::bindings::export!($plugin with_types_in $crate::bindings);
        }
    };
}
