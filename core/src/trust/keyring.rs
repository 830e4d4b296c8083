//! The keys of people, and how many of them it takes.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::Digest as _;

use super::emergency::EmergencyRoute;
use crate::ids::{FleetId, Group, KeyId, Person};
use crate::time::Timestamp;

/// The public half of a person's Ed25519 key. Weak points are refused here,
/// so nothing later meets one.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    #[error("a public key is `ed25519:` and 64 hexadecimal digits")]
    KeyText,
    #[error("the bytes are not a point of the curve")]
    NotAKey,
    #[error("the key is weak: anybody could sign for it")]
    WeakKey,
    #[error("the same key stands twice, for {0} and {1}")]
    KeyTwice(Person, Person),
    #[error("a threshold of {threshold} cannot be met by {persons} person(s)")]
    Threshold { threshold: u8, persons: usize },
    #[error("[emergency] names no group: anybody's key would do")]
    EmergencyOfAnybody,
    #[error(
        "[emergency] wants {signatures} signature(s): not 0, not fewer than its groups, and not more than there are persons ({persons})"
    )]
    EmergencyThreshold { signatures: u8, persons: usize },
    #[error("[emergency] wants somebody of `{0}`, and nobody is")]
    EmergencyOfNobody(Group),
}

impl PublicKey {
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyringError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyringError::NotAKey)?;
        if key.is_weak() {
            return Err(KeyringError::WeakKey);
        }
        // A second encoding of the same point would be a second key id for one key.
        if key.to_edwards().compress().to_bytes() != *bytes {
            return Err(KeyringError::NotAKey);
        }
        Ok(Self(key))
    }

    /// SHA-256 over algorithm and key.
    pub fn id(&self) -> KeyId {
        let mut hash = sha2::Sha256::new();
        hash.update(b"keyid-v1\0ed25519\0");
        hash.update(self.0.as_bytes());
        KeyId(hash.finalize().into())
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ed25519:")?;
        self.0.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyringError;

    fn from_str(text: &str) -> Result<Self, KeyringError> {
        let hex = text.strip_prefix("ed25519:").ok_or(KeyringError::KeyText)?;
        let bytes: crate::ids::Digest = hex.parse().map_err(|_| KeyringError::KeyText)?;
        Self::from_bytes(&bytes.0)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The secret half; stays where its person is. Wiped when dropped.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// From 32 secret random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        use ed25519_dalek::Signer as _;
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().id().short())
    }
}

