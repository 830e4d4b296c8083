//! `tcp` against listeners that are real, and killed at every host call.

#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the test where it stands")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use sternway_plugin::Error;
use sternway_plugin::host::sockets::Exchange;
use sternway_plugin::rehearsal::{Goal, World, crash_matrix, try_run};
use tcp::Tcp;

fn connect(address: &str) -> Result<TcpStream, Error> {
    let place = address.strip_prefix("tcp://").unwrap();
    let stream =
        TcpStream::connect(place).map_err(|cause| Error::failed("sockets/refused", cause.to_string()))?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    Ok(stream)
}

/// Asks whoever really listens.
fn really(_: &mut World, asked: &Exchange) -> Result<Vec<u8>, Error> {
    let mut stream = connect(&asked.address)?;
    stream.write_all(&asked.data).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(&asked.until) && matches!(stream.read(&mut byte), Ok(1)) {
        answer.push(byte[0]);
    }
    Ok(answer)
}

fn world() -> World {
    World {
        sockets: Some(really),
        probes: Some(|_, address| connect(address).map(|_| 300)),
        ..World::default()
    }
}

/// Answers every `PING` line with `+PONG`, until the test ends.
fn pong() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = [0; 64];
            if matches!(stream.read(&mut buffer), Ok(count) if buffer[..count] == *b"PING\r\n") {
                let _ = stream.write_all(b"+PONG\r\n");
            }
        }
    });
    address
}

fn nobody() -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("tcp://127.0.0.1:{port}")
}

fn refused(settings: &str) -> String {
    try_run::<Tcp>(world(), settings, None, Goal::Applied).1.unwrap_err().error.code
}

#[test]
fn who_answers_as_expected_is_left_alone_through_every_crash() {
    let settings = format!(r#"{{"connect":"{}","send":"PING\r\n","expect":"+PONG","for":"1s"}}"#, pong());
    assert!(crash_matrix::<Tcp>(&world(), &settings, None) > 0);
    let both = format!(r#"{{"connect":["{}","{}"]}}"#, pong(), pong());
    assert!(crash_matrix::<Tcp>(&world(), &both, None) > 0);
}

#[test]
fn a_port_that_nobody_holds_is_proved_closed() {
    let settings = format!(r#"{{"connect":"{}","closed":true,"for":"1s"}}"#, nobody());
    assert!(crash_matrix::<Tcp>(&world(), &settings, None) > 0);
}

#[test]
fn what_is_not_as_expected_fails_by_code() {
    let (open, shut) = (pong(), nobody());
    assert_eq!(refused(&format!(r#"{{"connect":"{open}","closed":true}}"#)), "tcp/open");
    assert_eq!(refused(&format!(r#"{{"connect":"{shut}","within":"1s"}}"#)), "tcp/unexpected");
    assert_eq!(refused(&format!(r#"{{"connect":["{open}","{shut}"]}}"#)), "tcp/unexpected");
    let wrong = format!(r#"{{"connect":"{open}","send":"PING\r\n","expect":"+OK","until":"\n"}}"#);
    assert_eq!(refused(&wrong), "tcp/unexpected");
    assert_eq!(refused(r#"{"connect":"127.0.0.1:80"}"#), "tcp/address");
}

#[test]
fn a_host_that_does_not_permit_it_is_not_taken_for_a_closed_port() {
    let denied = |_: &mut World, _: &str| {
        Err(Error {
            kind: sternway_plugin::Kind::Denied,
            code: "sockets/outside-policy".into(),
            message: String::new(),
        })
    };
    let world = World { probes: Some(denied), ..World::default() };
    let ended = try_run::<Tcp>(world, r#"{"connect":"tcp://a:1","closed":true}"#, None, Goal::Applied);
    assert_eq!(ended.1.unwrap_err().error.code, "sockets/outside-policy");
}
