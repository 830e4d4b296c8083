//! Signatures over exact bytes, with the pre-authentication encoding of DSSE
//! 1.0.2 in a CBOR envelope. What is verified is the very buffer that is read
//! afterwards; nothing is encoded again and then believed.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::emergency::{self, Closed};
use super::keyring::{Keyring, SigningKey};
use crate::canonical::{self, DecodeError};
use crate::ids::{Digest, Group, KeyId, Person, PlanId};
use crate::time::Timestamp;

/// Largest envelope that is looked at, in bytes.
pub const ENVELOPE_BYTES_MAX: usize = 1024 * 1024 + 64 * 1024;
/// Most signatures in one envelope.
pub const SIGNATURES_MAX: usize = 16;

/// Something that is signed. Its type is inside what is signed, so bytes
/// signed as one thing never count as another.
pub trait Payload: Serialize + DeserializeOwned {
    const TYPE: &'static str;
}

impl Payload for crate::plan::Plan {
    const TYPE: &'static str = "application/vnd.sternway.plan.v1+cbor";
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    sig: Vec<Signature>,
    #[serde(with = "serde_bytes")]
    body: Vec<u8>,
    r#type: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    pub kid: KeyId,
    #[serde(with = "serde_bytes")]
    sig: [u8; 64],
}

/// Bytes with signatures, of which nothing is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed<T> {
    envelope: Envelope,
    payload: PhantomData<fn() -> T>,
}

#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    #[error("the envelope has {bytes} bytes, at most {ENVELOPE_BYTES_MAX} are read")]
    Size { bytes: usize },
    #[error("the envelope cannot be read")]
    Envelope(#[source] DecodeError),
    #[error("the envelope holds `{found}`, wanted is `{wanted}`")]
    Type { found: String, wanted: &'static str },
    #[error("the envelope has {0} signatures, at most {SIGNATURES_MAX} are read")]
    Signatures(usize),
    #[error("key {} signed twice", .0.short())]
    SignerTwice(KeyId),
}

#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("the payload cannot be encoded")]
    Encode(#[from] canonical::EncodeError),
    #[error("key {} has signed already", .0.short())]
    AlreadySigned(KeyId),
    #[error("the envelope has {SIGNATURES_MAX} signatures already")]
    Full,
    #[error("the payload has {bytes} bytes, at most {} are allowed", ENVELOPE_BYTES_MAX - 64 * 1024)]
    Size { bytes: usize },
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the signature of key {} ({person}) does not fit the bytes", .key.short())]
    BadSignature { key: KeyId, person: Person },
    #[error("no known key has signed")]
    NobodyKnown,
    #[error("the order is {named}'s, and {named} has not signed it")]
    OtherPerson { named: Person },
    #[error("signed for fleet {found}, this is fleet {here}", found = .found.short(), here = .here.short())]
    OtherFleet { found: crate::ids::FleetId, here: crate::ids::FleetId },
    #[error("{valid} person(s) signed, {need} are needed")]
    TooFewSigners { valid: usize, need: usize },
    #[error(
        "{valid} person(s) signed, {need} are needed, since this is no plan for the emergency route: {why}"
    )]
    EmergencyClosed { valid: usize, need: usize, why: Closed },
    #[error("nobody of group `{0}` signed, or nobody who does not count for another group already")]
    GroupMissing(Group),
    #[error("the signed bytes cannot be read")]
    Undecodable(#[from] DecodeError),
}

/// A person whose signature fits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Signer {
    pub person: Person,
    pub groups: Vec<Group>,
    pub key: KeyId,
}

/// A value whose signatures fit and suffice. [`Sealed::open`],
/// [`Sealed::open_order`] and [`Sealed::open_point_order`] are the only ways to get one.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified<T> {
    value: T,
    id: PlanId,
    signers: Vec<Signer>,
}

impl<T> Verified<T> {
    pub fn value(&self) -> &T {
        &self.value
    }

    /// SHA-256 of what was signed.
    pub fn id(&self) -> PlanId {
        self.id
    }

