use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread::{JoinHandle, spawn};

use super::*;

fn asked(address: &str, data: &str, until: &str, bytes_max: u32) -> Exchange {
    Exchange {
        address: address.to_owned(),
        data: data.as_bytes().to_vec(),
        until: until.as_bytes().to_vec(),
        bytes_max,
        timeout_ms: 400,
    }
}

fn ask(asked: &Exchange) -> Result<Vec<u8>, HostError> {
    exchange(asked, Instant::now() + Duration::from_secs(5), &|| false)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

/// Takes one connection, answers each part after a pause, and hangs up when told.
fn serve(parts: &'static [&'static str], hangs_up: bool) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let thread = spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).unwrap();
        for part in parts {
            stream.write_all(part.as_bytes()).unwrap();
            sleep(Duration::from_millis(20));
        }
        if !hangs_up {
            sleep(Duration::from_millis(700));
        }
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    });
    (address, thread)
}

#[test]
fn an_answer_ends_at_its_mark_even_when_it_comes_in_two_parts() {
    let (address, server) = serve(&["+PO", "NG\r", "\nmore"], false);
    assert_eq!(ask(&asked(&address, "PING\r\n", "\r\n", 100)).unwrap(), b"+PONG\r\nmore");
    assert_eq!(server.join().unwrap(), "PING\r\n");
}

#[test]
fn without_a_mark_an_answer_ends_with_the_connection_or_at_its_limit() {
    let (address, server) = serve(&["a", "b", "c"], true);
    assert_eq!(ask(&asked(&address, "x", "", 100)).unwrap(), b"abc");
    server.join().unwrap();
    let (address, server) = serve(&["abcdef"], false);
    assert_eq!(ask(&asked(&address, "x", "", 4)).unwrap(), b"abcd");
    server.join().unwrap();
}

#[test]
fn an_answer_without_its_mark_is_too_large_and_a_silent_peer_is_left_in_time() {
    let (address, server) = serve(&["abcdef"], false);
    assert_eq!(ask(&asked(&address, "x", "\n", 4)).unwrap_err().code, "sockets/too-large");
    server.join().unwrap();
    let (address, server) = serve(&[], false);
    let started = Instant::now();
    let error = ask(&asked(&address, "x", "\n", 4)).unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::TimedOut, "sockets/timed-out"));
    assert!(started.elapsed() < Duration::from_secs(2));
    server.join().unwrap();
}

#[test]
fn who_gives_up_does_not_wait_for_the_time_limit() {
    let (address, server) = serve(&[], false);
    let long = Exchange { timeout_ms: 60_000, ..asked(&address, "x", "\n", 4) };
    let started = Instant::now();
    let error = exchange(&long, soon(), &|| started.elapsed() > Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled);
    assert!(started.elapsed() < Duration::from_secs(2));
    server.join().unwrap();
}

#[test]
fn a_closed_port_and_a_missing_socket_have_no_listener() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let missing = format!("unix://{}/none.sock", folder.path().display());
    for address in [format!("tcp://127.0.0.1:{port}"), missing] {
        let error = probe(&address, Duration::from_millis(400), soon()).unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Transient, "sockets/refused"), "{address}");
    }
}

#[test]
fn a_local_socket_and_both_families_are_reached() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.sock");
    let local = UnixListener::bind(&path).unwrap();
    let four = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut addresses = vec![
        format!("unix://{}", path.display()),
        format!("tcp://{}", four.local_addr().unwrap()),
        format!("tcp://localhost:{}", four.local_addr().unwrap().port()),
    ];
    // A machine without IPv6 has no such listener to reach.
    let six = TcpListener::bind("[::1]:0").ok();
    addresses.extend(six.iter().map(|six| format!("tcp://{}", six.local_addr().unwrap())));
    for address in addresses {
        assert!(probe(&address, Duration::from_secs(2), soon()).unwrap() > 0, "{address}");
    }
    drop(local);
}

#[test]
fn a_listener_that_takes_nobody_in_is_left_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full.sock");
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let address = format!("unix://{}", path.display());
    let waits: Vec<UnixStream> = (0..1).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let error = probe(&address, Duration::from_millis(200), soon()).unwrap_err();
    assert_eq!(error.code, "sockets/timed-out", "{error}");
    drop(waits);
}

#[test]
fn addresses_with_two_readings_are_refused() {
    for bad in [
        "127.0.0.1:80",
        "http://127.0.0.1:80",
        "tcp://127.0.0.1",
        "tcp://:80",
        "tcp://h:0",
        "tcp://h:65536",
        "tcp://h:+80",
        "tcp://u@h:80",
        "tcp://h:80/x",
        "tcp://::1:80x",
        "tcp://[h]:80",
        "tcp://[::1]80",
        "tcp://-h:80",
        "unix://run/x",
        "unix:///run/../x",
        "unix:///",
        "unix:///run//x",
    ] {
        assert_eq!(Address::parse(bad).unwrap_err().code, "sockets/bad-address", "{bad}");
    }
    assert_eq!(Address::parse("tcp://[::1]:80").unwrap(), Address::Tcp("::1".into(), 80));
    assert_eq!(Address::parse("unix:///run/x.sock").unwrap(), Address::Unix("/run/x.sock".into()));
    let large = Exchange { data: vec![0; DATA_BYTES_MAX + 1], ..asked("tcp://127.0.0.1:1", "", "", 1) };
    assert_eq!(ask(&large).unwrap_err().code, "sockets/bad-request");
}

/// Ended when the test ends, however it ends.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_haproxy_is_asked_and_told_over_both_kinds_of_sockets() {
    let program = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"].map(std::path::Path::new);
    let Some(program) = program.into_iter().find(|program| program.exists()) else {
        let test = "a_real_haproxy_is_asked_and_told_over_both_kinds_of_sockets";
        let _ = writeln!(std::io::stdout(), "skipped  {test}: haproxy is not installed");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let configuration = format!(
        "global\n  stats socket {place}/admin.sock mode 600 level admin\n  \
         stats socket ipv4@127.0.0.1:{port} level operator\n\
         defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n\
         backend app\n  server blue 127.0.0.1:1 weight 10\n"
    );
    let file = folder.path().join("haproxy.cfg");
    std::fs::write(&file, configuration).unwrap();
    let quiet = std::process::Stdio::null;
    let mut command = std::process::Command::new(program);
    command.arg("-db").arg("-f").arg(&file).stdout(quiet()).stderr(quiet());
    let running = Running(command.spawn().unwrap());
    let (local, tcp) = (format!("unix://{place}/admin.sock"), format!("tcp://127.0.0.1:{port}"));
    for address in [&local, &tcp] {
        let given_up = Instant::now() + Duration::from_secs(20);
        while probe(address, Duration::from_secs(1), soon()).is_err() {
            assert!(Instant::now() < given_up, "{address} does not listen");
            sleep(Duration::from_millis(20));
        }
    }
    let say = |address: &str, line: &str| {
        let asked = Exchange { timeout_ms: 5_000, ..asked(address, line, "", 64 * 1024) };
        String::from_utf8(ask(&asked).unwrap()).unwrap()
    };
    assert_eq!(say(&local, "get weight app/blue\n").trim(), "10 (initial 10)");
    assert_eq!(say(&local, "set server app/blue weight 25\n").trim(), "");
    assert_eq!(say(&tcp, "get weight app/blue\n").trim(), "25 (initial 10)");
    assert!(say(&tcp, "set server app/blue weight 30\n").contains("Permission denied"));
    drop(running);
}
