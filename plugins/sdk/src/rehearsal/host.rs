//! The contract's host interfaces over the [`World`] of this thread.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::kill;
use super::world::{Phase, World};
use crate::Error;

pub use crate::bindings::sternway::host::errors;

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

pub(super) fn enter(world: World) {
    WORLD.set(world);
}

pub(super) fn leave() -> World {
    WORLD.take()
}

/// Somebody else writes to live paths, once.
pub(super) fn disturb(which: impl FnOnce(&mut World) -> &mut BTreeMap<String, String>) {
    WORLD.with_borrow_mut(|world| {
        let written = std::mem::take(which(world));
        world.live.extend(written);
    });
}

/// `phase` may do no more than this, from here on.
pub(super) fn in_phase<F>(may: Phase, phase: F) -> F {
    WORLD.with_borrow_mut(|world| world.phase = may);
    phase
}

/// What a call may do to the world, by its name.
fn is_within(phase: Phase, name: &str) -> bool {
    let is_note = name.starts_with("journal.");
    let is_stage = ["files.stage", "points.stage", "programs.stage", "files.discard", "files.keep-copy"]
        .iter()
        .any(|stage| name.starts_with(stage));
    let reads = [
        "files.get",
        "files.read",
        "files.names",
        "files.find",
        "points.",
        "services.get",
        "services.lines",
        "systemd.get",
        "systemd.lines",
        "programs.has",
        "programs.ask",
        "sockets.probe",
        "sockets.ask",
        "databases.inspect",
        "databases.ask",
        "http.",
        "clusters.",
    ];
    let only_reads = !is_stage && reads.iter().any(|read| name.starts_with(read));
    match phase {
        Phase::Reading => only_reads,
        Phase::Staging => only_reads || is_stage || is_note,
        Phase::Changing => true,
    }
}

/// One host call: counted, named, and perhaps the last.
///
/// # Panics
/// The phase may not do it, as a host would say too.
fn call<T>(name: &str, act: impl FnOnce(&mut World) -> T) -> T {
    let phase = WORLD.with_borrow(|world| world.phase);
    assert!(is_within(phase, name), "{name} is called where a plugin may only be {phase:?}");
    let (before, after) = WORLD.with_borrow_mut(|world| {
        let here = world.kill.filter(|(call, _)| *call == world.calls);
        world.calls += 1;
        world.log.push(name.to_owned());
        (here.is_some_and(|(_, after)| !after), here.is_some_and(|(_, after)| after))
    });
    if before {
        kill();
    }
    let answer = WORLD.with_borrow_mut(act);
    if after {
        kill();
    }
    answer
}

fn absent(path: &str) -> Error {
    Error::not_found("rehearsal/absent", format!("nothing at {path}"))
}

pub mod log {
    pub use crate::bindings::sternway::host::log::Level;

    pub fn write(_: Level, _: &str) {}
}

pub mod progress {
    pub fn report(_: &str, _: u64, _: Option<u64>, _: &str) {}
}

pub mod control {
    pub use crate::bindings::sternway::host::control::Budget;

    pub fn limits() -> Budget {
        Budget { remaining_ms: 60_000, memory_bytes_max: 64 << 20 }
    }

    pub fn cancelled() -> bool {
        false
    }

    pub fn sleep(ms: u64) -> bool {
        super::WORLD.with_borrow_mut(|world| world.now_ms += ms);
        true
    }

    pub fn now_ms() -> u64 {
        super::WORLD.with_borrow(|world| world.now_ms)
    }
}

pub mod journal {
    pub use crate::bindings::sternway::host::journal::Mark;

    use super::call;
    use crate::Error;

    pub fn begin(key: &str, note: &[u8]) -> Result<Mark, Error> {
        call("journal.begin", |world| match world.marks.get(key) {
            Some((_, Some(value))) => Ok(Mark::Finished(value.clone())),
            Some((note, None)) => Ok(Mark::Started(note.clone())),
            None => {
                world.marks.insert(key.to_owned(), (note.to_vec(), None));
                Ok(Mark::Fresh)
            }
        })
    }

    /// A second time keeps the first value, as on a host.
    pub fn finish(key: &str, value: &[u8]) -> Result<(), Error> {
        call("journal.finish", |world| match world.marks.get_mut(key) {
            Some((_, finished)) => {
                finished.get_or_insert_with(|| value.to_vec());
                Ok(())
            }
            None => Err(super::absent(key)),
        })
    }
}

