use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::thread::JoinHandle;

use super::*;

/// A relay for one letter: takes all, but answers `word` with `answer`. What it
/// heard comes back when the letter is over.
fn relay(word: &'static str, answer: &'static str) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut out = stream.try_clone().unwrap();
        let mut heard = String::new();
        let mut say = |text: &str| out.write_all(format!("{text}\r\n").as_bytes()).is_ok();
        say("220 relay ready");
        let mut in_body = false;
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { break };
            heard.push_str(&line);
            heard.push('\n');
            if in_body && line != "." {
                continue;
            }
            let verb = if in_body { "." } else { line.split(' ').next().unwrap_or_default() };
            in_body = false;
            if verb == word {
                if !say(answer) {
                    break;
                }
                continue;
            }
            let known = match verb {
                "EHLO" => "250-relay\r\n250 AUTH PLAIN",
                "AUTH" => "235 you are you",
                "DATA" => {
                    in_body = true;
                    "354 go on"
                }
                "QUIT" => "221 bye",
                _ => "250 ok",
            };
            if !say(known) || verb == "QUIT" {
                break;
            }
        }
        heard
    });
    (port, thread)
}

fn settings(port: u16) -> MailSettings {
    MailSettings {
        relay: "127.0.0.1".into(),
        port,
        tls: Security::None,
        from: "Sternway <ops@example.org>".into(),
        user: None,
        password_file: None,
        authority: None,
        hello_name: "host-1.example.org".into(),
    }
}

fn send(settings: MailSettings) -> Result<(), HostError> {
    let deadline = Instant::now() + Duration::from_secs(5);
    Mailer::new(settings).send("team@example.org", "Rolled back", "Grüße.\n.\nend", "run-7/notice", deadline)
}

#[test]
fn a_letter_carries_its_key_as_message_id_and_arrives_whole() {
    let (port, thread) = relay("", "");
    send(settings(port)).unwrap();
    let heard = thread.join().unwrap();
    for part in [
        "EHLO host-1.example.org\n",
        "MAIL FROM:<ops@example.org>",
        "RCPT TO:<team@example.org>",
        "Message-ID: <run-7=2fnotice@host-1.example.org>\n",
        "Subject: Rolled back\n",
        "From: ",
        "Date: ",
    ] {
        assert!(heard.contains(part), "{part} is missing in {heard}");
    }
}

#[test]
fn a_password_is_given_to_the_relay_and_to_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    std::fs::write(&path, "hunter22\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (port, thread) = relay("AUTH", "535 not you");
    let with = MailSettings { user: Some("ops".into()), password_file: Some(path.clone()), ..settings(port) };
    let error = send(with.clone()).unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Failed, "mail/refused"));
    assert!(!format!("{error} {with:?}").contains("hunter22"));
    // base64 of NUL ops NUL hunter22
    assert!(thread.join().unwrap().contains("AUTH PLAIN AG9wcwBodW50ZXIyMg=="));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(send(with).unwrap_err().code, "secrets/open-to-others");
}

#[test]
fn what_a_relay_refuses_for_now_may_be_tried_again_and_the_rest_not() {
    for (word, answer, kind, code) in [
        ("RCPT", "450 greylisted", ErrorKind::Transient, "mail/refused-for-now"),
        ("RCPT", "550 nobody of that name", ErrorKind::Failed, "mail/refused"),
        (".", "451 disk full", ErrorKind::Transient, "mail/refused-for-now"),
        (".", "554 spam", ErrorKind::Failed, "mail/refused"),
    ] {
        let (port, thread) = relay(word, answer);
        let error = send(settings(port)).unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (kind, code), "{answer}: {error}");
        thread.join().unwrap();
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = send(settings(port)).unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Transient, "mail/unreachable"));
}

#[test]
fn a_relay_that_says_nothing_is_left_at_the_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let started = Instant::now();
    let deadline = started + Duration::from_millis(300);
    let error = Mailer::new(settings(port)).send("a@example.org", "s", "b", "k", deadline).unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::TimedOut, "mail/timed-out"));
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_relay_that_cannot_protect_the_line_gets_no_letter() {
    let (port, thread) = relay("", "");
    let error = send(MailSettings { tls: Security::StartTls, ..settings(port) }).unwrap_err();
    assert_eq!(error.code, "mail/not-possible", "{error}");
    assert!(!thread.join().unwrap().contains("MAIL FROM"));
    // It greets in plain text where TLS is spoken from the first byte.
    let (port, thread) = relay("", "");
    let error = send(MailSettings { tls: Security::Tls, ..settings(port) }).unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Failed, "mail/not-possible"), "{error}");
    assert!(!thread.join().unwrap().contains("MAIL FROM"));
}

#[test]
fn a_header_cannot_be_smuggled_in_and_a_host_without_a_relay_says_so() {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mailer = Mailer::new(settings(1));
    for (to, subject, key) in [
        ("a@example.org\r\nBcc: b@example.org", "s", "k"),
        ("a@example.org", "s\nBcc: b@example.org", "k"),
        ("a@example.org", "s", "k>\r\nBcc: b@example.org"),
        ("a@example.org, b@example.org", "s", "k"),
        ("nobody", "s", "k"),
        ("a@example.org", "s", ""),
    ] {
        let error = mailer.send(to, subject, "b", key, deadline).unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_str()),
            (ErrorKind::Invalid, "mail/bad-letter"),
            "{to} {subject}"
        );
    }
    let error = Mailer::default().send("a@example.org", "s", "b", "k", deadline).unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unsupported, "mail/not-configured"));
}

#[test]
fn settings_that_cannot_work_are_told_before_the_first_letter() {
    assert_eq!(settings(25).problems(), Vec::<String>::new());
    let away = MailSettings {
        relay: "mail.example.org".into(),
        user: Some("ops".into()),
        password_file: Some("/etc/x".into()),
        ..settings(25)
    };
    assert_eq!(away.problems().len(), 1);
    let wrong = MailSettings {
        relay: "mail example".into(),
        from: "nobody".into(),
        hello_name: String::new(),
        user: Some("ops".into()),
        ..settings(25)
    };
    assert_eq!(wrong.problems().len(), 5, "{:?}", wrong.problems());
}
