//! How much of the traffic a server gets, and how a share of it all is divided. Pure.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use sternway_plugin::Error;

/// What one server gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Share {
    /// In proportion to the others; 0 is nothing new.
    Weight(u32),
    /// Only what has begun there goes on (HAProxy).
    Drain,
    /// Nothing at all.
    Down,
    /// Only when all others fail (nginx).
    Backup,
}

impl Share {
    /// Whether new requests go there.
    pub(crate) fn receives(self) -> bool {
        !matches!(self, Self::Weight(0) | Self::Drain | Self::Down | Self::Backup)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weight(weight) => write!(f, "weight {weight}"),
            Self::Drain => f.write_str("drain"),
            Self::Down => f.write_str("down"),
            Self::Backup => f.write_str("backup"),
        }
    }
}

/// Those of `names` that are `stable` get `percent` of everything together, the
/// others the rest, each of them as much as its neighbour.
pub(crate) fn divided(
    names: &[String],
    stable: &[String],
    percent: u32,
    weight_max: u32,
) -> Result<Vec<(String, Share)>, Error> {
    let count = |of: usize| u32::try_from(of).unwrap_or(u32::MAX);
    let (some, rest) = (count(stable.len()), count(names.len().saturating_sub(stable.len())));
    if percent < 100 && rest == 0 {
        return Err(Error::invalid(
            "traffic/no-others",
            "no other server gets any traffic, and somebody has to take the rest",
        ));
    }
    let (mut one, mut other) = match percent {
        100 => (1, 0),
        0 => (0, 1),
        _ => (percent.saturating_mul(rest), (100 - percent).saturating_mul(some)),
    };
    let common = gcd(one, other).max(1);
    (one, other) = (one / common, other / common);
    let most = one.max(other);
    if most > weight_max {
        // A server that is to get something gets at least the smallest share.
        let scaled = |weight: u32| {
            let scaled = u64::from(weight) * u64::from(weight_max) / u64::from(most);
            u32::try_from(scaled).unwrap_or(weight_max).max(weight.min(1))
        };
        (one, other) = (scaled(one), scaled(other));
    }
    let share = |name: &String| Share::Weight(if stable.contains(name) { one } else { other });
    Ok(names.iter().map(|name| (name.clone(), share(name))).collect())
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// `100%`, `25%`.
pub(crate) fn percent(text: &str) -> Result<u32, Error> {
    let number = text.strip_suffix('%').and_then(|text| text.parse::<u32>().ok());
    number.filter(|percent| *percent <= 100).ok_or_else(|| {
        Error::invalid("traffic/percent", format!("`{text}` is not a share such as 5%, 50% or 100%"))
    })
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Share;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a weight from 0 to 65535, \"down\", \"drain\" or \"backup\"")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Share, E> {
                let weight = u16::try_from(number).map_err(|_| E::custom("a weight is at most 65535"))?;
                Ok(Share::Weight(u32::from(weight)))
            }

            fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Share, E> {
                Err(E::custom("a weight is not negative"))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Share, E> {
                match text {
                    "down" | "maint" => Ok(Share::Down),
                    "drain" => Ok(Share::Drain),
                    "backup" => Ok(Share::Backup),
                    _ => Err(E::custom(format!("`{text}` is no share"))),
                }
            }
        }

        deserializer.deserialize_any(Either).map_err(D::Error::custom)
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Share {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Share".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["integer", "string"],
            "minimum": 0,
            "maximum": 65_535,
            "pattern": "^(down|maint|drain|backup)$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(names: &[&str], stable: &[&str], percent: u32, weight_max: u32) -> Vec<u32> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let shares = divided(&owned(names), &owned(stable), percent, weight_max).unwrap();
        let weight =
            |share: Share| if let Share::Weight(weight) = share { weight } else { panic!("{share}") };
        shares.into_iter().map(|(_, share)| weight(share)).collect()
    }

    #[test]
    fn the_stable_ones_get_their_share_together_however_many_there_are() {
        assert_eq!(weights(&["a", "b"], &["a"], 100, 256), [1, 0]);
        assert_eq!(weights(&["a", "b"], &["a"], 0, 256), [0, 1]);
        assert_eq!(weights(&["a", "b"], &["a"], 5, 256), [1, 19]);
        assert_eq!(weights(&["a", "b"], &["a"], 50, 256), [1, 1]);
        // One of three gets half: as much as the two others together.
        assert_eq!(weights(&["a", "b", "c"], &["a"], 50, 256), [2, 1, 1]);
        assert_eq!(weights(&["a", "b", "c"], &["a", "b"], 25, 256), [1, 1, 6]);
        assert_eq!(weights(&["a", "b"], &["a", "b"], 100, 256), [1, 1]);
    }

    #[test]
    fn weights_stay_within_what_the_balancer_takes() {
        let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let shares = divided(&names, &names[..1], 99, 256).unwrap();
        assert_eq!(shares[0].1, Share::Weight(256));
        assert!(shares[1..].iter().all(|(_, share)| *share == Share::Weight(1)));
    }

    #[test]
    fn what_nobody_could_take_is_refused() {
        let names = ["a".to_owned()];
        assert_eq!(divided(&names, &names, 50, 256).unwrap_err().code, "traffic/no-others");
        for bad in ["100", "101%", "-5%", "5.5%", "all", "%"] {
            assert_eq!(percent(bad).unwrap_err().code, "traffic/percent", "{bad}");
        }
        for bad in ["-1", "65536", "\"up\"", "1.5", "true"] {
            assert!(serde_json::from_str::<Share>(bad).is_err(), "{bad}");
        }
    }
}