pub mod files {
    pub use crate::bindings::sternway::host::files::{Attributes, Digest, Node, Ownership, Place};

    use super::super::world::World;
    use super::{absent, call};
    use crate::Error;

    fn at<'w>(world: &'w World, at: Place, path: &str) -> Option<&'w String> {
        match at {
            Place::Live => world.live.get(path),
            Place::Side => world.side.get(path),
        }
    }

    pub(super) fn digest(content: &str) -> Digest {
        Digest { sha256: content.to_owned(), entries: 1, bytes: content.len() as u64 }
    }

    /// A content is a text: one that ends like a folder's path stands for one.
    fn node(content: &str) -> Node {
        match content {
            link if link.starts_with("-> ") => Node::Symlink,
            folder if folder.ends_with('/') => Node::Directory,
            _ => Node::File,
        }
    }

    pub fn get_attributes(place: Place, path: &str) -> Result<Option<Attributes>, Error> {
        call("files.get-attributes", |world| {
            Ok(at(world, place, path).map(|content| Attributes {
                node: node(content),
                mode: 0o644,
                owner: "root".to_owned(),
                group: "root".to_owned(),
                bytes: content.len() as u64,
                modified_ms: 0,
            }))
        })
    }

    pub fn get_digest(place: Place, path: &str) -> Result<Option<Digest>, Error> {
        call("files.get-digest", |world| Ok(at(world, place, path).map(|text| digest(text))))
    }

    pub fn read(place: Place, path: &str, _: u32) -> Result<Vec<u8>, Error> {
        call("files.read", |world| {
            at(world, place, path).map(|text| text.clone().into_bytes()).ok_or_else(|| absent(path))
        })
    }

    pub fn stage_bytes(path: &str, data: &[u8]) -> Result<Digest, Error> {
        call("files.stage-bytes", |world| {
            let text = String::from_utf8_lossy(data).into_owned();
            world.side.insert(path.to_owned(), text.clone());
            Ok(digest(&text))
        })
    }

    pub fn stage_ownership(path: &str, to: &Ownership) -> Result<Digest, Error> {
        call("files.stage-ownership", |world| {
            let owner = to.owner.clone().unwrap_or_default();
            let side = world.side.get_mut(path).ok_or_else(|| absent(path))?;
            *side = format!("{side} of {owner}");
            Ok(digest(side))
        })
    }

    pub fn read_tail(place: Place, path: &str, bytes_max: u32) -> Result<Vec<u8>, Error> {
        call("files.read-tail", |world| {
            let text = at(world, place, path).ok_or_else(|| absent(path))?;
            let from = text.len().saturating_sub(bytes_max as usize);
            Ok(text.as_bytes()[from..].to_vec())
        })
    }

    /// Contents are texts: a tree is one whose lines are its names.
    pub fn find(place: Place, path: &str, suffix: &str) -> Result<Vec<String>, Error> {
        call("files.find", |world| {
            let text = at(world, place, path).ok_or_else(|| absent(path))?;
            Ok(text.lines().filter(|name| name.ends_with(suffix)).map(str::to_owned).collect())
        })
    }

    pub fn names(place: Place, path: &str) -> Result<Vec<String>, Error> {
        call("files.names", |world| {
            let text = at(world, place, path).ok_or_else(|| absent(path))?;
            Ok(text.lines().map(str::to_owned).collect())
        })
    }

    pub fn stage_copy(path: &str) -> Result<Digest, Error> {
        call("files.stage-copy", |world| {
            let live = world.live.get(path).cloned().ok_or_else(|| absent(path))?;
            world.side.insert(path.to_owned(), live.clone());
            Ok(digest(&live))
        })
    }

    pub fn stage_archive(path: &str, archive: &str, bytes_max: u64) -> Result<Digest, Error> {
        call("files.stage-archive", |world| {
            let content = world.live.get(archive).cloned().ok_or_else(|| absent(archive))?;
            if content.len() as u64 > bytes_max {
                return Err(Error::failed("files/too-large", archive));
            }
            world.side.insert(path.to_owned(), content.clone());
            Ok(digest(&content))
        })
    }

    pub fn stage_link(path: &str, target: &str) -> Result<Digest, Error> {
        call("files.stage-link", |world| {
            let link = format!("-> {target}");
            world.side.insert(path.to_owned(), link.clone());
            Ok(digest(&link))
        })
    }

    pub fn stage_put_back(path: &str, suffix: &str) -> Result<Vec<String>, Error> {
        call("files.stage-put-back", |world| {
            let side = world.side.get_mut(path).ok_or_else(|| absent(path))?;
            let back: Vec<String> =
                side.lines().filter_map(|name| name.strip_suffix(suffix)).map(str::to_owned).collect();
            let kept =
                side.lines().filter(|name| !name.ends_with(suffix) && !back.iter().any(|back| back == name));
            let mut names: Vec<&str> = kept.chain(back.iter().map(String::as_str)).collect();
            names.sort_unstable();
            *side = names.join("\n");
            Ok(back)
        })
    }

    pub fn stage_removal(path: &str, inside: &[String]) -> Result<Vec<String>, Error> {
        call("files.stage-removal", |world| {
            let side = world.side.get_mut(path).ok_or_else(|| absent(path))?;
            let (gone, kept): (Vec<&str>, Vec<&str>) =
                side.lines().partition(|name| inside.iter().any(|inside| inside == name));
            let gone = gone.into_iter().map(str::to_owned).collect();
            *side = kept.join("\n");
            Ok(gone)
        })
    }

    pub fn discard(path: &str) -> Result<(), Error> {
        call("files.discard", |world| {
            world.side.remove(path);
            Ok(())
        })
    }

    pub fn switch_to(path: &str, to: &str) -> Result<bool, Error> {
        call("files.switch-to", |world| {
            if world.live.get(path).is_some_and(|live| live == to) {
                return Ok(false);
            }
            if world.side.get(path).is_none_or(|side| side != to) {
                return Err(Error::conflict("files/not-as-staged", path));
            }
            let side = world.side.remove(path).expect("compared above");
            if let Some(live) = world.live.insert(path.to_owned(), side) {
                world.side.insert(path.to_owned(), live);
            }
            Ok(true)
        })
    }

    pub fn take_away(path: &str) -> Result<bool, Error> {
        call("files.take-away", |world| {
            if !world.live.contains_key(path) {
                return Ok(false);
            }
            if world.side.contains_key(path) {
                return Err(Error::conflict("files/side-in-use", path));
            }
            let live = world.live.remove(path).expect("looked for above");
            world.side.insert(path.to_owned(), live);
            Ok(true)
        })
    }

    pub fn keep_copy(path: &str) -> Result<String, Error> {
        call("files.keep-copy", |world| {
            let kept = format!("{path}.kept");
            let live = world.live.get(path).cloned().ok_or_else(|| absent(path))?;
            world.live.entry(kept.clone()).or_insert(live);
            Ok(kept)
        })
    }
}

