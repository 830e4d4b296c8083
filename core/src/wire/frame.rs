//! Length-prefixed CBOR over byte slices; no sockets.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest frame on an agent's control stream, in bytes.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Largest frame between an operator and the coordinator, in bytes: a sealed plan fits.
pub const OPERATOR_FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {bytes} bytes, at most {max} are read")]
    TooLarge { bytes: usize, max: usize },
    #[error("a frame that cannot be read: {0}")]
    Unreadable(String),
    #[error("a message that cannot be written: {0}")]
    Unwritable(String),
    #[error("bytes follow the message in its frame")]
    Trailing,
}

/// One message as a frame of at most `max` bytes of payload.
pub fn encode_frame<T: Serialize>(message: &T, max: usize) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; 4];
    ciborium::into_writer(message, &mut frame).map_err(|cause| FrameError::Unwritable(cause.to_string()))?;
    let bytes = frame.len() - 4;
    match u32::try_from(bytes) {
        Ok(length) if bytes <= max => frame[..4].copy_from_slice(&length.to_be_bytes()),
        _ => return Err(FrameError::TooLarge { bytes, max }),
    }
    Ok(frame)
}

/// Reads the payload of one frame.
pub fn decode_frame<T: DeserializeOwned>(payload: &[u8]) -> Result<T, FrameError> {
    let mut rest = payload;
    let message = ciborium::de::from_reader_with_recursion_limit(&mut rest, 32)
        .map_err(|cause| FrameError::Unreadable(cause.to_string()))?;
    match rest.is_empty() {
        true => Ok(message),
        false => Err(FrameError::Trailing),
    }
}

/// Cuts a stream of bytes into frames. Holds at most one frame and what came with it.
#[derive(Debug)]
pub struct Decoder {
    held: Vec<u8>,
    max: usize,
}

impl Decoder {
    pub fn new(max: usize) -> Self {
        Self { held: Vec::new(), max }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next whole message, or none yet.
    pub fn next_frame<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some(head) = self.held.first_chunk::<4>() else { return Ok(None) };
        let bytes = u32::from_be_bytes(*head) as usize;
        if bytes > self.max {
            return Err(FrameError::TooLarge { bytes, max: self.max });
        }
        let Some(payload) = self.held.get(4..4 + bytes) else { return Ok(None) };
        let message = decode_frame(payload)?;
        self.held.drain(..4 + bytes);
        if self.held.is_empty() {
            // Thousands of idle connections must not each keep a buffer.
            self.held = Vec::new();
        }
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(
            messages in prop::collection::vec(".{0,40}", 0..6),
            cut in 1usize..7,
        ) {
            let mut stream = Vec::new();
            for message in &messages {
                stream.extend(encode_frame(message, 1024).unwrap());
            }
            let mut decoder = Decoder::new(1024);
            let mut out: Vec<String> = Vec::new();
            for piece in stream.chunks(cut) {
                decoder.push(piece);
                while let Some(message) = decoder.next_frame().unwrap() {
                    out.push(message);
                }
            }
            prop_assert_eq!(out, messages);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::new(64);
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_frame::<crate::wire::ToAgent>() {}
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_bytes_arrive() {
        let mut decoder = Decoder::new(64);
        decoder.push(&[0xff, 0xff, 0xff, 0xff]);
        assert!(matches!(decoder.next_frame::<String>(), Err(FrameError::TooLarge { max: 64, .. })));
    }
}
