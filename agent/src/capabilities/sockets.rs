//! Bytes to one place and back, for services that speak no HTTP: over TCP or a
//! local socket, with a time limit over the whole exchange and a cap on what
//! comes back.

use std::io::{ErrorKind as Io, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use crate::capabilities::{ErrorKind, HostError};

/// The most an answer may bring, in bytes.
pub const ANSWER_BYTES_MAX: u32 = 1024 * 1024;
/// The most that may be sent, in bytes.
pub const DATA_BYTES_MAX: usize = 256 * 1024;
const TICK: Duration = Duration::from_millis(50);

/// One exchange as a plugin asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// `tcp://host:port`, `tcp://[::1]:port` or `unix:///path`.
    pub address: String,
    /// What is sent first; may be empty.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
    /// Reading ends once this has come; empty: when the other side ends or
    /// `bytes_max` is reached.
    #[serde(with = "serde_bytes")]
    pub until: Vec<u8>,
    /// At most 1 MiB counts.
    pub bytes_max: u32,
    /// Over the whole exchange, name lookup included.
    pub timeout_ms: u64,
}

/// Where an exchange goes, found sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Name or IP, without brackets, and port.
    Tcp(String, u16),
    /// An absolute path without `.` and `..`.
    Unix(String),
}

impl Address {
    /// Reads what people write.
    ///
    /// # Errors
    /// `sockets/bad-address` with the reason.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let refuse = |reason: &str| {
            let shown: String = text.chars().take(200).flat_map(char::escape_debug).collect();
            HostError::new(
                ErrorKind::Invalid,
                "sockets/bad-address",
                format!(
                    "`{shown}` is no address such as tcp://127.0.0.1:6379 or unix:///run/x.sock: {reason}"
                ),
            )
        };
        if let Some(path) = text.strip_prefix("unix://") {
            let sound = path.starts_with('/')
                && !path.chars().any(char::is_control)
                && path.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
            return if sound {
                Ok(Self::Unix(path.to_owned()))
            } else {
                Err(refuse("the path is not plain"))
            };
        }
        let Some(rest) = text.strip_prefix("tcp://") else { return Err(refuse("it has another beginning")) };
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once("]:").ok_or_else(|| refuse("it has no port"))?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| refuse("no IPv6 address in the brackets"))?;
                (host, port)
            }
            None => rest.split_once(':').ok_or_else(|| refuse("it has no port"))?,
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        if host.is_empty() || host.starts_with('-') || !host.bytes().all(plain) {
            return Err(refuse("the host is neither a name nor an IP address"));
        }
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse::<u16>() {
            Ok(number) if digits && number > 0 => Ok(Self::Tcp(host.to_ascii_lowercase(), number)),
            _ => Err(refuse("the port is no number from 1 to 65535")),
        }
    }
}