pub mod points {
    pub use crate::bindings::sternway::host::points::Point;

    use super::files::{Digest, digest};
    use super::{absent, call};
    use crate::Error;

    pub fn get(id: &str) -> Result<Point, Error> {
        call("points.get", |world| {
            Ok(Point {
                id: id.to_owned(),
                tag: "before".to_owned(),
                made_ms: 0,
                paths: world.point.keys().cloned().collect(),
            })
        })
    }

    pub fn entries(_: &str, path: &str) -> Result<Option<u64>, Error> {
        call("points.entries", |world| Ok(world.point.get(path).map(|_| 1)))
    }

    pub fn stage(_: &str, path: &str) -> Result<Digest, Error> {
        call("points.stage", |world| {
            let content = world.point.get(path).cloned().ok_or_else(|| absent(path))?;
            world.side.insert(path.to_owned(), content.clone());
            Ok(digest(&content))
        })
    }
}

pub mod services {
    pub use crate::bindings::sternway::host::services::{State, Status};

    use super::super::world::Service;
    use super::{absent, call};
    use crate::Error;

    fn status(name: &str, service: &Service) -> Status {
        Status {
            name: name.to_owned(),
            state: if service.running { State::Running } else { State::Stopped },
            pid: service.running.then_some(service.pid),
            since_ms: None,
            restarts: 0,
            last_exit: None,
        }
    }

    pub fn get_status(name: &str) -> Result<Status, Error> {
        call("services.get-status", |world| {
            world.services.get(name).map(|found| status(name, found)).ok_or_else(|| absent(name))
        })
    }

    pub fn lines(_: &str, _: u32) -> Result<Vec<String>, Error> {
        call("services.lines", |_| Ok(vec![]))
    }

    pub fn start(name: &str, _: u64) -> Result<Status, Error> {
        call("services.start", |world| {
            let service = world.services.get_mut(name).ok_or_else(|| absent(name))?;
            if !service.running {
                *service = Service { running: true, pid: service.pid + 1 };
            }
            Ok(status(name, service))
        })
    }

