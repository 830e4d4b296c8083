//! What answers the HTTP of a case, on loopback: a peer that behaves, so that
//! what differs at the end is the plugin's doing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::case::AnswerCase;
use super::{ConformanceError, io};

const BODY_BYTES_MAX: usize = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct State {
    kept: BTreeMap<String, Option<String>>,
    keys: BTreeSet<String>,
}

/// The peer of one case.
#[derive(Debug)]
pub(super) struct Peer {
    address: SocketAddr,
    answers: Arc<Vec<AnswerCase>>,
    state: Arc<Mutex<State>>,
    ended: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Peer {
    pub(super) fn new(answers: &[AnswerCase]) -> Result<Self, ConformanceError> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(io("listen for", Path::new("http")))?;
        let address = listener.local_addr().map_err(io("listen for", Path::new("http")))?;
        let answers = Arc::new(answers.to_vec());
        let (state, ended) = (Arc::<Mutex<State>>::default(), Arc::<AtomicBool>::default());
        let thread = {
            let (answers, state, ended) = (Arc::clone(&answers), Arc::clone(&state), Arc::clone(&ended));
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if ended.load(Ordering::Acquire) {
                        return;
                    }
                    if let Ok(stream) = stream
                        && let Err(error) = serve(stream, &answers, &state)
                    {
                        tracing::debug!(%error, "a connection to the peer ended");
                    }
                }
            })
        };
        let peer = Self { address, answers, state, ended, thread: Some(thread) };
        peer.reset();
        Ok(peer)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// As the case begins.
    pub(super) fn reset(&self) {
        let kept = self
            .answers
            .iter()
            .filter(|answer| answer.keeps || answer.counts)
            .map(|answer| (answer.path.clone(), answer.body.clone()));
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) =
            State { kept: kept.collect(), keys: BTreeSet::new() };
    }

    /// What stands where, for the picture.
    pub(super) fn kept(&self) -> BTreeMap<String, String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |body: &Option<String>| body.as_ref().map_or("nothing".into(), |body| format!("{body:?}"));
        state.kept.iter().map(|(path, body)| (format!("http {path}"), told(body))).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // Only to wake the thread, which looks at the flag and ends.
        let woken = TcpStream::connect_timeout(&self.address, PATIENCE).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

struct Asked {
    method: String,
    path: String,
    key: Option<String>,
    body: String,
}

fn serve(stream: TcpStream, answers: &[AnswerCase], state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let Some(asked) = read(&mut reader)? else { return Ok(()) };
    let (status, body) = match answers.iter().find(|answer| answer.path == asked.path) {
        None => (404, String::new()),
        Some(answer) => answered(answer, &asked, &mut state.lock().unwrap_or_else(PoisonError::into_inner)),
    };
    let text = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let mut stream = reader.into_inner();
    stream.write_all(text.as_bytes())?;
    if asked.method != "HEAD" {
        stream.write_all(body.as_bytes())?;
    }
    stream.flush()
}

fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let (mut key, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => key = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    let mut body = vec![0; length.min(BODY_BYTES_MAX)];
    reader.read_exact(&mut body)?;
    Ok(Some(Asked { method, path, key, body: String::from_utf8_lossy(&body).into_owned() }))
}

fn answered(answer: &AnswerCase, asked: &Asked, state: &mut State) -> (u16, String) {
    let State { kept, keys } = state;
    let Some(standing) = kept.get_mut(&answer.path) else {
        return (answer.status, answer.body.clone().unwrap_or_default());
    };
    match asked.method.as_str() {
        "PUT" | "PATCH" => *standing = Some(asked.body.clone()),
        "DELETE" => *standing = None,
        "POST" if asked.key.as_ref().is_none_or(|key| keys.insert(key.clone())) => {
            let line = format!("{}\n", asked.body);
            standing.get_or_insert_default().push_str(&line);
        }
        "GET" if answer.counts => standing.get_or_insert_default().push_str("asked\n"),
        _ => {}
    }
    match (asked.method.as_str(), &standing) {
        ("GET" | "HEAD", None) => (404, String::new()),
        ("GET" | "HEAD", Some(body)) => (answer.status, body.clone()),
        _ => (answer.status, String::new()),
    }
}
