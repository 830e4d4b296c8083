//! `traffic` before a real HAProxy, and killed at every host call.

#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the test where it stands")]

mod fixture;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use fixture::{Instance, backend, free_port, program, settles, share};
use sternway_plugin::Error;
use sternway_plugin::host::sockets::Exchange;
use sternway_plugin::rehearsal::{Goal, World, crash_matrix, run, try_run};
use traffic::Traffic;

fn say(address: &str, line: &str) -> String {
    let mut stream = UnixStream::connect(address.strip_prefix("unix://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(line.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Name to weight and whether it rests, for every server of the backend.
fn mirror(address: &str, world: &mut World) {
    world.model = say(address, "show servers state app\n")
        .lines()
        .filter(|line| line.contains(" app "))
        .map(|line| {
            let row: Vec<&str> = line.split(' ').collect();
            let state = match row[6].parse::<u32>().unwrap() {
                flags if flags & 1 != 0 => "maint",
                flags if flags & 8 != 0 => "drain",
                _ => "ready",
            };
            (row[3].to_owned(), format!("{} {state}", row[7]))
        })
        .collect();
}

/// Brings the real HAProxy to the world's state, speaks to it, and takes its
/// state back: so that every kill begins where it should.
fn really(world: &mut World, asked: &Exchange) -> Result<Vec<u8>, Error> {
    let admin = asked.address.replace("operator.sock", "admin.sock");
    let wanted = world.model.clone();
    mirror(&admin, world);
    for (name, state) in wanted.iter().filter(|(name, state)| world.model.get(*name) != Some(*state)) {
        let (weight, state) = state.split_once(' ').unwrap();
        let told = say(
            &admin,
            &format!("set server app/{name} weight {weight}; set server app/{name} state {state}\n"),
        );
        assert_eq!(told.trim(), "", "{name}");
    }
    let answer = say(&asked.address, std::str::from_utf8(&asked.data).unwrap());
    mirror(&admin, world);
    Ok(answer.into_bytes())
}

struct Balancer {
    instance: Instance,
    world: World,
}

impl Balancer {
    fn start(test: &str) -> Option<Self> {
        let haproxy = program("haproxy", test)?;
        let mut instance = Instance::folder("haproxy");
        let folder = instance.folder.to_str().unwrap().to_owned();
        let (blue, green, nobody) = (backend("blue"), backend("green"), free_port());
        let port = instance.port;
        let configuration = format!(
            "global\n  stats socket {folder}/admin.sock mode 600 level admin\n  \
             stats socket {folder}/operator.sock mode 600 level operator\n\
             defaults\n  mode http\n  timeout connect 2s\n  timeout client 5s\n  timeout server 5s\n\
             frontend front\n  bind 127.0.0.1:{port}\n  default_backend app\n\
             backend app\n  balance random\n  server blue 127.0.0.1:{blue} weight 100 disabled\n  \
             server green 127.0.0.1:{green} weight 10\n  \
             server dead 127.0.0.1:{nobody} weight 1 check inter 100ms fall 1\n"
        );
        std::fs::write(instance.folder.join("haproxy.cfg"), configuration).unwrap();
        let file = instance.path("haproxy.cfg");
        instance.start(&haproxy, &["-db", "-f", &file], "operator.sock");
        let mut world = World { sockets: Some(really), ..World::default() };
        mirror(&format!("unix://{folder}/admin.sock"), &mut world);
        settles(port, "before", |answers| share(answers, "green") == 30);
        Some(Self { instance, world })
    }

    fn settings(&self, rest: &str) -> String {
        self.at("admin.sock", rest)
    }

    fn at(&self, socket: &str, rest: &str) -> String {
        format!(r#"{{"haproxy":"unix://{}","backend":"app",{rest}}}"#, self.instance.path(socket))
    }
}

#[test]
fn everything_goes_to_the_stable_server_and_back_through_every_crash() {
    let Some(site) = Balancer::start("everything_goes_to_the_stable_server_and_back_through_every_crash")
    else {
        return;
    };
    let settings = site.settings(r#""stable":"blue","to":"100%""#);
    assert!(crash_matrix::<Traffic>(&site.world, &settings, None) > 0);
    let left = run::<Traffic>(site.world.clone(), &settings, None, Goal::Applied, None);
    assert_eq!((left.model["blue"].as_str(), left.model["green"].as_str()), ("1 ready", "0 ready"));
    settles(site.instance.port, "all to stable", |answers| share(answers, "blue") == 30);
    let back = run::<Traffic>(site.world.clone(), &settings, None, Goal::Undone, None);
    assert_eq!((back.model["blue"].as_str(), back.model["green"].as_str()), ("100 maint", "10 ready"));
    settles(site.instance.port, "back", |answers| share(answers, "green") == 30);
}

#[test]
fn weights_and_states_are_set_and_put_back_as_they_were() {
    let Some(site) = Balancer::start("weights_and_states_are_set_and_put_back_as_they_were") else { return };
    let settings = site.settings(r#""weights":{"blue":7,"green":"drain","dead":"maint"}"#);
    assert!(crash_matrix::<Traffic>(&site.world, &settings, None) > 0);
    let left = run::<Traffic>(site.world.clone(), &settings, None, Goal::Applied, None);
    assert_eq!((left.model["green"].as_str(), left.model["dead"].as_str()), ("10 drain", "1 maint"));
    settles(site.instance.port, "drained", |answers| share(answers, "blue") == 30);
}

#[test]
fn who_does_not_work_gets_nothing() {
    let Some(site) = Balancer::start("who_does_not_work_gets_nothing") else { return };
    let settings = site.settings(r#""stable":"dead","to":"100%","within":"1s""#);
    let (left, ended) = try_run::<Traffic>(site.world.clone(), &settings, None, Goal::Applied);
    assert_eq!(ended.unwrap_err().error.code, "traffic/nobody-works");
    assert_eq!(left.content(), site.world.content());
}

#[test]
fn what_cannot_be_done_refuses_the_run_before_anything_is_touched() {
    let Some(site) = Balancer::start("what_cannot_be_done_refuses_the_run_before_anything_is_touched") else {
        return;
    };
    for (settings, code) in [
        (site.settings(r#""stable":"red","to":"100%""#), "traffic/no-such-server"),
        (site.settings(r#""weights":{"green":0,"dead":"maint"}"#), "traffic/nobody-left"),
        (site.settings(r#""stable":["green","dead"],"to":"50%""#), "traffic/no-others"),
        (
            site.settings(r#""stable":"blue","to":"100%""#).replace(r#""app""#, r#""shop""#),
            "traffic/no-such-backend",
        ),
        (site.at("operator.sock", r#""stable":"blue","to":"100%""#), "traffic/haproxy-refuses"),
    ] {
        let (left, ended) = try_run::<Traffic>(site.world.clone(), &settings, None, Goal::Applied);
        assert_eq!(ended.unwrap_err().error.code, code, "{settings}");
        assert_eq!(left.content(), site.world.content(), "{settings}");
    }
}