    pub fn stop(name: &str, _: u64) -> Result<Status, Error> {
        call("services.stop", |world| {
            let service = world.services.get_mut(name).ok_or_else(|| absent(name))?;
            service.running = false;
            Ok(status(name, service))
        })
    }
}

pub mod http {
    pub use crate::bindings::sternway::host::http::{Request, Response};

    use super::call;
    use crate::Error;

    /// Answers 200 to all, and carries out a change: a put of the same body
    /// changes nothing, and a post with the same key happened once.
    pub fn send(request: &Request) -> Result<Response, Error> {
        call("http.send", |world| {
            if let Some(model) = world.http {
                return model(world, request);
            }
            let body = String::from_utf8_lossy(&request.body);
            let line = format!("{} {} {body}", request.method, request.url);
            let key = request.headers.iter().find(|(name, _)| name == "Idempotency-Key");
            match (request.method.as_str(), key) {
                ("GET" | "HEAD", _) => {}
                (_, Some((_, key))) => {
                    if !world.keys.contains(key) {
                        world.keys.push(key.clone());
                        world.sent.push(line);
                    }
                }
                (_, None) => {
                    world.sent.retain(|sent| sent.split(' ').nth(1) != Some(request.url.as_str()));
                    world.sent.push(line);
                }
            }
            Ok(Response { status: 200, headers: vec![], body: vec![], elapsed_us: 500 })
        })
    }
}

pub mod databases {
    pub use crate::bindings::sternway::host::databases::Health;

    use super::call;
    use super::files::Place;
    use crate::Error;

    pub fn inspect(_: Place, _: &str) -> Result<Health, Error> {
        call("databases.inspect", |_| Ok(Health { problems: vec![], tables: 1, pages: 1 }))
    }

    pub fn ask(_: Place, _: &str, _: &str) -> Result<Option<String>, Error> {
        call("databases.ask", |_| Ok(Some("1".to_owned())))
    }

    /// Folds in the log: what the file says changes.
    pub fn settle(path: &str) -> Result<(), Error> {
        call("databases.settle", |world| {
            if let Some(live) = world.live.get_mut(path)
                && let Some(settled) = live.strip_suffix("+log")
            {
                *live = format!("{settled} settled");
            }
            Ok(())
        })
    }
}

pub mod systemd {
    pub use crate::bindings::sternway::host::systemd::{Active, FileChange, Job, Load, Unit};

    use super::super::world::UnitModel;
    use super::{absent, call};
    use crate::Error;

    fn unit(name: &str, model: &UnitModel) -> Unit {
        let file = match (model.masked, model.enabled) {
            (true, _) => "masked",
            (false, true) => "enabled",
            (false, false) => "disabled",
        };
        Unit {
            name: name.to_owned(),
            load: if model.masked { Load::Masked } else { Load::Loaded },
            active: if model.running { Active::Active } else { Active::Inactive },
            sub: if model.running { "running" } else { "dead" }.to_owned(),
            unit_file: file.to_owned(),
            main_pid: model.running.then_some(model.pid),
            since_ms: None,
            restarts: 0,
            outcome: "success".to_owned(),
            last_exit: None,
            needs_reload: false,
            path: format!("/lib/systemd/system/{name}"),
            drop_ins: vec![],
        }
    }

    /// A unit nobody knows is answered as such, as systemd does.
    pub fn get_unit(name: &str) -> Result<Unit, Error> {
        call("systemd.get-unit", |world| {
            Ok(world.units.get(name).map_or_else(
                || Unit {
                    load: Load::NotFound,
                    unit_file: String::new(),
                    ..unit(name, &UnitModel::default())
                },
                |model| {
                    let own = format!("/etc/systemd/system/{name}");
                    let found = unit(name, model);
                    if world.live.contains_key(&own) { Unit { path: own, ..found } } else { found }
                },
            ))
        })
    }

    pub fn lines(_: &str, _: u64, _: u32) -> Result<Vec<String>, Error> {
        call("systemd.lines", |_| Ok(vec![]))
    }

    pub fn run_job(name: &str, job: Job, _: u64) -> Result<Unit, Error> {
        call("systemd.run-job", |world| {
            let model = world.units.get_mut(name).ok_or_else(|| absent(name))?;
            if model.masked && job != Job::Stop {
                return Err(Error::conflict("systemd/masked", name));
            }
            match job {
                Job::Stop => model.running = false,
                Job::Start if model.running => {}
                Job::Start | Job::Restart => {
                    (model.running, model.pid) = (true, model.pid + 1);
                }
                Job::Reload => model.reloads += 1,
            }
            Ok(unit(name, model))
        })
    }

