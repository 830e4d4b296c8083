//! One type per kind of name, parsed once at the border; after that no
//! function asks again whether a name is well formed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name cannot be empty")]
    Empty,
    #[error("a name has at most {NAME_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    #[error("a name is made of a-z, 0-9, `.`, `_` and `-`, not `{}`", .0.escape_default())]
    Character(char),
    #[error("a text has no control or direction characters, this one has U+{:04X}", u32::from(*.0))]
    Control(char),
    #[error("expected {expected} hexadecimal digits")]
    Hex { expected: usize },
}

fn check_name(text: &str) -> Result<(), NameError> {
    match text {
        "" => return Err(NameError::Empty),
        text if text.len() > NAME_BYTES_MAX => return Err(NameError::TooLong(text.len())),
        _ => {}
    }
    match text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-')) {
        Some(odd) => Err(NameError::Character(odd)),
        None => Ok(()),
    }
}

/// Whether a character can change what a reader sees around it: C0, C1 and the
/// bidirectional controls of Unicode (what one reads must be what one signs).
pub fn is_disguise(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn check_line(text: &str) -> Result<(), NameError> {
    match text {
        "" => return Err(NameError::Empty),
        text if text.len() > NAME_BYTES_MAX => return Err(NameError::TooLong(text.len())),
        _ => {}
    }
    match text.chars().find(|c| is_disguise(*c)) {
        Some(odd) => Err(NameError::Control(odd)),
        None => Ok(()),
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                $check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

text_id!(/// A machine of the fleet, exactly as its certificate names it.
    HostName, check_name);
text_id!(/// A plan's name.
    PlanName, check_name);
text_id!(/// What a plan calls one of its steps: a short line for people.
    StepName, check_line);
text_id!(/// A plugin's name, without its version.
    PluginName, check_name);
text_id!(/// A person who holds keys.
    Person, check_name);
text_id!(/// A group of persons, as approvals name it.
    Group, check_name);
text_id!(/// One rollout on one coordinator, such as `r-17`.
    RolloutId, check_name);

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// The first eight hexadecimal digits, for people.
            pub fn short(&self) -> String {
                self.to_string()[..8].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let wrong = NameError::Hex { expected: $bytes * 2 };
                if text.len() != $bytes * 2 || !text.is_ascii() {
                    return Err(wrong);
                }
                let mut bytes = [0; $bytes];
                for (at, byte) in bytes.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).map_err(|_| wrong.clone())?;
                }
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    return String::deserialize(deserializer)?.parse().map_err(de::Error::custom);
                }
                let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
                <[u8; $bytes]>::try_from(bytes.as_slice())
                    .map(Self)
                    .map_err(|_| de::Error::invalid_length(bytes.len(), &concat!($bytes, " bytes")))
            }
        }
    };
}

bytes_id!(/// Random, made once per fleet, inside everything signed: nothing signed for one fleet counts in another.
    FleetId, 16);
bytes_id!(/// SHA-256 over the bytes that were signed (type and body); the plan's identity for ever.
    PlanId, 32);
bytes_id!(/// A SHA-256.
    Digest, 32);
bytes_id!(/// The first id of a rollback point, kept whatever is tagged afterwards.
    PointId, 32);
bytes_id!(/// SHA-256 of a public signing key with its algorithm.
    KeyId, 32);
bytes_id!(/// Random; makes two sealings of one text two plans.
    Nonce, 16);
bytes_id!(/// Random, one per journal file: a host whose disk was set back or copied shows another or an older one.
    JournalId, 16);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_refuse_what_could_be_read_as_something_else() {
        assert_eq!("".parse::<HostName>(), Err(NameError::Empty));
        assert_eq!("Web-1".parse::<HostName>(), Err(NameError::Character('W')));
        assert_eq!("../x".parse::<HostName>(), Err(NameError::Character('/')));
        assert_eq!("a".repeat(65).parse::<HostName>(), Err(NameError::TooLong(65)));
        assert_eq!("stop \u{202e}it".parse::<StepName>(), Err(NameError::Control('\u{202e}')));
        assert!("stop the services".parse::<StepName>().is_ok());
    }

    #[test]
    fn digests_are_hex_for_people_and_bytes_on_the_wire() {
        let digest = Digest::of(b"sternway");
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"{digest}\""));
        let mut wire = Vec::new();
        ciborium::into_writer(&digest, &mut wire).unwrap();
        assert_eq!(wire.len(), 34);
        assert_eq!(ciborium::from_reader::<Digest, _>(&wire[..]).unwrap(), digest);
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!("zz".parse::<Digest>().is_err());
    }
}