/// A keyring as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyringFile {
    pub fleet: FleetId,
    /// Distinct persons a plan needs at the least, whatever the plan says.
    pub signatures: u8,
    /// Set: in an emergency, this suffices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<EmergencyRoute>,
    #[serde(rename = "key")]
    pub keys: Vec<KeyringKey>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyringKey {
    pub person: Person,
    #[serde(default)]
    pub groups: Vec<Group>,
    pub public: PublicKey,
    /// Milliseconds since 1970; signatures count before this moment only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A checked keyring: no weak key, no key twice, a threshold that can be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring(KeyringFile);

impl Keyring {
    pub fn new(file: KeyringFile) -> Result<Self, KeyringError> {
        for (at, key) in file.keys.iter().enumerate() {
            if let Some(other) = file.keys[..at].iter().find(|other| other.public == key.public) {
                return Err(KeyringError::KeyTwice(other.person.clone(), key.person.clone()));
            }
        }
        let persons = file.keys.iter().map(|key| &key.person).collect::<BTreeSet<_>>().len();
        if file.signatures == 0 || usize::from(file.signatures) > persons {
            return Err(KeyringError::Threshold { threshold: file.signatures, persons });
        }
        if let Some(route) = &file.emergency {
            check_route(route, &file.keys, persons)?;
        }
        Ok(Self(file))
    }

    pub fn fleet(&self) -> FleetId {
        self.0.fleet
    }

    /// Distinct persons a plan needs at the least.
    pub fn signatures(&self) -> usize {
        usize::from(self.0.signatures)
    }

    pub fn emergency(&self) -> Option<&EmergencyRoute> {
        self.0.emergency.as_ref()
    }

    pub fn keys(&self) -> &[KeyringKey] {
        &self.0.keys
    }

    pub fn find(&self, id: KeyId) -> Option<&KeyringKey> {
        self.0.keys.iter().find(|key| key.public.id() == id)
    }
}

fn check_route(route: &EmergencyRoute, keys: &[KeyringKey], persons: usize) -> Result<(), KeyringError> {
    let signatures = usize::from(route.signatures);
    if route.from.is_empty() {
        return Err(KeyringError::EmergencyOfAnybody);
    }
    if signatures == 0 || signatures < route.from.len() || signatures > persons {
        return Err(KeyringError::EmergencyThreshold { signatures: route.signatures, persons });
    }
    match route.from.iter().find(|group| !keys.iter().any(|key| key.groups.contains(group))) {
        Some(group) => Err(KeyringError::EmergencyOfNobody(group.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(person: &str, seed: u8) -> KeyringKey {
        KeyringKey {
            person: person.parse().unwrap(),
            groups: vec![],
            public: SigningKey::from_seed(&[seed; 32]).public(),
            until: None,
        }
    }

    fn keyring(signatures: u8, keys: Vec<KeyringKey>) -> Result<Keyring, KeyringError> {
        Keyring::new(KeyringFile { fleet: FleetId([0; 16]), signatures, emergency: None, keys })
    }

    #[test]
    fn a_threshold_of_nobody_or_of_more_than_there_are_is_refused() {
        assert_eq!(
            keyring(0, vec![key("ada", 1)]),
            Err(KeyringError::Threshold { threshold: 0, persons: 1 })
        );
        let one_person_twice = vec![key("ada", 1), key("ada", 2)];
        assert_eq!(keyring(2, one_person_twice), Err(KeyringError::Threshold { threshold: 2, persons: 1 }));
        assert!(keyring(2, vec![key("ada", 1), key("grace", 2)]).is_ok());
    }

    #[test]
    fn one_key_for_two_persons_is_refused() {
        let twice = vec![key("ada", 1), key("grace", 1)];
        assert!(matches!(keyring(1, twice), Err(KeyringError::KeyTwice(..))));
    }

    #[test]
    fn weak_keys_never_enter() {
        // Points of small order, for which signatures can be made without a secret.
        let mut identity = [0; 32];
        identity[0] = 1;
        for weak in [[0; 32], identity] {
            assert_eq!(PublicKey::from_bytes(&weak), Err(KeyringError::WeakKey));
        }
        let text = key("ada", 1).public.to_string();
        assert_eq!(text.parse::<PublicKey>().unwrap(), key("ada", 1).public);
        assert_eq!("ed25519:00".parse::<PublicKey>(), Err(KeyringError::KeyText));
    }

    #[test]
    fn an_emergency_route_is_for_groups_that_have_somebody() {
        let group = |name: &str| name.parse::<Group>().unwrap();
        let with = |signatures: u8, from: &[&str]| {
            let mut grace = key("grace", 2);
            grace.groups = vec![group("on-call")];
            let from = from.iter().copied().map(group).collect();
            let emergency = Some(EmergencyRoute { signatures, from, plugins: Vec::new() });
            let keys = vec![key("ada", 1), grace];
            Keyring::new(KeyringFile { fleet: FleetId([0; 16]), signatures: 2, emergency, keys }).map(drop)
        };
        assert_eq!(with(1, &["on-call"]), Ok(()));
        assert_eq!(with(1, &[]), Err(KeyringError::EmergencyOfAnybody));
        assert_eq!(with(1, &["sre"]), Err(KeyringError::EmergencyOfNobody(group("sre"))));
        for signatures in [0, 3] {
            let refused = KeyringError::EmergencyThreshold { signatures, persons: 2 };
            assert_eq!(with(signatures, &["on-call"]), Err(refused));
        }
    }
}
