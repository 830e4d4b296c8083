//! The end of what a plugin writes to its standard output and error. A panic
//! says why only there.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::pipe::SinkOutputStream;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::limits::OUTPUT_TAIL_BYTES;

const PERMIT_BYTES: usize = 4_096;

/// Keeps the newest 64 KiB, whatever was written before.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    /// As text without control characters, lines apart.
    pub(super) fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (front, back) = bytes.as_slices();
        let bytes = [front, back].concat();
        String::from_utf8_lossy(&bytes)
            .chars()
            .map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c })
            .collect::<String>()
            .trim_end()
            .to_owned()
    }

    fn push(&self, written: &[u8]) {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.extend(&written[written.len().saturating_sub(OUTPUT_TAIL_BYTES)..]);
        let surplus = bytes.len().saturating_sub(OUTPUT_TAIL_BYTES);
        bytes.drain(..surplus);
    }
}

impl IsTerminal for Tail {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Tail {
    /// Only the third preview asks for this one, which is not linked.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Tail {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        SinkOutputStream.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT_BYTES)
    }
}

impl Pollable for Tail {
    fn ready<'life, 'wait>(&'life mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'wait>>
    where
        'life: 'wait,
        Self: 'wait,
    {
        Box::pin(std::future::ready(()))
    }
}