/// Connects and hangs up; answers the microseconds until it was connected.
///
/// # Errors
/// `sockets/refused` when nobody listens, `sockets/unreachable`,
/// `sockets/timed-out`, `sockets/bad-address`.
pub fn probe(address: &str, timeout: Duration, deadline: Instant) -> Result<u64, HostError> {
    let started = Instant::now();
    let until = deadline.min(started.checked_add(timeout).unwrap_or(deadline));
    Wire::open(address, until, &|| false)?;
    Ok(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// Sends, then reads until `until` has come, the other side ends, or `bytes_max`.
///
/// # Errors
/// As [`probe`]; `sockets/too-large` when `bytes_max` came and `until` did not;
/// `Cancelled` when `give_up` answers true.
pub fn exchange(
    asked: &Exchange,
    deadline: Instant,
    give_up: &dyn Fn() -> bool,
) -> Result<Vec<u8>, HostError> {
    if asked.data.len() > DATA_BYTES_MAX {
        return Err(HostError::new(
            ErrorKind::Invalid,
            "sockets/bad-request",
            format!("what is sent is larger than {DATA_BYTES_MAX} bytes"),
        ));
    }
    let until = Instant::now().checked_add(Duration::from_millis(asked.timeout_ms)).unwrap_or(deadline);
    let until = deadline.min(until);
    let mut wire = Wire::open(&asked.address, until, give_up)?;
    wire.write(&asked.data)?;
    wire.read(&asked.until, asked.bytes_max.min(ANSWER_BYTES_MAX) as usize)
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// An open connection that gives up in time.
struct Wire<'w> {
    stream: Box<dyn Stream>,
    address: &'w str,
    until: Instant,
    give_up: &'w dyn Fn() -> bool,
}

impl<'w> Wire<'w> {
    fn open(address: &'w str, until: Instant, give_up: &'w dyn Fn() -> bool) -> Result<Self, HostError> {
        let failed = |cause: std::io::Error| failed(address, &cause);
        let stream: Box<dyn Stream> = match Address::parse(address)? {
            Address::Tcp(host, port) => {
                let stream = open_tcp(address, &host, port, until, give_up)?;
                stream.set_read_timeout(Some(TICK)).map_err(failed)?;
                stream.set_write_timeout(Some(TICK)).map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                Box::new(stream)
            }
            Address::Unix(path) => {
                let stream = open_unix(address, &path, until, give_up)?;
                stream.set_nonblocking(false).map_err(failed)?;
                stream.set_read_timeout(Some(TICK)).map_err(failed)?;
                stream.set_write_timeout(Some(TICK)).map_err(failed)?;
                Box::new(stream)
            }
        };
        Ok(Self { stream, address, until, give_up })
    }

    fn write(&mut self, mut data: &[u8]) -> Result<(), HostError> {
        while !data.is_empty() {
            match self.stream.write(data) {
                Ok(0) => return Err(failed(self.address, &Io::WriteZero.into())),
                Ok(count) => data = &data[count..],
                Err(cause) if is_pause(&cause) => {}
                // It may have answered and hung up before it had read all.
                Err(cause) if matches!(cause.kind(), Io::BrokenPipe | Io::ConnectionReset) => return Ok(()),
                Err(cause) => return Err(failed(self.address, &cause)),
            }
            in_time(self.address, self.until, self.give_up)?;
        }
        Ok(())
    }

    fn read(&mut self, end: &[u8], bytes_max: usize) -> Result<Vec<u8>, HostError> {
        let mut answer = Vec::new();
        let mut buffer = [0; 16 * 1024];
        while answer.len() < bytes_max {
            let room = buffer.len().min(bytes_max - answer.len());
            match self.stream.read(&mut buffer[..room]) {
                Ok(0) => return Ok(answer),
                Ok(count) => {
                    let from = answer.len().saturating_sub(end.len());
                    answer.extend_from_slice(&buffer[..count]);
                    if !end.is_empty() && answer[from..].windows(end.len()).any(|seen| seen == end) {
                        return Ok(answer);
                    }
                }
                Err(cause) if is_pause(&cause) => {}
                Err(cause) if cause.kind() == Io::ConnectionReset && !answer.is_empty() => return Ok(answer),
                Err(cause) => return Err(failed(self.address, &cause)),
            }
            in_time(self.address, self.until, self.give_up)?;
        }
        if end.is_empty() {
            return Ok(answer);
        }
        Err(HostError::new(
            ErrorKind::Failed,
            "sockets/too-large",
            format!("the answer of {} has not ended after {bytes_max} bytes", self.address),
        ))
    }
}

/// Looking up a name cannot be interrupted, so it waits in a thread of its own.
fn open_tcp(
    address: &str,
    host: &str,
    port: u16,
    until: Instant,
    give_up: &dyn Fn() -> bool,
) -> Result<TcpStream, HostError> {
    in_time(address, until, give_up)?;
    let (sender, receiver) = channel();
    let host = host.to_owned();
    std::thread::Builder::new()
        .name("socket".to_owned())
        .spawn(move || {
            // The other end is gone when nobody waits any more.
            let _ = sender.send(connect_first(&host, port, until));
        })
        .map_err(|cause| failed(address, &cause))?;
    loop {
        match receiver.recv_timeout(TICK) {
            Ok(opened) => return opened.map_err(|cause| failed(address, &cause)),
            Err(RecvTimeoutError::Timeout) => in_time(address, until, give_up)?,
            Err(RecvTimeoutError::Disconnected) => return Err(failed(address, &Io::Other.into())),
        }
    }
}

/// The first of the name's addresses that answers; else why the last did not.
fn connect_first(host: &str, port: u16, until: Instant) -> std::io::Result<TcpStream> {
    let mut cause = std::io::Error::new(Io::HostUnreachable, "the name has no address");
    let found: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|cause| std::io::Error::new(Io::HostUnreachable, cause))?
        .collect();
    for address in found {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Io::TimedOut.into());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return Ok(stream),
            Err(why) => cause = why,
        }
    }
    Err(cause)
}

/// A listener whose queue is full would hold a plain connect for ever.
fn open_unix(
    address: &str,
    path: &str,
    until: Instant,
    give_up: &dyn Fn() -> bool,
) -> Result<UnixStream, HostError> {
    let failed = |errno: rustix::io::Errno| failed(address, &errno.into());
    let place = SocketAddrUnix::new(path).map_err(failed)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(failed)?;
    loop {
        in_time(address, until, give_up)?;
        match rustix::net::connect(&socket, &place) {
            Ok(()) => return Ok(UnixStream::from(socket)),
            Err(rustix::io::Errno::AGAIN) => sleep(TICK / 5),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
}

fn is_pause(cause: &std::io::Error) -> bool {
    matches!(cause.kind(), Io::WouldBlock | Io::TimedOut | Io::Interrupted)
}

fn in_time(address: &str, until: Instant, give_up: &dyn Fn() -> bool) -> Result<(), HostError> {
    if give_up() {
        return Err(HostError::new(
            ErrorKind::Cancelled,
            "sockets/cancelled",
            format!("stopped while {address} was asked"),
        ));
    }
    if Instant::now() < until {
        return Ok(());
    }
    Err(timed_out(address))
}

fn timed_out(address: &str) -> HostError {
    HostError::new(ErrorKind::TimedOut, "sockets/timed-out", format!("{address} did not answer in time"))
}

fn failed(address: &str, cause: &std::io::Error) -> HostError {
    let (kind, code, what) = match cause.kind() {
        Io::TimedOut => return timed_out(address),
        // A local socket that is not there has no listener either.
        Io::ConnectionRefused | Io::NotFound => {
            (ErrorKind::Transient, "sockets/refused", "nobody listens at")
        }
        Io::HostUnreachable | Io::NetworkUnreachable | Io::NetworkDown | Io::AddrNotAvailable => {
            (ErrorKind::Transient, "sockets/unreachable", "there is no way to")
        }
        Io::PermissionDenied => (ErrorKind::Failed, "sockets/permission", "this agent may not speak to"),
        _ => (ErrorKind::Failed, "sockets/failed", "the exchange failed with"),
    };
    HostError::new(kind, code, format!("{what} {address}: {cause}"))
}

#[cfg(test)]
mod tests;
