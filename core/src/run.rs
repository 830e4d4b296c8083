//! The agent's machine: one plan being carried out on one host.
//!
//! ```text
//!            Entry (journalled first)                 Effect (performed after)
//!   driver ─────────────────────────▶  Run::handle  ─────────────────────────▶ driver
//!
//!   staging ─▶ asking ─▶ running: look ▶ prepare ▶ apply ▶ verify, step by step ─▶ finished
//!                           │ a phase fails                                          │ ordered
//!                           ▼                                                        ▼
//!                        undoing, newest step first ─▶ undone          (or) ─▶ needs a person
//! ```
//!
//! A `Began` without its `Ended` is a phase in doubt: that is not a state that
//! is stored but what the journal means when an agent starts, so no restart can
//! forget to deal with it.

mod answer;
mod decision;
mod machine;
mod record;

pub use answer::{
    Action, Answer, Finding, Looked, Outcome, Prepared, Risk, StepError, Verdict, Verification,
};
pub use decision::{Choice, NotToDecide, Question, names as choice_names};
pub use machine::{Effect, Run, Stage};
pub use record::{Because, Ending, Entry, Input, Need, Phase, Record, Remark, Told};
