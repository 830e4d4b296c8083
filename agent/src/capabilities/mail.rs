//! Mail over the relay this host is configured with. One letter, one recipient
//! address, plain text; the relay does the rest.

use std::fmt;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use lettre::Transport;
use lettre::address::Address;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{Error as Refused, SmtpTransport};

use crate::capabilities::{ErrorKind, HostError, secrets};

/// The longest body, in bytes.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
const SUBJECT_BYTES_MAX: usize = 500;
/// For one answer of the relay; the deadline is over all of them.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// How the connection to the relay is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Not at all; for a relay on this host.
    None,
    /// Asked for after the greeting; refused when the relay cannot.
    StartTls,
    /// From the first byte.
    Tls,
}

/// The relay, and how this host stands before it.
#[derive(Clone, PartialEq, Eq)]
pub struct MailSettings {
    /// Its name, which its certificate has to carry.
    pub relay: String,
    /// 25, 587 (`StartTls`), 465 (`Tls`) ...
    pub port: u16,
    /// See [`Security`].
    pub tls: Security,
    /// The sender of every letter: `a@b` or `Name <a@b>`.
    pub from: String,
    /// With `password_file`, when the relay asks who we are.
    pub user: Option<String>,
    /// Mode 0600, read anew for each letter.
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) trusted besides the public ones.
    pub authority: Option<PathBuf>,
    /// How we call ourselves in the greeting; also the right half of message ids.
    pub hello_name: String,
}

impl fmt::Debug for MailSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailSettings")
            .field("relay", &self.relay)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Sends letters; a host without settings refuses them.
#[derive(Debug, Clone, Default)]
pub struct Mailer {
    settings: Option<MailSettings>,
}

impl Mailer {
    /// Over this relay.
    pub fn new(settings: MailSettings) -> Self {
        Self { settings: Some(settings) }
    }

    /// Sends one letter, waiting at most until `deadline`. The same `key` gives
    /// the same message id, so that a repeated letter is seen as the same.
    ///
    /// # Errors
    /// `mail/not-configured`, `mail/bad-letter`, `mail/refused` (for good),
    /// `mail/refused-for-now` and `mail/unreachable` (try again), `mail/timed-out`.
    pub fn send(
        &self,
        to: &str,
        subject: &str,
        body: &str,
        key: &str,
        deadline: Instant,
    ) -> Result<(), HostError> {
        let Some(settings) = &self.settings else {
            return Err(HostError::new(
                ErrorKind::Unsupported,
                "mail/not-configured",
                "this host has no mail relay: its configuration needs [mail]",
            ));
        };
        let letter = settings.letter(to, subject, body, key)?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(settings.timed_out());
        }
        let transport = settings.transport(left.min(ANSWER_TIME))?;
        // A relay may take its time for each of many answers: the thread ends by
        // itself, and nobody waits for it longer than the deadline.
        let (sender, receiver) = channel();
        std::thread::Builder::new()
            .name("mail".to_owned())
            .spawn(move || {
                let _ = sender.send(transport.send(&letter).map(|_| ()));
            })
            .map_err(|cause| HostError::from_io("mail", "could not start to send", &cause))?;
        match receiver.recv_timeout(left) {
            Ok(sent) => sent.map_err(|refused| settings.failed(to, &refused)),
            Err(_) => Err(settings.timed_out()),
        }
    }
}

