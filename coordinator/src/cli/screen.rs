//! A block of lines at the foot of a terminal, redrawn in place at most ten
//! times a second, and the keys that are pressed meanwhile.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal::{BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate};
use crossterm::{cursor, queue};
use tokio::sync::mpsc;

use super::text::{Line, Look, Tone};

/// Shortest time between two drawings.
pub const REDRAW_EVERY: Duration = Duration::from_millis(100);
const COLUMNS_DEFAULT: usize = 80;
const KEY_POLL: Duration = Duration::from_millis(100);
/// Keys that may wait; more are dropped.
const KEYS_WAITING_MAX: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Hold,
    Halt,
    Approve,
    Leave,
    /// Ctrl-C: the terminal is in raw mode, so it comes as a key.
    Interrupt,
}

/// Owns the terminal's mode: whatever happens, it is given back as it was.
#[derive(Debug)]
pub struct Screen {
    look: Look,
    rows: usize,
    drawn: usize,
    keys: mpsc::Receiver<Key>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Screen {
    /// Takes the terminal.
    pub fn open(look: Look, rows: usize) -> io::Result<Self> {
        crossterm::terminal::enable_raw_mode()?;
        give_back_when_panicking();
        let (send, keys) = mpsc::channel(KEYS_WAITING_MAX);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let reader = std::thread::spawn(move || read_keys(&send, &stopped));
        // A line that wraps cannot be gone back over, so some width has to be believed.
        let look = Look { width: look.width.or(Some(COLUMNS_DEFAULT)), ..look };
        Ok(Self { look, rows, drawn: 0, keys, stop, reader: Some(reader) })
    }

    /// Lines that fit: the cursor's own line is kept free.
    pub fn height(&mut self) -> usize {
        if let Ok((columns, rows)) = crossterm::terminal::size()
            && columns > 0
            && rows > 0
        {
            self.look.width = Some(columns.into());
            self.rows = rows.into();
        }
        self.rows.saturating_sub(1)
    }

    /// The next key; waits for ever when nobody can press one.
    pub async fn key(&mut self) -> Key {
        match self.keys.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }

    /// Replaces what was drawn last.
    pub fn draw(&mut self, lines: &[Line]) {
        let frame = frame(lines, self.look, self.drawn);
        let mut stdout = io::stdout().lock();
        // A terminal that went away is noticed by the signal it sends, not here.
        _ = stdout.write_all(&frame).and_then(|()| stdout.flush());
        self.drawn = lines.len();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            _ = reader.join();
        }
        _ = crossterm::terminal::disable_raw_mode();
    }
}

/// The bytes that replace `drawn` lines by these, in one synchronised update.
fn frame(lines: &[Line], look: Look, drawn: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    _ = queue!(frame, BeginSynchronizedUpdate, cursor::MoveToColumn(0));
    if drawn > 0 {
        _ = queue!(frame, cursor::MoveUp(u16::try_from(drawn).unwrap_or(u16::MAX)));
    }
    for line in lines {
        frame.extend_from_slice(line.paint(look).as_bytes());
        _ = queue!(frame, Clear(ClearType::UntilNewLine));
        frame.extend_from_slice(b"\r\n");
    }
    _ = queue!(frame, Clear(ClearType::FromCursorDown), EndSynchronizedUpdate);
    frame
}

/// The line below the tree.
pub fn help_line(message: Option<&str>) -> Line {
    match message {
        Some(message) => Line::new().plain(" ").add(Tone::Warn, message),
        None => Line::new().add(Tone::Dim, " h hold   H halt   a approve   q leave it running"),
    }
}

fn read_keys(send: &mpsc::Sender<Key>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match crossterm::event::poll(KEY_POLL) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(_) => return,
        }
        let Ok(event) = crossterm::event::read() else { return };
        if let Some(key) = key_of(&event) {
            _ = send.try_send(key);
        }
    }
}

fn key_of(event: &Event) -> Option<Key> {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
        return None;
    };
    match code {
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Interrupt),
        KeyCode::Char('h') => Some(Key::Hold),
        KeyCode::Char('H') => Some(Key::Halt),
        KeyCode::Char('a') => Some(Key::Approve),
        KeyCode::Char('q') => Some(Key::Leave),
        _ => None,
    }
}

/// A panic would leave the terminal mute otherwise.
fn give_back_when_panicking() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            _ = crossterm::terminal::disable_raw_mode();
            before(panic);
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_goes_up_by_what_was_drawn_and_clears_what_is_left() {
        let lines = [Line::from("one"), Line::from("two")];
        let text = |drawn| String::from_utf8(frame(&lines, Look::PLAIN, drawn)).unwrap();
        assert_eq!(text(0), "\u{1b}[?2026h\u{1b}[1Gone\u{1b}[K\r\ntwo\u{1b}[K\r\n\u{1b}[J\u{1b}[?2026l");
        assert!(text(3).starts_with("\u{1b}[?2026h\u{1b}[1G\u{1b}[3Aone"));
    }

    #[test]
    fn keys_mean_what_the_help_line_says() {
        let press = |code, modifiers| key_of(&Event::Key(KeyEvent::new(code, modifiers)));
        assert_eq!(press(KeyCode::Char('h'), KeyModifiers::NONE), Some(Key::Hold));
        assert_eq!(press(KeyCode::Char('H'), KeyModifiers::SHIFT), Some(Key::Halt));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Interrupt));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(press(KeyCode::Char('q'), KeyModifiers::NONE), Some(Key::Leave));
    }
}
