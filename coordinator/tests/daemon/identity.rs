//! A host that is not the one it was, and a database that was set back: either
//! is noticed from the greeting, said so, and waits for a person.

use sternway_coordinator::pki::Role;
use sternway_core::exit;
use sternway_core::ids::{HostName, JournalId, PlanId, RolloutId};
use sternway_core::rollout::{HaltCause, HostState, State};
use sternway_core::run::{Ending, Input, Phase, Told};
use sternway_core::time::Timestamp;
use sternway_core::wire::{Answer, Event, FromAgent, Greeting, PROTOCOL, Request, RolloutView, ToAgent};

use crate::harness::{Agent, FLEET, Operator, Site, host, now, plan, seal};

const JOURNAL: JournalId = JournalId([1; 16]);
const OTHER: JournalId = JournalId([2; 16]);

fn greeting(name: &str, journal: JournalId, last: u64, acked: u64) -> Greeting {
    Greeting {
        protocol: PROTOCOL,
        version: "test".into(),
        fleet: FLEET,
        host: host(name),
        journal,
        last,
        epoch: 0,
        acked,
        times: vec![],
        plan: None,
        rollout: None,
    }
}

async fn greet(site: &Site, greeting: Greeting) -> Result<Agent, String> {
    let issued = site.issue(Role::Agent, greeting.host.as_str());
    Agent::greet(site, &issued, greeting).await
}

fn internal(sequence: u64) -> Event {
    Event { sequence, at: Timestamp(sequence), told: Told::Internal }
}

/// An agent that has told so many records, and they are on record.
async fn told(site: &Site, name: &str, records: u64) -> Agent {
    let mut agent = greet(site, greeting(name, JOURNAL, records, 0)).await.unwrap();
    agent.say(&FromAgent::Events((1..=records).map(internal).collect())).await;
    agent.hear_acked(records).await;
    agent
}

async fn view(operator: &Operator, rollout: &RolloutId) -> Box<RolloutView> {
    match operator.ask(&Request::Status { rollout: rollout.clone() }).await {
        Answer::Status(view) => view,
        other => panic!("{other:?}"),
    }
}

async fn quarantine(operator: &Operator, name: &str) -> Option<String> {
    let Answer::Fleet(hosts) = operator.ask(&Request::Fleet).await else { panic!() };
    hosts.into_iter().find(|one| one.name == host(name)).unwrap().quarantine
}

async fn audit(operator: &Operator) -> Vec<(String, String)> {
    let lines = operator.all(&Request::Audit { rollout: None }).await;
    let lines = lines.into_iter().map(|answer| match answer {
        Answer::Audit(line) => (line.action, line.detail),
        other => panic!("{other:?}"),
    });
    lines.collect()
}