impl MailSettings {
    /// Why these cannot work, found without speaking to anybody.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let name = |text: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
            !text.is_empty() && text.len() <= 253 && text.bytes().all(plain)
        };
        if !name(&self.relay) || self.port == 0 {
            problems.push("`relay` and `port` name no relay".to_owned());
        }
        if !name(&self.hello_name) {
            problems.push("`hello-name` is no name of a host".to_owned());
        }
        if self.from.parse::<Mailbox>().is_err() {
            problems.push(format!("`from` is no address: `{}`", self.from.escape_debug()));
        }
        if self.user.is_some() != self.password_file.is_some() {
            problems.push("`user` and `password-file` belong together".to_owned());
        }
        if self.user.is_some() && self.tls == Security::None && !is_here(&self.relay) {
            problems.push("a password would cross the network unprotected: set `tls`".to_owned());
        }
        problems
    }

    fn letter(&self, to: &str, subject: &str, body: &str, key: &str) -> Result<Message, HostError> {
        let refuse = |reason: &str| HostError::new(ErrorKind::Invalid, "mail/bad-letter", reason);
        // A line of its own in a header would be a header of its own.
        if [to, subject, key].iter().any(|text| text.chars().any(char::is_control)) {
            return Err(refuse("the recipient, the subject or the key holds control characters"));
        }
        if subject.len() > SUBJECT_BYTES_MAX || body.len() > BODY_BYTES_MAX || body.contains('\0') {
            return Err(refuse("the subject is over 500 bytes, or the body over 256 KiB, or holds a NUL"));
        }
        if key.is_empty() || key.len() > 200 {
            return Err(refuse("the key has to have 1 to 200 bytes"));
        }
        let to: Address = to.parse().map_err(|_| refuse("the recipient is no mail address"))?;
        let from: Mailbox = self.from.parse().map_err(|_| refuse("`from` in [mail] is no mail address"))?;
        Message::builder()
            .from(from)
            .to(Mailbox::new(None, to))
            .subject(subject)
            .message_id(Some(format!("<{}@{}>", id_of(key), self.hello_name)))
            .header(ContentType::TEXT_PLAIN)
            .body(body.to_owned())
            .map_err(|cause| refuse(&format!("the letter cannot be written: {cause}")))
    }

    fn transport(&self, answer_time: Duration) -> Result<SmtpTransport, HostError> {
        let tls = match self.tls {
            Security::None => Tls::None,
            Security::StartTls => Tls::Required(self.parameters()?),
            Security::Tls => Tls::Wrapper(self.parameters()?),
        };
        let mut builder = SmtpTransport::builder_dangerous(&self.relay)
            .port(self.port)
            .tls(tls)
            .hello_name(ClientId::Domain(self.hello_name.clone()))
            .timeout(Some(answer_time));
        if let (Some(user), Some(path)) = (&self.user, &self.password_file) {
            let text = secrets::read_private(path)?;
            let password = text.strip_suffix('\n').unwrap_or(&text).to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(builder.build())
    }

    fn parameters(&self) -> Result<TlsParameters, HostError> {
        let refuse = |what: String| HostError::new(ErrorKind::Failed, "mail/tls", what);
        let mut builder = TlsParameters::builder(self.relay.clone());
        if let Some(path) = &self.authority {
            let pem = std::fs::read(path)
                .map_err(|cause| refuse(format!("could not read `{}`: {cause}", path.display())))?;
            let certificate = Certificate::from_pem(&pem)
                .map_err(|_| refuse(format!("`{}` holds no certificate", path.display())))?;
            builder = builder.add_root_certificate(certificate);
        }
        builder.build().map_err(|cause| refuse(format!("cannot protect the connection: {cause}")))
    }

    fn failed(&self, to: &str, refused: &Refused) -> HostError {
        let relay = format!("{}:{}", self.relay, self.port);
        // The relay's own words, on one line.
        let words: String = refused.to_string().chars().filter(|c| !c.is_control()).take(300).collect();
        let (kind, code, what) = if refused.is_permanent() {
            (ErrorKind::Failed, "mail/refused", "refused")
        } else if refused.is_transient() {
            (ErrorKind::Transient, "mail/refused-for-now", "refused for now")
        } else if refused.is_timeout() {
            return self.timed_out();
        } else if refused.is_tls() || refused.is_client() || is_no_tls(refused) {
            (ErrorKind::Failed, "mail/not-possible", "could not take")
        } else {
            (ErrorKind::Transient, "mail/unreachable", "could not be reached for")
        };
        HostError::new(kind, code, format!("the mail relay {relay} {what} a letter to {to}: {words}"))
    }

    fn timed_out(&self) -> HostError {
        HostError::new(
            ErrorKind::TimedOut,
            "mail/timed-out",
            format!("the mail relay {}:{} did not answer in time", self.relay, self.port),
        )
    }
}

/// The left half of a message id: what is not plain is written as `=` and two digits.
fn id_of(key: &str) -> String {
    key.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
            _ => format!("={byte:02x}"),
        })
        .collect()
}

/// A certificate that is not trusted, or an answer that is no TLS at all: an
/// error of the network to the library, but one that waiting does not mend.
fn is_no_tls(refused: &Refused) -> bool {
    let causes = std::iter::successors(std::error::Error::source(refused), |cause| cause.source());
    let mut causes = causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.any(|cause| cause.kind() == std::io::ErrorKind::InvalidData)
}

fn is_here(relay: &str) -> bool {
    matches!(relay, "localhost" | "127.0.0.1" | "::1")
}

#[cfg(test)]
mod tests;
