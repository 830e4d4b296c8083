//! A server of restic's REST protocol that holds everything in memory.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// Serves until the process ends; answers its address and what it holds.
pub(super) fn serve() -> (String, Files) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("rest:http://{}/", listener.local_addr().unwrap());
    let files = Files::default();
    let held = Arc::clone(&files);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let held = Arc::clone(&held);
            std::thread::spawn(move || while_it_asks(&stream.unwrap(), &held));
        }
    });
    (address, files)
}

fn while_it_asks(stream: &TcpStream, files: &Files) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut words = first.split_whitespace();
        let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let (mut length, mut range, mut is_chunked) = (0, None, false);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "transfer-encoding" => is_chunked = value == "chunked",
                "range" => {
                    let (from, to) = value.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                    range = Some((from.parse::<usize>().unwrap(), to.parse::<usize>().unwrap()));
                }
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        while is_chunked {
            let mut size = String::new();
            reader.read_line(&mut size).unwrap();
            let mut chunk = vec![0; usize::from_str_radix(size.trim_end(), 16).unwrap() + 2];
            reader.read_exact(&mut chunk).unwrap();
            is_chunked = chunk.len() > 2;
            body.extend(&chunk[..chunk.len() - 2]);
        }
        let (status, answer) = answer(&method, &target, range, body, &mut files.lock().unwrap());
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", answer.len());
        let mut writer = stream;
        writer.write_all(head.as_bytes()).unwrap();
        if method != "HEAD" {
            writer.write_all(&answer).unwrap();
        }
    }
}

fn answer(
    method: &str,
    target: &str,
    range: Option<(usize, usize)>,
    body: Vec<u8>,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> (&'static str, Vec<u8>) {
    let path = target.trim_start_matches('/');
    if path.starts_with('?') {
        return ("200 OK", Vec::new());
    }
    match (method, files.get(path)) {
        ("POST", _) => {
            files.insert(path.to_owned(), body);
            ("200 OK", Vec::new())
        }
        ("DELETE", Some(_)) => {
            files.remove(path);
            ("200 OK", Vec::new())
        }
        ("GET", None) if path.ends_with('/') => {
            let below = files.iter().filter_map(|(name, bytes)| Some((name.strip_prefix(path)?, bytes)));
            let list: Vec<_> =
                below.map(|(name, bytes)| serde_json::json!({ "name": name, "size": bytes.len() })).collect();
            ("200 OK", serde_json::to_vec(&list).unwrap())
        }
        (_, None) => ("404 Not Found", Vec::new()),
        (_, Some(bytes)) => match range {
            None => ("200 OK", bytes.clone()),
            Some((from, to)) => ("206 Partial Content", bytes[from..=to.min(bytes.len() - 1)].to_vec()),
        },
    }
}
