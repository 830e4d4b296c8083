//! Exit codes: one number per ending, the same for every verb.

/// As asked, everywhere.
pub const DONE: u8 = 0;
/// Unexpected: a bug, please report.
pub const BUG: u8 = 1;
/// Wrong use, or an answer is needed and there is nobody to ask.
pub const USAGE: u8 = 2;
/// Ended within the plan's tolerance, but some host was undone or left out late.
pub const DONE_WITH_EXCEPTIONS: u8 = 3;
/// Halted, by a gate or a person.
pub const HALTED: u8 = 10;
/// Held: waits for a person.
pub const HELD: u8 = 11;
/// Hands are needed on at least one host; outranks 3 and 10.
pub const STUCK: u8 = 12;
/// The plan, plugin or configuration has problems.
pub const INVALID: u8 = 64;
/// Signature, trust, expiry or digest refused.
pub const REFUSED: u8 = 65;
/// The coordinator cannot be reached.
pub const UNREACHABLE: u8 = 69;
/// Hosts belong to another rollout.
pub const BUSY: u8 = 75;
/// Not permitted for this person.
pub const NOT_PERMITTED: u8 = 77;
/// `--timeout` passed; it goes on without us.
pub const TIMED_OUT: u8 = 124;
/// Ctrl-C; it goes on without us.
pub const INTERRUPTED: u8 = 130;
