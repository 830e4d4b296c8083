//! An agent's connection: greeting, acknowledgements, garbage, restarts.

use std::time::Instant;

use sternway_coordinator::daemon::{Daemon, ServeError};
use sternway_coordinator::pki::Role;
use sternway_core::exit;
use sternway_core::ids::{Digest, FleetId, JournalId};
use sternway_core::run::{Input, Told};
use sternway_core::wire::{
    Event, FRAME_BYTES_MAX, FromAgent, Greeting, PROTOCOL, PluginAnswer, PluginAsk, ToAgent, encode_frame,
};

use crate::harness::{Agent, FLEET, Incoming, Site, host, now, plan, seal};

const JOURNAL: JournalId = JournalId([1; 16]);

fn greeting(name: &str) -> Greeting {
    Greeting {
        protocol: PROTOCOL,
        version: "test".into(),
        fleet: FLEET,
        host: host(name),
        journal: JOURNAL,
        last: 0,
        epoch: 0,
        acked: 0,
        times: vec![],
        plan: None,
        rollout: None,
    }
}

fn internal(sequence: u64) -> Event {
    Event { sequence, at: now(), told: Told::Internal }
}

#[tokio::test]
async fn a_second_coordinator_on_one_database_is_refused() {
    let mut site = Site::start(&["web-1"]);
    let second = Daemon::start(site.config()).unwrap_err();
    assert!(matches!(second, ServeError::Database(_)));
    assert_eq!(second.exit_code(), exit::BUSY);
    site.stop().await;
    site.resume();
}

#[tokio::test]
async fn a_greeting_that_does_not_fit_is_told_so() {
    let site = Site::start(&["web-1", "web-2"]);
    let issued = site.issue(Role::Agent, "web-1");
    let cases = [
        (Greeting { protocol: PROTOCOL + 1, ..greeting("web-1") }, "protocol"),
        (Greeting { fleet: FleetId([0; 16]), ..greeting("web-1") }, "fleet"),
        (greeting("web-2"), "the greeting says web-2"),
    ];
    for (greeting, word) in cases {
        let refused = Agent::greet(&site, &issued, greeting).await.err().unwrap();
        assert!(refused.contains(word), "{refused}");
    }
}

#[tokio::test]
async fn garbage_and_oversize_frames_end_the_session_and_nothing_else() {
    let site = Site::start(&["web-1", "web-2"]);
    let mut other = site.agent("web-2").await;
    let oversize = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes();
    let second_hello = encode_frame(&FromAgent::Hello(greeting("web-1")), FRAME_BYTES_MAX).unwrap();
    let garbage: [&[u8]; 4] =
        [&oversize, &[0, 0, 0, 3, 0xff, 0xff, 0xff], &[0, 0, 0, 1, 0x00], &second_hello];
    for bytes in garbage {
        let mut agent = site.agent("web-1").await;
        agent.send.write_all(bytes).await.unwrap();
        assert!(agent.hear().await.is_err(), "{bytes:?}");
    }
    other.say(&FromAgent::Events(vec![internal(1)])).await;
    other.hear_acked(1).await;
}

#[tokio::test]
async fn a_gap_in_the_records_ends_the_session_and_what_came_before_is_kept() {
    let site = Site::start(&["web-1"]);
    let mut agent = site.agent("web-1").await;
    agent.say(&FromAgent::Events(vec![internal(1), internal(3)])).await;
    while let Ok(Some(_)) = agent.hear().await {}
    let again = Agent::connect(&site, "web-1", JOURNAL, 3).await.unwrap();
    assert_eq!(again.acked, 1);
}

#[tokio::test]
async fn a_restart_keeps_what_was_acknowledged_and_takes_the_next_epoch() {
    let mut site = Site::start(&["web-1"]);
    let mut agent = site.agent("web-1").await;
    for sequence in 1..=600 {
        agent.say(&FromAgent::Events(vec![internal(sequence)])).await;
    }
    agent.hear_acked(600).await;
    let epoch = agent.epoch;
    site.stop().await;
    let farewell = agent.hear().await.unwrap();
    assert!(matches!(farewell, Some(ToAgent::ComeBack { .. })), "{farewell:?}");
    site.resume();
    let mut again = Agent::connect(&site, "web-1", JOURNAL, 600).await.unwrap();
    assert_eq!((again.acked, again.epoch), (600, epoch + 1));
    // Told again since an acknowledgement may have been lost: taken once.
    again.say(&FromAgent::Events(vec![internal(599), internal(600), internal(601)])).await;
    again.hear_acked(601).await;
}

#[tokio::test]
async fn a_newer_connection_of_a_host_replaces_the_older() {
    let site = Site::start(&["web-1"]);
    let mut older = site.agent("web-1").await;
    let mut newer = site.agent("web-1").await;
    while let Ok(Some(_)) = older.hear().await {}
    newer.say(&FromAgent::Events(vec![internal(1)])).await;
    newer.hear_acked(1).await;
    assert!(older.connection.closed().await.to_string().contains("replaced"));
}

#[tokio::test]
async fn a_plugin_is_sent_by_its_digest_and_an_unknown_one_is_said_to_be_so() {
    let site = Site::start(&["web-1"]);
    let folder = site.dir.path().join("data/plugins");
    std::fs::create_dir_all(&folder).unwrap();
    let digest = Digest::of(b"component");
    std::fs::write(folder.join(format!("{digest}.wasm")), b"component").unwrap();
    let agent = site.agent("web-1").await;
    for (sha256, wanted) in [(digest, Some(9)), (Digest::of(b"other"), None)] {
        let (mut send, receive) = agent.connection.open_bi().await.unwrap();
        send.write_all(&encode_frame(&PluginAsk { sha256 }, FRAME_BYTES_MAX).unwrap()).await.unwrap();
        let answer: PluginAnswer = Incoming::new(receive, FRAME_BYTES_MAX).next().await.unwrap().unwrap();
        match (answer, wanted) {
            (PluginAnswer::Here { bytes }, Some(wanted)) => assert_eq!(bytes, wanted),
            (PluginAnswer::Unknown, None) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_host_that_saw_a_newer_epoch_halts_every_open_rollout() {
    let site = Site::start(&["web-1", "web-2"]);
    let operator = site.operator("ada").await;
    let rollout = operator.launch(&seal(&plan(&[&["web-1", "web-2"]])).0).await;
    let issued = site.issue(Role::Agent, "web-1");
    let agent = Agent::greet(&site, &issued, Greeting { epoch: 70, ..greeting("web-1") }).await.unwrap();
    assert_eq!(agent.epoch, 71);
    let request = sternway_core::wire::Request::Status { rollout };
    let sternway_core::wire::Answer::Status(view) = operator.ask(&request).await else { panic!() };
    assert_eq!(view.status.exit_code(), exit::HALTED);
}

#[tokio::test]
async fn records_are_acknowledged_many_at_a_time() {
    let site = Site::start(&["web-1"]);
    let mut agent = site.agent("web-1").await;
    let began = Instant::now();
    for first in (1..=4000).step_by(50) {
        agent.say(&FromAgent::Events((first..first + 50).map(internal).collect())).await;
    }
    agent.hear_acked(4000).await;
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    agent.tell(sternway_core::ids::PlanId([0; 32]), vec![Input::CutOff]).await;
}
