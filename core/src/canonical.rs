//! The one encoding of everything that is signed: a subset of CBOR's core
//! deterministic form (RFC 8949, 4.2.1), so that no two readers can see two
//! documents in the same bytes.
//!
//! Allowed: integers, definite byte and text strings, arrays, maps, true and
//! false. Heads are the shortest; map keys are texts, unique, sorted by their
//! encoded bytes; one document per buffer. No floats, tags, null or
//! indefinite lengths.

use ciborium::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Deepest nesting of arrays and maps.
pub const DEPTH_MAX: usize = 16;
/// Most items (values, keys included) in a document.
pub const ITEMS_MAX: usize = 131_072;
/// Longest text or byte string, in bytes.
pub const STRING_BYTES_MAX: usize = 1024 * 1024;

/// Why bytes are not canonical, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {at}")]
pub struct ScanError {
    pub at: usize,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("the document ends too early")]
    Eof,
    #[error("bytes follow the document")]
    Trailing,
    #[error("a length or number is not in its shortest form")]
    NonShortest,
    #[error("an indefinite length")]
    Indefinite,
    #[error("a tag")]
    Tag,
    #[error("a float or simple value")]
    Simple,
    #[error("nesting deeper than {DEPTH_MAX}")]
    Depth,
    #[error("more than {ITEMS_MAX} items")]
    Items,
    #[error("a string longer than {STRING_BYTES_MAX} bytes")]
    Length,
    #[error("a text that is not UTF-8")]
    Utf8,
    #[error("a map key that is not a text")]
    KeyType,
    #[error("map keys out of order or twice")]
    KeyOrder,
}

#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("the bytes are not canonical")]
    Scan(#[from] ScanError),
    #[error("the document has another shape: {0}")]
    Shape(String),
    #[error("the document means something else when written again")]
    NotSame,
}

#[derive(Debug, thiserror::Error)]
#[error("the value cannot be written canonically: {0}")]
pub struct EncodeError(String);

/// Encodes a value; what comes out passes [`scan`].
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut tree = Value::serialized(value).map_err(|cause| EncodeError(cause.to_string()))?;
    sort(&mut tree)?;
    let mut bytes = Vec::new();
    ciborium::into_writer(&tree, &mut bytes).map_err(|cause| EncodeError(cause.to_string()))?;
    scan(&bytes).map_err(|cause| EncodeError(cause.to_string()))?;
    Ok(bytes)
}

/// Decodes canonical bytes: scanned first, then read, then written again and compared.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    scan(bytes)?;
    let value: T = ciborium::from_reader(bytes).map_err(|cause| DecodeError::Shape(cause.to_string()))?;
    match encode(&value) {
        Ok(again) if again == bytes => Ok(value),
        _ => Err(DecodeError::NotSame),
    }
}