async fn resume(operator: &Operator, rollout: &RolloutId, confirmed: Vec<HostName>) -> Box<RolloutView> {
    let halt = view(operator, rollout).await.status.halt.unwrap().last.sequence;
    let request = Request::Resume { rollout: rollout.clone(), reason: "looked".into(), confirmed, halt };
    match operator.ask(&request).await {
        Answer::Taken { status, .. } => status,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_host_with_a_shorter_journal_is_out_until_a_person_readmits_it() {
    let site = Site::start(&["web-1", "web-2"]);
    let operator = site.operator("ada").await;
    let rollout = operator.launch(&seal(&plan(&[&["web-1"], &["web-2"]])).0).await;
    drop(told(&site, "web-1", 5).await);
    let refused = greet(&site, greeting("web-1", JOURNAL, 3, 3)).await.err().unwrap();
    assert!(refused.contains("ends at record 3") && refused.contains("has 5"), "{refused}");
    assert!(quarantine(&operator, "web-1").await.unwrap().contains("set back"));
    let seen = view(&operator, &rollout).await;
    assert!(matches!(seen.status.hosts[0].state, HostState::NeedsOperator { .. }), "{seen:?}");
    assert_eq!(seen.status.exit_code(), exit::STUCK);
    // Catching up does not make it the journal that was told.
    assert!(greet(&site, greeting("web-1", JOURNAL, 6, 5)).await.is_err());
    let (code, message) =
        operator.refused(&Request::Readmit { host: host("web-2"), reason: "x".into() }).await;
    assert_eq!(code, exit::USAGE, "{message}");
    let readmit = Request::Readmit { host: host("web-1"), reason: "reinstalled".into() };
    assert!(matches!(operator.ask(&readmit).await, Answer::Readmitted { .. }));
    // Still the journal that was set back: only a new one is believed.
    assert!(greet(&site, greeting("web-1", JOURNAL, 3, 3)).await.is_err());
    operator.ask(&readmit).await;
    assert_eq!(greet(&site, greeting("web-1", OTHER, 1, 0)).await.unwrap().acked, 0);
    assert_eq!(quarantine(&operator, "web-1").await, None);
    let actions: Vec<String> = audit(&operator).await.into_iter().map(|(action, _)| action).collect();
    assert_eq!(actions, ["launch", "quarantine", "readmit", "quarantine", "readmit"]);
}

#[tokio::test]
async fn a_journal_that_was_set_back_and_has_gone_on_is_told_by_its_times() {
    let site = Site::start(&["web-1"]);
    drop(told(&site, "web-1", 5).await);
    // As it was: what was told and not known to be acknowledged.
    let times = (4..=6).map(Timestamp).collect();
    let same = greet(&site, Greeting { times, ..greeting("web-1", JOURNAL, 6, 3) }).await.unwrap();
    assert_eq!(same.acked, 5);
    let times = [4, 50, 60, 70].map(Timestamp).to_vec();
    let refused = greet(&site, Greeting { times, ..greeting("web-1", JOURNAL, 7, 3) }).await.err().unwrap();
    assert!(refused.contains("record 5"), "{refused}");
}

#[tokio::test]
async fn a_host_whose_state_is_gone_starts_nothing_by_itself() {
    let site = Site::start(&["web-1"]);
    let operator = site.operator("ada").await;
    drop(told(&site, "web-1", 5).await);
    let refused = greet(&site, greeting("web-1", OTHER, 1, 0)).await.err().unwrap();
    assert!(refused.contains("its state is gone"), "{refused}");
    let launch = Request::Launch { sealed: seal(&plan(&[&["web-1"]])).0, without: vec![] };
    let (code, message) = operator.refused(&launch).await;
    assert_eq!(code, exit::BUSY, "{message}");
    assert!(message.contains("quarantine"), "{message}");
}

#[tokio::test]
async fn two_journals_that_take_turns_are_both_let_go() {
    let site = Site::start(&["web-1"]);
    let operator = site.operator("ada").await;
    drop(told(&site, "web-1", 5).await);
    assert!(greet(&site, greeting("web-1", OTHER, 1, 0)).await.is_err());
    let refused = greet(&site, greeting("web-1", JOURNAL, 5, 5)).await.err().unwrap();
    assert!(refused.contains("two machines"), "{refused}");
    let readmit = Request::Readmit { host: host("web-1"), reason: "switched the copy off".into() };
    operator.ask(&readmit).await;
    let first = greet(&site, greeting("web-1", JOURNAL, 5, 5)).await.unwrap();
    assert_eq!(first.acked, 5, "what it told is not forgotten");
    let again = greet(&site, greeting("web-1", OTHER, 1, 0)).await.err().unwrap();
    assert!(again.contains("journal"), "{again}");
    assert!(
        first.connection.closed().await.to_string().contains("journal"),
        "the one that was here goes too"
    );
}

#[tokio::test]
async fn records_that_were_acknowledged_and_are_not_here_halt_everything() {
    let site = Site::start(&["web-1", "web-2"]);
    let operator = site.operator("ada").await;
    let rollout = operator.launch(&seal(&plan(&[&["web-1"], &["web-2"]])).0).await;
    let agent = greet(&site, greeting("web-1", JOURNAL, 90, 80)).await.unwrap();
    assert_eq!((agent.acked, agent.epoch), (0, 2), "it tells all of it again");
    let seen = view(&operator, &rollout).await;
    let Some(HaltCause::WentBack { hosts }) = seen.status.halt.map(|halt| halt.cause) else { panic!() };
    assert_eq!((hosts[0].acked, hosts[0].acked_here), (80, 0));
    // The second host adds its own difference to the halt, and what was said is not said twice.
    drop(greet(&site, greeting("web-2", JOURNAL, 7, 7)).await.unwrap());
    let again = greet(&site, greeting("web-1", JOURNAL, 90, 80)).await.unwrap();
    assert_eq!(again.epoch, 2, "one new epoch is enough");
    let seen = view(&operator, &rollout).await;
    let Some(HaltCause::WentBack { hosts }) = seen.status.halt.map(|halt| halt.cause) else { panic!() };
    assert_eq!(hosts.len(), 2);
    let resumed = resume(&operator, &rollout, vec![]).await;
    assert!(resumed.status.halt.is_none());
    drop(greet(&site, greeting("web-1", JOURNAL, 90, 80)).await.unwrap());
    assert!(view(&operator, &rollout).await.status.halt.is_none(), "noticed before, and answered for");
    let told = audit(&operator).await;
    let set_back = told.iter().filter(|(action, _)| action == "database set back");
    assert_eq!(set_back.count(), 2, "{told:?}");
}

#[tokio::test]
async fn a_host_that_heard_of_the_new_epoch_while_it_was_here_is_not_ahead_of_it() {
    let site = Site::start(&["web-1", "web-2"]);
    let operator = site.operator("ada").await;
    let rollout = operator.launch(&seal(&plan(&[&["web-1"], &["web-2"]])).0).await;
    let mut second = greet(&site, greeting("web-2", JOURNAL, 1, 0)).await.unwrap();
    let first = greet(&site, greeting("web-1", JOURNAL, 9, 9)).await.unwrap();
    let Some(ToAgent::Halt { epoch, .. }) = second.hear().await.unwrap() else { panic!("everybody is told") };
    assert_eq!(epoch, first.epoch);
    for name in ["web-2", "web-1"] {
        let acked = if name == "web-1" { 9 } else { 0 };
        let back = Greeting { epoch, ..greeting(name, JOURNAL, 9, acked) };
        assert_eq!(greet(&site, back).await.unwrap().epoch, epoch, "{name}");
    }
    let seen = view(&operator, &rollout).await;
    let Some(HaltCause::WentBack { hosts }) = seen.status.halt.map(|halt| halt.cause) else { panic!() };
    assert_eq!(hosts.len(), 1);
}

#[tokio::test]
async fn a_run_by_hand_is_no_sign_and_keeps_its_host_to_itself() {
    let site = Site::start(&["web-1"]);
    let operator = site.operator("ada").await;
    let (sealed, id) = seal(&plan(&[&["web-1"]]));
    let by_hand: RolloutId = "by-hand".parse().unwrap();
    let here =
        Greeting { plan: Some(id), rollout: Some(by_hand.clone()), ..greeting("web-1", JOURNAL, 2, 0) };
    let mut agent = greet(&site, here).await.unwrap();
    let accepted = run(2, id, Input::Accepted { rollout: by_hand, signers: vec![] });
    agent.say(&FromAgent::Events(vec![internal(1), accepted])).await;
    agent.hear_acked(2).await;
    assert_eq!(audit(&operator).await, []);
    let other = Request::Launch { sealed: seal(&plan(&[&["web-1"]])).0, without: vec![] };
    let (code, message) = operator.refused(&other).await;
    assert_eq!(code, exit::BUSY, "{message}");
    assert_eq!(operator.launch(&sealed).await.as_str(), "r-1");
}

fn run(sequence: u64, plan: PlanId, input: Input) -> Event {
    Event { sequence, at: now(), told: Told::Run { plan, input } }
}

#[tokio::test]
async fn a_rollout_that_the_database_forgot_is_taken_up_when_its_plan_is_launched_again() {
    let site = Site::start(&["web-1", "web-2"]);
    let operator = site.operator("ada").await;
    let (sealed, id) = seal(&plan(&[&["web-1"], &["web-2"]]));
    let lost: RolloutId = "r-7".parse().unwrap();
    let greeting =
        Greeting { plan: Some(id), rollout: Some(lost.clone()), ..greeting("web-1", JOURNAL, 6, 5) };
    let mut agent = greet(&site, greeting).await.unwrap();
    let told = vec![
        internal(1),
        run(2, id, Input::Accepted { rollout: lost.clone(), signers: vec![] }),
        run(3, id, Input::Staged { point: None }),
        run(4, id, Input::PermitAsked { nonce: 1 }),
        run(5, id, Input::Permitted { nonce: 1, epoch: 1 }),
        run(6, id, Input::Began { step: 0, phase: Phase::Look, attempt: 1 }),
    ];
    agent.say(&FromAgent::Events(told)).await;
    agent.hear_acked(6).await;
    assert!(audit(&operator).await[0].1.contains("r-7 is not on record"));
    // Nothing else is begun on that host meanwhile.
    let other = Request::Launch { sealed: seal(&plan(&[&["web-1"]])).0, without: vec![] };
    let (code, message) = operator.refused(&other).await;
    assert_eq!(code, exit::BUSY, "{message}");
    assert!(message.contains("r-7"), "{message}");
    let rollout = operator.launch(&sealed).await;
    assert_eq!(rollout, lost, "hosts know it by its number");
    let seen = view(&operator, &rollout).await;
    assert_eq!(seen.status.state, State::Halted);
    assert_eq!(seen.status.hosts[0].state, HostState::Running { step: 0 });
    resume(&operator, &rollout, vec![host("web-1")]).await;
    agent.last = 6;
    agent.tell(id, vec![Input::Settled { ending: Ending::Finished }]).await;
    let mut second = site.agent("web-2").await;
    second.run(id, 1).await;
    let answers = operator.all(&Request::Watch { rollout, from: 0 }).await;
    let Some(Answer::Status(last)) = answers.last() else { panic!("{answers:?}") };
    assert_eq!(last.status.exit_code(), exit::DONE);
}

#[tokio::test]
async fn a_database_put_back_from_a_copy_halts_shows_the_difference_and_goes_on_when_told() {
    let mut site = Site::start(&["web-1", "web-2"]);
    let (sealed, id) = seal(&plan(&[&["web-1"], &["web-2"]]));
    let rollout = site.operator("ada").await.launch(&sealed).await;
    site.stop().await;
    let copy = site.dir.path().join("yesterday");
    std::fs::create_dir(&copy).unwrap();
    std::fs::copy(site.data().join("coordinator.db"), copy.join("coordinator.db")).unwrap();
    site.resume();
    let mut first = site.agent("web-1").await;
    first.run(id, 1).await;
    first.hear_acked(first.last).await;
    let (last, epoch) = (first.last, first.epoch);
    site.stop().await;
    std::fs::remove_dir_all(site.data()).unwrap();
    std::fs::rename(&copy, site.data()).unwrap();
    site.resume();
    // The epoch is the one that this host has seen: nobody has told it yet.
    let back = Greeting { epoch, ..greeting("web-1", JOURNAL, last, last) };
    let mut first = greet(&site, back).await.unwrap();
    assert!(first.epoch > epoch);
    assert_eq!(first.acked, 0);
    let operator = site.operator("ada").await;
    let seen = view(&operator, &rollout).await;
    assert_eq!(seen.status.state, State::Halted, "{seen:?}");
    // It tells again what the copy has missed.
    first.last = 0;
    let told = vec![
        Input::Staged { point: None },
        Input::PermitAsked { nonce: 1 },
        Input::Permitted { nonce: 1, epoch },
        Input::Began { step: 0, phase: Phase::Look, attempt: 1 },
        Input::Settled { ending: Ending::Finished },
    ];
    assert_eq!(told.len() as u64, last);
    first.tell(id, told).await;
    first.hear_at_last_acked(last).await;
    let seen = view(&operator, &rollout).await;
    assert_eq!(seen.status.hosts[0].state, HostState::Done, "it is done, and nothing of it is run again");
    assert_eq!(seen.status.state, State::Halted);
    resume(&operator, &rollout, vec![]).await;
    let mut second = site.agent("web-2").await;
    second.run(id, 1).await;
    let answers = operator.all(&Request::Watch { rollout, from: 0 }).await;
    let Some(Answer::Status(ended)) = answers.last() else { panic!("{answers:?}") };
    assert_eq!(ended.status.exit_code(), exit::DONE);
    site.stop().await;
    site.resume();
}
