//! What a program says, as it is kept and as it is told: the last bytes for
//! the answer, whole lines for those who look on.

use std::collections::VecDeque;

const LINE_BYTES_MAX: usize = 4 * 1024;

/// The last bytes of a stream.
#[derive(Debug)]
pub(super) struct Tail {
    kept: VecDeque<u8>,
    bytes_max: usize,
}

impl Tail {
    pub(super) fn new(bytes_max: u32) -> Self {
        Self { kept: VecDeque::new(), bytes_max: bytes_max as usize }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(self.bytes_max)..];
        let surplus = (self.kept.len() + bytes.len()).saturating_sub(self.bytes_max);
        self.kept.drain(..surplus);
        self.kept.extend(bytes);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.kept.into()
    }

    pub(super) fn into_text(self) -> String {
        as_text(&self.into_bytes())
    }
}

/// For people: control characters are replaced, but for the ends of lines.
pub(super) fn as_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c == '\n' { c } else { printable(c) }).collect()
}

fn printable(c: char) -> char {
    if c.is_control() && c != '\t' { '\u{fffd}' } else { c }
}

/// Bytes as lines. A carriage return ends one too: programs draw progress with it.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    pub(super) fn add(&mut self, bytes: &[u8], on_line: &dyn Fn(&str)) {
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let (text, is_whole) = match piece.split_last() {
                Some((b'\n' | b'\r', text)) => (text, true),
                _ => (piece, false),
            };
            let room = LINE_BYTES_MAX.saturating_sub(self.begun.len());
            self.begun.extend_from_slice(&text[..text.len().min(room)]);
            if is_whole {
                self.flush(on_line);
            }
        }
    }

    /// What was said last may have no end.
    pub(super) fn flush(&mut self, on_line: &dyn Fn(&str)) {
        let line = std::mem::take(&mut self.begun);
        let text: String = String::from_utf8_lossy(&line).trim_end().chars().map(printable).collect();
        if !text.is_empty() {
            on_line(&text);
        }
    }
}

/// The last lines of what was said, in one line.
pub(super) fn in_short(text: &str) -> String {
    const LINES: usize = 4;
    const CHARACTERS_MAX: usize = 600;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join(" | ");
    let surplus = last.chars().count().saturating_sub(CHARACTERS_MAX);
    last.chars().skip(surplus).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn the_last_part_is_kept_whatever_the_pieces() {
        for size in 1..8 {
            let mut tail = Tail::new(5);
            b"0123456789".chunks(size).for_each(|piece| tail.add(piece));
            assert_eq!(tail.into_bytes(), b"56789", "in pieces of {size}");
        }
    }

    #[test]
    fn lines_are_whole_printable_and_not_too_long() {
        let told = RefCell::new(Vec::new());
        let on_line = |line: &str| told.borrow_mut().push(line.to_owned());
        let mut lines = Lines::default();
        for piece in ["10 %\r20", " %\rdone\x1b[1m\n\n", &"x".repeat(9_000), "\nrest"] {
            lines.add(piece.as_bytes(), &on_line);
        }
        assert_eq!(told.borrow()[..3], ["10 %", "20 %", "done\u{fffd}[1m"]);
        assert_eq!(told.borrow()[3].len(), LINE_BYTES_MAX);
        lines.flush(&on_line);
        assert_eq!(told.borrow()[4], "rest");
    }
}