fn sort(value: &mut Value) -> Result<(), EncodeError> {
    match value {
        Value::Array(items) => items.iter_mut().try_for_each(sort),
        Value::Map(entries) => {
            for (key, item) in entries.iter_mut() {
                if !key.is_text() {
                    return Err(EncodeError("a map key is not a text".into()));
                }
                sort(item)?;
            }
            // For texts, order of encoded bytes is: shorter first, then bytewise.
            entries.sort_by(|(a, _), (b, _)| {
                let (a, b) = (a.as_text().unwrap_or_default(), b.as_text().unwrap_or_default());
                (a.len(), a).cmp(&(b.len(), b))
            });
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Checks the whole buffer without allocating.
pub fn scan(bytes: &[u8]) -> Result<(), ScanError> {
    let mut scanner = Scanner { bytes, at: 0, items: 0 };
    scanner.value(0)?;
    match scanner.at == bytes.len() {
        true => Ok(()),
        false => scanner.fail(Reason::Trailing),
    }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    items: usize,
}

impl<'a> Scanner<'a> {
    fn fail<T>(&self, reason: Reason) -> Result<T, ScanError> {
        Err(ScanError { at: self.at, reason })
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], ScanError> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else { return self.fail(Reason::Eof) };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// Major type and argument.
    fn head(&mut self) -> Result<(u8, u64), ScanError> {
        let start = self.at;
        let first = self.take(1)?[0];
        let (major, short) = (first >> 5, first & 0x1f);
        let (argument, least) = match short {
            0..=23 => (u64::from(short), 0),
            24 => (u64::from(self.take(1)?[0]), 24),
            25..=27 => {
                let width = 1 << (short - 24);
                let argument = self.take(width)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                (argument, 1u64 << (width * 4))
            }
            28..=30 => return Err(ScanError { at: start, reason: Reason::Simple }),
            _ => return Err(ScanError { at: start, reason: Reason::Indefinite }),
        };
        if major == 7 {
            return match short {
                20 | 21 => Ok((7, argument)),
                _ => Err(ScanError { at: start, reason: Reason::Simple }),
            };
        }
        match argument < least {
            true => Err(ScanError { at: start, reason: Reason::NonShortest }),
            false => Ok((major, argument)),
        }
    }

    fn string(&mut self, length: u64) -> Result<&'a [u8], ScanError> {
        match usize::try_from(length) {
            Ok(length) if length <= STRING_BYTES_MAX => self.take(length),
            _ => self.fail(Reason::Length),
        }
    }

    fn count(&mut self) -> Result<(), ScanError> {
        self.items += 1;
        if self.items > ITEMS_MAX {
            return self.fail(Reason::Items);
        }
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<(), ScanError> {
        self.count()?;
        let start = self.at;
        match self.head()? {
            (0 | 1 | 7, _) => Ok(()),
            (2, length) => self.string(length).map(drop),
            (3, length) => match std::str::from_utf8(self.string(length)?) {
                Ok(_) => Ok(()),
                Err(_) => Err(ScanError { at: start, reason: Reason::Utf8 }),
            },
            (4 | 5, _) if depth >= DEPTH_MAX => Err(ScanError { at: start, reason: Reason::Depth }),
            (4, length) => (0..length).try_for_each(|_| self.value(depth + 1)),
            (5, length) => self.entries(length, depth),
            _ => Err(ScanError { at: start, reason: Reason::Tag }),
        }
    }

    fn entries(&mut self, length: u64, depth: usize) -> Result<(), ScanError> {
        let mut last: Option<&[u8]> = None;
        for _ in 0..length {
            self.count()?;
            let start = self.at;
            let (3, key_length) = self.head()? else {
                return Err(ScanError { at: start, reason: Reason::KeyType });
            };
            let text = self.string(key_length)?;
            if std::str::from_utf8(text).is_err() {
                return Err(ScanError { at: start, reason: Reason::Utf8 });
            }
            let key = &self.bytes[start..self.at];
            if last.is_some_and(|last| last >= key) {
                return Err(ScanError { at: start, reason: Reason::KeyOrder });
            }
            last = Some(key);
            self.value(depth + 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        zeta: u64,
        a: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bee: Option<bool>,
    }

    fn reason(bytes: &[u8]) -> Reason {
        scan(bytes).unwrap_err().reason
    }

    #[test]
    fn hostile_bytes_are_refused_with_the_right_reason() {
        assert_eq!(reason(&[]), Reason::Eof);
        assert_eq!(reason(&[0x01, 0x01]), Reason::Trailing);
        assert_eq!(reason(&[0x18, 0x01]), Reason::NonShortest);
        assert_eq!(reason(&[0x1b, 0, 0, 0, 0, 0, 0, 0, 1]), Reason::NonShortest);
        assert_eq!(reason(&[0x9f, 0xff]), Reason::Indefinite);
        assert_eq!(reason(&[0xc1, 0x01]), Reason::Tag);
        assert_eq!(reason(&[0xf6]), Reason::Simple);
        assert_eq!(reason(&[0xfb, 0, 0, 0, 0, 0, 0, 0, 0]), Reason::Simple);
        assert_eq!(reason(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Reason::Eof);
        assert_eq!(reason(&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Reason::Length);
        assert_eq!(reason(&[0x62, 0xff, 0xfe]), Reason::Utf8);
        assert_eq!(reason(&[0xa1, 0x01, 0x01]), Reason::KeyType);
        assert_eq!(reason(&[0xa2, 0x61, b'a', 1, 0x61, b'a', 2]), Reason::KeyOrder);
        assert_eq!(reason(&[0xa2, 0x62, b'a', b'a', 1, 0x61, b'b', 2]), Reason::KeyOrder);
        assert_eq!(reason(&[0x81; 20]), Reason::Depth);
    }

    #[test]
    fn a_document_with_an_unknown_or_missing_field_is_refused() {
        let good = encode(&Sample { zeta: 1, a: vec![], bee: None }).unwrap();
        assert!(decode::<Sample>(&good).is_ok());
        let more = encode(&serde_json::json!({ "a": [], "zeta": 1, "odd": 1 })).unwrap();
        assert!(matches!(decode::<Sample>(&more), Err(DecodeError::Shape(_))));
        let less = encode(&serde_json::json!({ "a": [] })).unwrap();
        assert!(matches!(decode::<Sample>(&less), Err(DecodeError::Shape(_))));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(zeta: u64, a in prop::collection::vec(".{0,8}", 0..5), bee: Option<bool>) {
            let sample = Sample { zeta, a, bee };
            let bytes = encode(&sample).unwrap();
            prop_assert_eq!(decode::<Sample>(&bytes).unwrap(), sample);
        }

        #[test]
        fn any_bytes_that_pass_the_scan_are_written_again_the_same(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if scan(&bytes).is_ok() {
                let value: Value = ciborium::from_reader(&bytes[..]).unwrap();
                let mut again = Vec::new();
                ciborium::into_writer(&value, &mut again).unwrap();
                prop_assert_eq!(again, bytes);
            }
        }

        #[test]
        fn one_changed_bit_never_reads_as_the_same_value(at in 0usize..1000, bit in 0u8..8) {
            let sample = Sample { zeta: 77, a: vec!["one".into(), "two".into()], bee: Some(true) };
            let mut bytes = encode(&sample).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert_ne!(decode::<Sample>(&bytes).ok(), Some(sample));
        }
    }
}