    pub fn signers(&self) -> &[Signer] {
        &self.signers
    }

    pub(super) fn into_parts(self) -> (T, PlanId, Vec<Signer>) {
        (self.value, self.id, self.signers)
    }
}

/// `"DSSEv1" SP len(type) SP type SP len(body) SP body`, lengths in ASCII decimal.
fn pre_authentication_encoding(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

impl<T: Payload> Sealed<T> {
    /// A first envelope without signatures.
    pub fn new(payload: &T) -> Result<Self, SignError> {
        let body = canonical::encode(payload)?;
        if body.len() > ENVELOPE_BYTES_MAX - 64 * 1024 {
            return Err(SignError::Size { bytes: body.len() });
        }
        Ok(Self {
            envelope: Envelope { sig: Vec::new(), body, r#type: T::TYPE.into() },
            payload: PhantomData,
        })
    }

    /// Reads an envelope. Nothing in its body is looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(ParseError::Size { bytes: bytes.len() });
        }
        let envelope: Envelope = canonical::decode(bytes).map_err(ParseError::Envelope)?;
        if envelope.r#type != T::TYPE {
            return Err(ParseError::Type { found: envelope.r#type, wanted: T::TYPE });
        }
        if envelope.sig.len() > SIGNATURES_MAX {
            return Err(ParseError::Signatures(envelope.sig.len()));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = envelope.sig.iter().find(|signature| !seen.insert(signature.kid)) {
            return Err(ParseError::SignerTwice(twice.kid));
        }
        Ok(Self { envelope, payload: PhantomData })
    }

    /// The bytes to store and relay; [`Sealed::parse`] reads exactly these.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(&self.envelope).expect("an envelope is made of bytes and texts within the limits")
    }

    /// Adds a person's signature.
    pub fn sign(&mut self, key: &SigningKey) -> Result<(), SignError> {
        let kid = key.public().id();
        if self.envelope.sig.iter().any(|signature| signature.kid == kid) {
            return Err(SignError::AlreadySigned(kid));
        }
        if self.envelope.sig.len() == SIGNATURES_MAX {
            return Err(SignError::Full);
        }
        let sig = key.sign(&self.signed_bytes());
        self.envelope.sig.push(Signature { kid, sig });
        Ok(())
    }

    pub fn id(&self) -> PlanId {
        PlanId(Digest::of(&self.signed_bytes()).0)
    }

    pub fn signatures(&self) -> &[Signature] {
        &self.envelope.sig
    }

    /// What the bytes claim, believed by nobody: to show to a person who is
    /// about to sign, never to act upon.
    pub fn claim(&self) -> Result<T, DecodeError> {
        canonical::decode(&self.envelope.body)
    }

    fn signed_bytes(&self) -> Vec<u8> {
        pre_authentication_encoding(&self.envelope.r#type, &self.envelope.body)
    }

    /// The persons whose signatures fit. A known key with a signature that
    /// does not fit refuses the whole: nobody honest makes one.
    pub fn signers(&self, keyring: &Keyring, now: Timestamp) -> Result<Vec<Signer>, OpenError> {
        let message = self.signed_bytes();
        let mut signers: Vec<Signer> = Vec::new();
        for signature in &self.envelope.sig {
            let Some(known) = keyring.find(signature.kid) else { continue };
            if !known.public.verifies(&message, &signature.sig) {
                return Err(OpenError::BadSignature { key: signature.kid, person: known.person.clone() });
            }
            let in_time = known.until.is_none_or(|until| now < until);
            let counted = signers.iter().any(|signer| signer.person == known.person);
            if in_time && !counted {
                signers.push(Signer {
                    person: known.person.clone(),
                    groups: known.groups.clone(),
                    key: signature.kid,
                });
            }
        }
        match signers.is_empty() {
            true => Err(OpenError::NobodyKnown),
            false => Ok(signers),
        }
    }

    fn opened(&self, signers: Vec<Signer>) -> Result<Verified<T>, OpenError> {
        let value = canonical::decode(&self.envelope.body)?;
        Ok(Verified { value, id: self.id(), signers })
    }
}

impl Sealed<crate::plan::Plan> {
    /// Signatures first, then the same bytes are read, then the fleet and the
    /// number and groups of signers are judged: the keyring's threshold and
    /// the plan's own wish, whichever is more. In an emergency the keyring may
    /// ask for less than its threshold; the plan's own wish stays.
    pub fn open(&self, keyring: &Keyring, now: Timestamp) -> Result<Verified<crate::plan::Plan>, OpenError> {
        let opened = self.opened(self.signers(keyring, now)?)?;
        let plan = opened.value();
        if plan.fleet != keyring.fleet() {
            return Err(OpenError::OtherFleet { found: plan.fleet, here: keyring.fleet() });
        }
        let counted: Vec<&Signer> = opened
            .signers()
            .iter()
            .filter(|signer| plan.approval.author || signer.person != plan.author)
            .collect();
        let (valid, wished) = (counted.len(), usize::from(plan.approval.signatures));
        let usual = keyring.signatures().max(wished);
        let wanted_here = match emergency::route(plan, keyring) {
            _ if valid >= usual => &[][..],
            None => return Err(OpenError::TooFewSigners { valid, need: usual }),
            Some(Err(why)) => return Err(OpenError::EmergencyClosed { valid, need: usual, why }),
            Some(Ok(route)) => {
                let need = wished.max(usize::from(route.signatures));
                if valid < need {
                    return Err(OpenError::TooFewSigners { valid, need });
                }
                &route.from[..]
            }
        };
        for groups in [wanted_here, &plan.approval.from] {
            if let Some(group) = group_without_signer(groups, &counted) {
                return Err(OpenError::GroupMissing(group.clone()));
            }
        }
        Ok(opened)
    }
}

impl Sealed<super::Order> {
    /// One known person suffices: an order only starts what a plan already
    /// holds, and it is bound to that plan, its time and its fleet.
    pub fn open_order(&self, keyring: &Keyring, now: Timestamp) -> Result<Verified<super::Order>, OpenError> {
        let opened = self.opened(self.signers(keyring, now)?)?;
        match opened.value().fleet == keyring.fleet() {
            true => Ok(opened),
            false => Err(OpenError::OtherFleet { found: opened.value().fleet, here: keyring.fleet() }),
        }
    }
}

impl Sealed<crate::point::Order> {
    /// One known person suffices, who must be the one the order names: it is
    /// bound to one host, its time and its fleet.
    pub fn open_point_order(
        &self,
        keyring: &Keyring,
        now: Timestamp,
    ) -> Result<Verified<crate::point::Order>, OpenError> {
        let opened = self.opened(self.signers(keyring, now)?)?;
        let order = opened.value();
        if order.fleet != keyring.fleet() {
            return Err(OpenError::OtherFleet { found: order.fleet, here: keyring.fleet() });
        }
        match opened.signers().iter().any(|signer| signer.person == order.person) {
            true => Ok(opened),
            false => Err(OpenError::OtherPerson { named: order.person.clone() }),
        }
    }
}

/// Gives each group a signer of its own (augmenting paths over at most 16
/// signers); names the first group for which there is none.
fn group_without_signer<'a>(groups: &'a [Group], signers: &[&Signer]) -> Option<&'a Group> {
    fn place(
        group: usize,
        groups: &[Group],
        signers: &[&Signer],
        taken: &mut [Option<usize>],
        tried: &mut [bool],
    ) -> bool {
        for (at, signer) in signers.iter().enumerate() {
            if tried[at] || !signer.groups.contains(&groups[group]) {
                continue;
            }
            tried[at] = true;
            let free = match taken[at] {
                None => true,
                Some(other) => place(other, groups, signers, taken, tried),
            };
            if free {
                taken[at] = Some(group);
                return true;
            }
        }
        false
    }
    let mut taken = vec![None; signers.len()];
    (0..groups.len())
        .find(|group| !place(*group, groups, signers, &mut taken, &mut vec![false; signers.len()]))
        .map(|group| &groups[group])
}
