//! One request to one place: no redirect, no proxy, a time limit over the
//! whole call and a cap on what comes back.

use std::io::Read;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use ureq::http::{HeaderName, HeaderValue, Method, Request, Uri};
use ureq::{Agent, Error as Refused};

use crate::capabilities::secrets::Secrets;
use crate::capabilities::{ErrorKind, HostError};

/// The most a response may bring, in bytes.
pub const BODY_BYTES_MAX: u32 = 1024 * 1024;
/// The most a request may carry, in bytes.
pub const REQUEST_BYTES_MAX: usize = 256 * 1024;
const HEADERS_MAX: usize = 64;

/// A request as a plugin makes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// `GET`, `HEAD`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// With scheme and host; checked against the grant by the same parser.
    pub url: String,
    /// Names and values; those that frame the message are refused.
    pub headers: Vec<(String, String)>,
    /// The body; empty sends none.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// Over the whole call, name lookup and body included.
    pub timeout_ms: u64,
    /// At most 1 MiB counts.
    pub body_bytes_max: u32,
}

/// What came back; any status is an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// Names in lower case; values that are not text are left out.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// From the first byte out to the last byte in, in microseconds.
    pub elapsed_us: u64,
}

/// Keeps connections open between the calls of one phase.
#[derive(Debug)]
pub struct HttpClient {
    agent: Agent,
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpClient {
    /// A client of its own: nothing is shared with other steps.
    pub fn new() -> Self {
        let config = Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .proxy(None)
            .max_response_header_size(32 * 1024)
            .user_agent("sternway")
            .build();
        Self { agent: Agent::new_with_config(config) }
    }

    /// As [`Self::send`], with the values of secrets put into headers, and taken
    /// out of whatever comes back.
    ///
    /// # Errors
    /// As [`Self::send`], and a secret that cannot be read.
    pub fn send_with(
        &self,
        secrets: &Secrets,
        request: &HttpRequest,
        deadline: Instant,
    ) -> Result<HttpResponse, HostError> {
        let mut filled = request.clone();
        let mut used = Vec::new();
        for (_, value) in &mut filled.headers {
            let (text, names) = secrets.fill(value)?;
            *value = text;
            used.extend(names);
        }
        if used.is_empty() {
            return self.send(request, deadline);
        }
        let hidden = |text: &str| secrets.hide(text);
        match self.send(&filled, deadline) {
            Ok(mut response) => {
                response.body = secrets.hide_bytes(&response.body);
                response.headers.iter_mut().for_each(|(_, value)| *value = hidden(value));
                Ok(response)
            }
            Err(error) => Err(HostError { message: hidden(&error.message), ..error }),
        }
    }

    /// Sends it, waits at most until `deadline`, and answers what came.
    ///
    /// # Errors
    /// `http/unreachable`, `http/timed-out`, `http/too-large`, or an
    /// impossible request.
    pub fn send(&self, request: &HttpRequest, deadline: Instant) -> Result<HttpResponse, HostError> {
        let method = method_of(&request.method)?;
        let head = method == Method::HEAD;
        let uri = parse_url(&request.url)?;
        if request.body.len() > REQUEST_BYTES_MAX {
            return Err(invalid("the body is larger than 256 KiB"));
        }
        let mut builder = Request::builder().method(method).uri(uri);
        for (name, value) in checked_headers(&request.headers)? {
            builder = builder.header(name, value);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = left.min(Duration::from_millis(request.timeout_ms));
        if timeout.is_zero() {
            return Err(timed_out(&request.url));
        }
        let started = Instant::now();
        let answered = if request.body.is_empty() {
            let ready = builder.body(()).map_err(|error| invalid(&error.to_string()))?;
            let ready = self.agent.configure_request(ready).timeout_global(Some(timeout)).build();
            self.agent.run(ready)
        } else {
            let ready = builder.body(&request.body[..]).map_err(|error| invalid(&error.to_string()))?;
            let ready = self
                .agent
                .configure_request(ready)
                .timeout_global(Some(timeout))
                .allow_non_standard_methods(true)
                .build();
            self.agent.run(ready)
        };
        let mut response = answered.map_err(|error| failed(&request.url, &error))?;
        let bytes_max = u64::from(request.body_bytes_max.min(BODY_BYTES_MAX));
        let mut body = Vec::new();
        if !head {
            response
                .body_mut()
                .as_reader()
                .take(bytes_max + 1)
                .read_to_end(&mut body)
                .map_err(|cause| failed(&request.url, &Refused::from(cause)))?;
        }
        if body.len() as u64 > bytes_max {
            return Err(HostError::new(
                ErrorKind::Failed,
                "http/too-large",
                format!("the answer of {} is larger than {bytes_max} bytes", shown(&request.url)),
            ));
        }
        let elapsed_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let headers = response
            .headers()
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .collect();
        Ok(HttpResponse { status: response.status().as_u16(), headers, body, elapsed_us })
    }
}

/// Whether a request changes nothing by definition.
pub fn only_reads(method: &str) -> bool {
    matches!(method, "GET" | "HEAD")
}

/// Parses a URL with the parser that will also connect, and refuses what two
/// readers could understand differently.
///
/// # Errors
/// `http/bad-url` with the reason.
pub(crate) fn parse_url(url: &str) -> Result<Uri, HostError> {
    let refuse = |reason: &str| {
        HostError::new(
            ErrorKind::Invalid,
            "http/bad-url",
            format!("{} is not a URL this host accepts: {reason}", shown(url)),
        )
    };
    if !url.is_ascii() || url.bytes().any(|byte| byte.is_ascii_control() || byte == b'\\') {
        return Err(refuse("it holds characters outside plain ASCII, or a backslash"));
    }
    let uri: Uri = url.parse().map_err(|error| refuse(&format!("{error}")))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(refuse("it starts with neither http:// nor https://")),
    }
    let Some(authority) = uri.authority() else { return Err(refuse("it names no host")) };
    if authority.as_str().contains('@') {
        return Err(refuse("it holds a user name"));
    }
    if authority.host().is_empty() || (authority.as_str().ends_with(':')) {
        return Err(refuse("its host or port is empty"));
    }
    if has_port_text(authority.as_str()) && authority.port_u16().is_none() {
        return Err(refuse("its port is no number"));
    }
    let decoded = uri.path().to_ascii_lowercase().replace("%2e", ".");
    if decoded.contains("%2f") || decoded.contains("%5c") || decoded.contains("//") {
        return Err(refuse("its path holds an empty segment or an encoded slash"));
    }
    if decoded.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(refuse("its path holds `.` or `..`"));
    }
    Ok(uri)
}

