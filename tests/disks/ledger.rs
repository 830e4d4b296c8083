//! A service somewhere else that is told of each rollback: it answers on
//! loopback, takes the same key once however often it comes, and keeps count.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What came in: by path, the distinct keys.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    taken: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>,
    go: Arc<AtomicBool>,
}

impl Ledger {
    /// Listens on a port of its own for as long as the test process lives.
    pub fn open() -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let port = listener.local_addr().expect("it is bound").port();
        let ledger = Self::default();
        let taken = ledger.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let taken = taken.clone();
                std::thread::spawn(move || taken.answer(stream));
            }
        });
        (ledger, port)
    }

    /// Who is killed in the middle of asking did not ask.
    fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let mut lines = BufReader::new(stream.try_clone().ok()?).lines().map_while(Result::ok);
        let first = lines.next()?;
        let mut words = first.split(' ');
        let place = format!("{} {}", words.next()?, words.next()?);
        let mut key = String::new();
        let mut length = 0;
        for line in lines.by_ref().take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "idempotency-key" => key = value.trim().to_owned(),
                "content-length" => length = value.trim().parse().unwrap_or_default(),
                _ => {}
            }
        }
        assert_eq!(length, 0, "the plans here send no body");
        if place == "GET /go" && !self.go.load(Ordering::Relaxed) {
            return stream
                .write_all(b"HTTP/1.1 503 Not Yet\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .ok();
        }
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.entry(place).or_default().insert(key);
        drop(taken);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()
    }

    /// From here on `/go` is answered with 200; before, it is not.
    pub fn say_go(&self) {
        self.go.store(true, Ordering::Relaxed);
    }

    /// How often it happened: distinct keys at a place such as `POST /db-01`.
    pub fn count(&self, place: &str) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).get(place).map_or(0, BTreeSet::len)
    }
}
