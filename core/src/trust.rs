//! Who may say so: from bytes that anybody carried to a plan that may run here.
//!
//! [`Sealed`] is bytes with signatures. [`Sealed::open`] is the only way to a
//! [`Verified`] value, and [`Verified::admit`] the only way to an [`Admitted`]
//! plan; a run can be made of nothing else. The types have no public fields
//! and no other constructor, so no code path can skip a check.

mod admission;
mod emergency;
mod keyring;
mod order;
mod seal;

pub use admission::{Admitted, HostFacts, Refusal};
pub use emergency::{Closed, EmergencyRoute};
pub use keyring::{Keyring, KeyringError, KeyringFile, KeyringKey, PublicKey, SigningKey};
pub use order::{ORDER_VALID_MAX, Order, Verb};
pub use seal::{
    ENVELOPE_BYTES_MAX, OpenError, ParseError, Payload, SIGNATURES_MAX, Sealed, SignError, Signature, Signer,
    Verified,
};