fn has_port_text(authority: &str) -> bool {
    authority.rsplit(']').next().is_some_and(|after| after.contains(':'))
}

fn method_of(text: &str) -> Result<Method, HostError> {
    match text {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" => {
            Ok(text.parse().expect("a plain word is a method"))
        }
        _ => Err(invalid("the method is none of GET, HEAD, POST, PUT, PATCH, DELETE")),
    }
}

fn checked_headers(headers: &[(String, String)]) -> Result<Vec<(HeaderName, HeaderValue)>, HostError> {
    if headers.len() > HEADERS_MAX {
        return Err(invalid("it has more than 64 headers"));
    }
    headers
        .iter()
        .map(|(name, value)| {
            let name: HeaderName = name.parse().map_err(|_| invalid("a header name is malformed"))?;
            // These frame the message or name its receiver, which the grant fixed.
            const OURS: [&str; 8] = [
                "host",
                "content-length",
                "transfer-encoding",
                "connection",
                "upgrade",
                "te",
                "trailer",
                "proxy-authorization",
            ];
            if OURS.contains(&name.as_str()) {
                return Err(invalid(&format!("the header `{name}` is set by the host")));
            }
            let value = value.parse().map_err(|_| invalid("a header value is malformed"))?;
            Ok((name, value))
        })
        .collect()
}

fn shown(url: &str) -> String {
    format!("`{}`", url.chars().take(200).flat_map(char::escape_debug).collect::<String>())
}

fn invalid(reason: &str) -> HostError {
    HostError::new(ErrorKind::Invalid, "http/bad-request", format!("the request cannot be sent: {reason}"))
}

fn timed_out(url: &str) -> HostError {
    HostError::new(ErrorKind::TimedOut, "http/timed-out", format!("{} did not answer in time", shown(url)))
}

