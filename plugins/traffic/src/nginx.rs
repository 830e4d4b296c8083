//! nginx: a file or link is exchanged for what was staged beside it, the whole
//! configuration is tested, and only then reloaded. What the test refuses is
//! put back before anything was reloaded.

use serde::{Deserialize, Serialize};
use sternway_plugin::exchange::{self, Standing};
use sternway_plugin::host::files::{self, Node, Place};
use sternway_plugin::host::programs::{self, Call, Ended};
use sternway_plugin::host::systemd::{self, Active, Job};
use sternway_plugin::{Action, Error, Failure, Risk, Verdict, Verification, memory};

use crate::decide::{Nginx, Shares, Wanted, action};
use crate::share::Share;
use crate::upstream::{self, Server};
use crate::{Done, Seen};

const FILE_BYTES_MAX: u32 = 1 << 20;
const TIMEOUT_MS: u64 = 30_000;
/// The journal's key for whether nginx may run with the new file.
const TOUCHED: &str = "touched";

/// What waits beside a path.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Staged {
    /// What stood there when it was staged.
    from: Option<String>,
    to: Option<String>,
}

impl Nginx {
    pub(crate) fn apply(&self, path: &str, staged: Option<&Staged>) -> Result<Done, Failure> {
        let Some(staged) = staged else { return Ok(Done::new(false, format!("{path} is so already"))) };
        if exchange::standing(path)? == Standing::Before
            && exchange::digest(Place::Live, path)? != staged.from
        {
            let message = format!("{path} was changed by somebody else since it was looked at");
            return Err(Error::conflict("traffic/changed-since", message).into());
        }
        memory::keep(TOUCHED, &true)?;
        let changed = exchange::put(path, staged.to.as_deref())?;
        if let Err(error) = self.test() {
            exchange::put_back(path)?;
            memory::keep(TOUCHED, &false)?;
            return Err(error.into());
        }
        let how = self.reload("reload")?;
        Ok(Done::new(changed, format!("{path} switched, {how}")))
    }

    pub(crate) fn undo(&self, path: &str) -> Result<Done, Failure> {
        if memory::recall(TOUCHED)? != Some(true) {
            // A crash may have come between putting back and noting it.
            exchange::put_back(path)?;
            return Ok(Done::new(false, format!("{path} was not switched")));
        }
        let changed = exchange::put_back(path)?;
        self.test()?;
        let how = self.reload("reload back")?;
        memory::keep(TOUCHED, &false)?;
        Ok(Done::new(changed, format!("{path} put back, {how}")))
    }

    fn test(&self) -> Result<(), Error> {
        let ended = programs::ask(&self.call("nginx.test"))?;
        accepted(&ended, "traffic/nginx-refuses", "nginx does not accept its configuration")
    }

    /// Answers how, for people.
    fn reload(&self, key: &str) -> Result<String, Error> {
        let Some(unit) = &self.unit else {
            let ended = programs::run(key, &self.call("nginx.reload"))?;
            accepted(&ended, "traffic/reload", "nginx could not be reloaded")?;
            return Ok("nginx reloaded".to_owned());
        };
        if !matches!(systemd::get_unit(unit)?.active, Active::Active | Active::Reloading) {
            return Ok(format!("{unit} does not run"));
        }
        systemd::run_job(unit, Job::Reload, TIMEOUT_MS)?;
        Ok(format!("{unit} reloaded"))
    }

    fn call(&self, form: &str) -> Call {
        Call { form: form.to_owned(), on: self.config.clone(), holes: vec![], timeout_ms: TIMEOUT_MS }
    }
}

fn accepted(ended: &Ended, code: &str, what: &str) -> Result<(), Error> {
    if ended.code == Some(0) {
        return Ok(());
    }
    let told = ended.complaint.trim();
    let told = if told.is_empty() { "it said nothing" } else { told };
    Err(Error::failed(code, format!("{what}: {told}")))
}

pub(crate) fn look_switch(path: &str, wanted: &Wanted) -> Result<Seen, Error> {
    let now = standing(path)?;
    if is_as(&now, wanted) {
        return Ok((vec![], vec![]));
    }
    let change = Action {
        summary: format!("switch {path}"),
        target: path.to_owned(),
        before: Some(shown(&now)),
        after: Some(expected(wanted)),
        risk: Risk::High,
    };
    Ok((vec![change], vec![]))
}

/// What is staged, and for a link its digest.
pub(crate) fn stage_switch(path: &str, wanted: &Wanted) -> Result<(Option<Staged>, Option<String>), Error> {
    let from = exchange::digest(Place::Live, path)?;
    if is_as(&standing(path)?, wanted) {
        return Ok((None, None));
    }
    let to = match wanted {
        Wanted::Text(text) => {
            let text = text.as_deref().unwrap_or("on\n");
            Some(files::stage_bytes(path, text.as_bytes())?.sha256)
        }
        Wanted::Link(target) => Some(files::stage_link(path, target)?.sha256),
        Wanted::Nothing => None,
    };
    let link = to.clone().filter(|_| matches!(wanted, Wanted::Link(_)));
    if from == to {
        files::discard(path)?;
        return Ok((None, link));
    }
    Ok((Some(Staged { from, to }), link))
}

