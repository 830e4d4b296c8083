//! HAProxy while it runs: the servers are read, noted, told, and read back.

use sternway_plugin::host::control;
use sternway_plugin::host::sockets::{self, Exchange};
use sternway_plugin::{Error, Failure, Finding, IntoFailure, Verdict, Verification, memory};

use crate::decide::{Shares, action};
use crate::haproxy::{self, Server, WEIGHT_MAX};
use crate::share::Share;
use crate::{Done, Seen};

const ANSWER_BYTES_MAX: u32 = 1 << 20;
const ANSWER_MS_MAX: u64 = 5_000;
const PAUSE_MS: u64 = 200;
/// The journal's key for the servers as they were.
const BEFORE: &str = "before";

pub(crate) fn look(address: &str, backend: &str, shares: &Shares) -> Result<Seen, Error> {
    let now = read(address, backend)?;
    let to = wanted(&now, shares)?;
    let pairs = now.iter().zip(&to).filter(|(now, to)| now != to);
    let actions = pairs.map(|(now, to)| action(backend, &now.name, now.share(), to.share())).collect();
    let mut findings = Vec::new();
    if let Err(error) = somebody_works(&now, &to, backend) {
        findings.push(Finding::note(&error.code, error.message));
    }
    Ok((actions, findings))
}

pub(crate) fn apply(address: &str, backend: &str, shares: &Shares, within_ms: u64) -> Result<Done, Failure> {
    let now = read(address, backend)?;
    let to = wanted(&now, shares)?;
    let before: Vec<Server> = match memory::recall(BEFORE)? {
        Some(before) => before,
        None => {
            somebody_works(&now, &to, backend)?;
            memory::first(BEFORE, now.clone())?
        }
    };
    tell(address, backend, &now, &to)?;
    let begun = control::now_ms();
    loop {
        let after = read(address, backend)?;
        if !haproxy::same(&after, &to) {
            return Err(not_taken(backend).into());
        }
        match somebody_works(&after, &to, backend) {
            Ok(()) => break,
            Err(error) if control::now_ms() >= begun + within_ms => return Err(error.into()),
            Err(_) => {}
        }
        if !control::sleep(PAUSE_MS) {
            return Err(Error::cancelled("stopped while the servers were waited for").into());
        }
    }
    let told: Vec<String> = to.iter().map(|server| format!("{} {}", server.name, server.share())).collect();
    Ok(Done::new(!haproxy::same(&before, &to), format!("{backend}: {}", told.join(", "))))
}

pub(crate) fn verify(address: &str, backend: &str, shares: &Shares) -> Result<Vec<Verification>, Error> {
    let now = read(address, backend)?;
    let to = wanted(&now, shares)?;
    let proofs = now.iter().zip(&to).map(|(now, to)| Verification {
        name: format!("{backend} {}", now.name),
        verdict: if now == to { Verdict::Pass } else { Verdict::Fail },
        measured: Some(now.share().to_string()),
        expected: Some(to.share().to_string()),
        message: String::new(),
    });
    Ok(proofs.collect())
}

pub(crate) fn undo(address: &str, backend: &str) -> Result<Done, Failure> {
    let Some(before) = memory::recall::<Vec<Server>>(BEFORE)? else {
        return Ok(Done::new(false, format!("{backend} was not touched")));
    };
    let now = read(address, backend)?;
    if let Some(gone) = before.iter().find(|before| !now.iter().any(|now| now.name == before.name)) {
        let message = format!("the server {} of {backend} is gone and cannot be put back", gone.name);
        return Err(Error::conflict("traffic/server-gone", message).hands_off());
    }
    let changed = tell(address, backend, &now, &before)?;
    let after = read(address, backend)?;
    // A server that somebody added meanwhile is none of ours.
    let ours: Vec<Server> =
        after.into_iter().filter(|now| before.iter().any(|one| one.name == now.name)).collect();
    if !haproxy::same(&ours, &before) {
        return Err(not_taken(backend).into());
    }
    Ok(Done::new(changed, format!("{backend} has its earlier weights and states")))
}

/// Every server as it is to be, in the order of `now`.
fn wanted(now: &[Server], shares: &Shares) -> Result<Vec<Server>, Error> {
    let pool: Vec<(String, Share)> = now.iter().map(|server| (server.name.clone(), server.share())).collect();
    let wanted = shares.of(&pool, WEIGHT_MAX)?;
    let to = |server: &Server| match wanted.iter().find(|(name, _)| *name == server.name) {
        Some((_, share)) => server.with(*share),
        None => server.clone(),
    };
    Ok(now.iter().map(to).collect())
}

/// One that rests cannot work yet: whether it does shows once it is ready.
fn somebody_works(now: &[Server], to: &[Server], backend: &str) -> Result<(), Error> {
    let may_work = |to: &Server| {
        let now = now.iter().find(|now| now.name == to.name);
        now.is_some_and(|now| now.running || now.state != to.state)
    };
    if to.iter().any(|to| to.share().receives() && may_work(to)) {
        return Ok(());
    }
    let message = format!("none of the servers of {backend} that are to get traffic works");
    Err(Error::failed("traffic/nobody-works", message))
}

/// Answers whether anything had to be told.
fn tell(address: &str, backend: &str, now: &[Server], to: &[Server]) -> Result<bool, Error> {
    let Some(commands) = haproxy::commands(backend, now, to) else { return Ok(false) };
    let answer = sockets::tell(&exchange(address, commands))?;
    let told = String::from_utf8_lossy(&answer);
    if !told.trim().is_empty() {
        let told: String = told.trim().chars().take(200).collect();
        return Err(Error::failed("traffic/haproxy-refuses", format!("HAProxy answered: {told}")));
    }
    Ok(true)
}

fn read(address: &str, backend: &str) -> Result<Vec<Server>, Error> {
    let answer = sockets::ask(&exchange(address, format!("show servers state {backend}\n")))?;
    haproxy::servers(&answer, backend)
}

/// HAProxy hangs up after one line of commands.
fn exchange(address: &str, line: String) -> Exchange {
    Exchange {
        address: address.to_owned(),
        data: line.into_bytes(),
        until: vec![],
        bytes_max: ANSWER_BYTES_MAX,
        timeout_ms: control::limits().remaining_ms.min(ANSWER_MS_MAX),
    }
}

fn not_taken(backend: &str) -> Error {
    Error::failed("traffic/not-taken", format!("{backend} does not show what HAProxy was told"))
}