    pub fn kill(name: &str) -> Result<(), Error> {
        call("systemd.kill", |world| {
            world.units.get_mut(name).ok_or_else(|| absent(name))?.running = false;
            Ok(())
        })
    }

    pub fn reset_failed(_: &str) -> Result<(), Error> {
        call("systemd.reset-failed", |_| Ok(()))
    }

    pub fn change_file(name: &str, change: FileChange) -> Result<bool, Error> {
        call("systemd.change-file", |world| {
            let model = world.units.get_mut(name).ok_or_else(|| absent(name))?;
            let before = model.clone();
            match change {
                FileChange::Enable => model.enabled = true,
                FileChange::Disable => model.enabled = false,
                FileChange::Mask => model.masked = true,
                FileChange::Unmask => model.masked = false,
            }
            Ok(*model != before)
        })
    }

    pub fn daemon_reload() -> Result<(), Error> {
        call("systemd.daemon-reload", |_| Ok(()))
    }
}

pub mod programs {
    pub use crate::bindings::sternway::host::programs::{Call, Ended, Hole};

    use super::super::world::World;
    use super::call;
    use crate::Error;

    fn carry_out(world: &mut World, asked: &Call) -> Result<Ended, Error> {
        match world.programs {
            Some(model) => model(world, asked),
            None => Err(Error::not_found("programs/unknown", &asked.form)),
        }
    }

    pub fn has(_: &str) -> Result<bool, Error> {
        call("programs.has", |world| Ok(world.programs.is_some()))
    }

    pub fn ask(asked: &Call) -> Result<Ended, Error> {
        call(&format!("programs.ask {}", asked.form), |world| carry_out(world, asked))
    }

    pub fn stage(asked: &Call) -> Result<Ended, Error> {
        call(&format!("programs.stage {}", asked.form), |world| carry_out(world, asked))
    }

    /// The same key finds the end of an earlier try, as on a host.
    pub fn run(key: &str, asked: &Call) -> Result<Ended, Error> {
        call(&format!("programs.run {}", asked.form), |world| {
            if let Some(ended) = world.ran.get(key) {
                return Ok(ended.clone());
            }
            let ended = carry_out(world, asked)?;
            world.ran.insert(key.to_owned(), ended.clone());
            Ok(ended)
        })
    }
}

pub mod sockets {
    pub use crate::bindings::sternway::host::sockets::Exchange;

    use super::super::world::World;
    use super::call;
    use crate::Error;

    fn carry_out(world: &mut World, asked: &Exchange) -> Result<Vec<u8>, Error> {
        match world.sockets {
            Some(model) => model(world, asked),
            None => Err(Error::failed("sockets/refused", &asked.address)),
        }
    }

    pub fn probe(address: &str, _: u64) -> Result<u64, Error> {
        call("sockets.probe", |world| match (world.probes, world.sockets) {
            (Some(model), _) => model(world, address),
            (None, Some(_)) => Ok(300),
            (None, None) => Err(Error::failed("sockets/refused", address)),
        })
    }

    pub fn ask(asked: &Exchange) -> Result<Vec<u8>, Error> {
        call("sockets.ask", |world| carry_out(world, asked))
    }

    pub fn tell(asked: &Exchange) -> Result<Vec<u8>, Error> {
        call("sockets.tell", |world| carry_out(world, asked))
    }
}

pub mod mail {
    use super::call;
    use crate::Error;

    /// A letter with the same key is the same letter.
    pub fn send(to: &str, subject: &str, _: &str, key: &str) -> Result<(), Error> {
        call("mail.send", |world| {
            if let Some(model) = world.mail {
                model(world, to)?;
            }
            let key = format!("{to} {key}");
            if !world.keys.contains(&key) {
                world.keys.push(key);
                world.sent.push(format!("MAIL {to} {subject}"));
            }
            Ok(())
        })
    }
}

pub mod clusters {
    pub use crate::bindings::sternway::host::clusters::{Request, Response};

    use super::call;
    use crate::Error;

    pub fn send(request: &Request) -> Result<Response, Error> {
        call("clusters.send", |world| match world.clusters {
            Some(model) => model(world, request),
            None => Err(Error::failed("clusters/unknown", &request.cluster)),
        })
    }
}