pub(crate) fn verify_switch(
    path: &str,
    wanted: &Wanted,
    link: Option<&str>,
) -> Result<Vec<Verification>, Error> {
    let now = standing(path)?;
    let right = match wanted {
        Wanted::Link(_) => link.is_some() && exchange::digest(Place::Live, path)?.as_deref() == link,
        _ => is_as(&now, wanted),
    };
    Ok(vec![proof(path, right, shown(&now), expected(wanted))])
}

/// What stands at a path, as far as it matters.
enum Now {
    Nothing,
    Text(String),
    Link,
    Other,
}

fn standing(path: &str) -> Result<Now, Error> {
    Ok(match files::get_attributes(Place::Live, path)?.map(|found| found.node) {
        None => Now::Nothing,
        Some(Node::File) => Now::Text(read(path)?),
        Some(Node::Symlink) => Now::Link,
        Some(_) => Now::Other,
    })
}

/// Where a link leads, only its digest can tell, and only once it is staged.
fn is_as(now: &Now, wanted: &Wanted) -> bool {
    match (now, wanted) {
        (Now::Nothing, Wanted::Nothing) | (Now::Text(_), Wanted::Text(None)) => true,
        (Now::Text(text), Wanted::Text(Some(wanted))) => text == wanted,
        _ => false,
    }
}

fn expected(wanted: &Wanted) -> String {
    match wanted {
        Wanted::Text(_) => "there".to_owned(),
        Wanted::Link(target) => format!("a link to {target}"),
        Wanted::Nothing => "not there".to_owned(),
    }
}

fn shown(now: &Now) -> String {
    match now {
        Now::Nothing => "not there".to_owned(),
        Now::Text(_) => "there".to_owned(),
        Now::Link => "a link".to_owned(),
        Now::Other => "neither a file nor a link".to_owned(),
    }
}

struct Pool {
    text: String,
    servers: Vec<Server>,
    wanted: Vec<(String, Share)>,
}

impl Pool {
    fn read(path: &str, block: Option<&str>, shares: &Shares) -> Result<Self, Error> {
        if files::get_attributes(Place::Live, path)?.is_none_or(|found| found.node != Node::File) {
            return Err(Error::not_found("traffic/no-file", format!("{path} is not a file")));
        }
        let text = read(path)?;
        let servers = upstream::servers(&text, block)?;
        let now: Vec<_> = servers.iter().map(|server| (server.name.clone(), server.share)).collect();
        let wanted = shares.of(&now, u32::from(u16::MAX))?;
        Ok(Self { text, servers, wanted })
    }

    fn wanted(&self, server: &Server) -> Option<Share> {
        self.wanted.iter().find(|(name, _)| *name == server.name).map(|(_, share)| *share)
    }
}

pub(crate) fn look_pool(path: &str, block: Option<&str>, shares: &Shares) -> Result<Seen, Error> {
    let pool = Pool::read(path, block, shares)?;
    let changes = pool.servers.iter().filter_map(|server| {
        let wanted = pool.wanted(server).filter(|wanted| !upstream::is_as(server.share, *wanted))?;
        Some(action(path, &server.name, server.share, wanted))
    });
    Ok((changes.collect(), vec![]))
}

pub(crate) fn stage_pool(path: &str, block: Option<&str>, shares: &Shares) -> Result<Option<Staged>, Error> {
    let from = exchange::digest(Place::Live, path)?;
    let pool = Pool::read(path, block, shares)?;
    let text = upstream::rewritten(&pool.text, &pool.servers, &pool.wanted);
    if text == pool.text {
        return Ok(None);
    }
    let to = Some(files::stage_bytes(path, text.as_bytes())?.sha256);
    Ok(Some(Staged { from, to }))
}

pub(crate) fn verify_pool(
    path: &str,
    block: Option<&str>,
    shares: &Shares,
) -> Result<Vec<Verification>, Error> {
    let pool = Pool::read(path, block, shares)?;
    let named = pool.servers.iter().filter_map(|server| Some((server, pool.wanted(server)?)));
    Ok(named
        .map(|(server, wanted)| {
            let right = upstream::is_as(server.share, wanted);
            proof(&format!("{path} {}", server.name), right, server.share.to_string(), wanted.to_string())
        })
        .collect())
}

fn proof(name: &str, right: bool, measured: String, expected: String) -> Verification {
    Verification {
        name: name.to_owned(),
        verdict: if right { Verdict::Pass } else { Verdict::Fail },
        measured: Some(measured),
        expected: Some(expected),
        message: String::new(),
    }
}

fn read(path: &str) -> Result<String, Error> {
    let bytes = files::read(Place::Live, path, FILE_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(|_| Error::invalid("traffic/not-text", format!("{path} is no text")))
}