fn failed(url: &str, error: &Refused) -> HostError {
    match error {
        Refused::Timeout(_) => timed_out(url),
        Refused::Io(cause) if cause.kind() == std::io::ErrorKind::TimedOut => timed_out(url),
        Refused::Io(_) | Refused::ConnectionFailed | Refused::HostNotFound => HostError::new(
            ErrorKind::Transient,
            "http/unreachable",
            format!("{} could not be reached: {error}", shown(url)),
        ),
        _ => HostError::new(
            ErrorKind::Failed,
            "http/failed",
            format!("the exchange with {} failed: {error}", shown(url)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    /// Answers each connection with the next text; an empty one stays silent.
    fn serve(answers: Vec<String>) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let mut seen = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut buffer = [0; 4096];
                let count = stream.read(&mut buffer).unwrap();
                seen.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
                if answer.is_empty() {
                    std::thread::sleep(Duration::from_millis(600));
                } else {
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            }
            seen
        });
        (url, thread)
    }

    fn get(url: &str) -> HttpRequest {
        HttpRequest {
            method: "GET".into(),
            url: url.into(),
            headers: vec![("x-a".into(), "1".into())],
            body: Vec::new(),
            timeout_ms: 400,
            body_bytes_max: 10,
        }
    }

    fn send(request: &HttpRequest) -> Result<HttpResponse, HostError> {
        HttpClient::new().send(request, Instant::now() + Duration::from_secs(5))
    }

    #[test]
    fn any_status_is_an_answer_and_a_redirect_is_not_followed() {
        let (url, server) = serve(vec![
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi".into(),
            "HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into(),
        ]);
        let answer = send(&get(&url)).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (302, &b"hi"[..]));
        assert!(answer.elapsed_us > 0);
        assert_eq!(send(&get(&url)).unwrap().status, 503);
        let seen = server.join().unwrap();
        assert!(seen[0].starts_with("GET /x HTTP/1.1\r\n"), "{}", seen[0]);
        assert!(seen[0].contains("x-a: 1\r\n"), "{}", seen[0]);
    }

    #[test]
    fn a_body_is_sent_and_an_endless_or_silent_answer_is_cut_off() {
        let (url, server) = serve(vec![
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into(),
            "HTTP/1.1 200 OK\r\ncontent-length: 11\r\nconnection: close\r\n\r\n12345678901".into(),
            String::new(),
        ]);
        let put = HttpRequest { method: "PUT".into(), body: b"blue".to_vec(), ..get(&url) };
        assert_eq!(send(&put).unwrap().status, 200);
        assert_eq!(send(&get(&url)).unwrap_err().code, "http/too-large");
        let started = Instant::now();
        assert_eq!(send(&get(&url)).unwrap_err().kind, ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(2));
        let seen = server.join().unwrap();
        assert!(seen[0].starts_with("PUT /x HTTP/1.1\r\n"), "{}", seen[0]);
    }

    #[test]
    fn a_closed_port_is_unreachable_for_now() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = send(&get(&format!("http://127.0.0.1:{port}/"))).unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Transient, "http/unreachable"));
    }

    #[test]
    fn urls_with_two_readings_and_framing_headers_are_refused() {
        for url in [
            "127.0.0.1/x",
            "/x",
            "ftp://h/x",
            "http://u@h/x",
            "http://u:p@h/x",
            "http://h\\@evil/x",
            "http://h:/x",
            "http://h:99999/x",
            "http://h/a/../b",
            "http://h/a/%2e%2E/b",
            "http://h/a/%2fb",
            "http://h/a//b",
            "http://h/\u{e4}",
            "http://h/a b",
            "http:///x",
        ] {
            assert_eq!(parse_url(url).unwrap_err().code, "http/bad-url", "{url}");
        }
        for (name, value) in [("Host", "evil"), ("content-length", "0"), ("x-a", "1\r\nx-b: 2"), ("a b", "c")]
        {
            let headers = vec![(name.to_owned(), value.to_owned())];
            let request = HttpRequest { headers, ..get("http://127.0.0.1:1/") };
            assert_eq!(send(&request).unwrap_err().code, "http/bad-request", "{name}");
        }
        let request = HttpRequest { method: "CONNECT".into(), ..get("http://127.0.0.1:1/") };
        assert_eq!(send(&request).unwrap_err().code, "http/bad-request");
    }
}
