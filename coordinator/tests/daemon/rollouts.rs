//! Rollouts from launch to end, as operators and agents see them.

use sternway_core::exit;
use sternway_core::rollout::State;
use sternway_core::run::Input;
use sternway_core::time::Millis;
use sternway_core::trust::Verb;
use sternway_core::wire::{Answer, FromAgent, HostLine, LogLine, Request, ToAgent};

use crate::harness::{Agent, Site, host, now, order, plan, seal};

fn lines(answers: &[Answer]) -> Vec<&LogLine> {
    answers
        .iter()
        .filter_map(|answer| match answer {
            Answer::Line(line) => Some(line),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_rollout_goes_through_its_waves_with_the_very_bytes_that_were_signed() {
    let site = Site::start(&["web-1", "web-2", "web-3"]);
    let operator = site.operator("ada").await;
    let mut first = site.agent("web-1").await;
    let (sealed, id) = seal(&plan(&[&["web-1"], &["web-2", "web-3"]]));
    let rollout = operator.launch(&sealed).await;
    assert_eq!(first.plan().await, sealed);
    first.tell(id, vec![Input::Staged { point: None }, Input::PermitAsked { nonce: 1 }]).await;
    assert!(
        matches!(first.hear().await.unwrap(), Some(ToAgent::Permit { plan, nonce: 1, .. }) if plan == id)
    );
    first.tell(id, vec![Input::Permitted { nonce: 1, epoch: first.epoch }]).await;
    first.tell(id, vec![Input::Settled { ending: sternway_core::run::Ending::Finished }]).await;
    // Late in coming, offered on arrival.
    let (mut second, mut third) = (site.agent("web-2").await, site.agent("web-3").await);
    tokio::join!(second.run(id, 1), third.run(id, 1));
    let answers = operator.all(&Request::Watch { rollout: rollout.clone(), from: 0 }).await;
    let Some(Answer::Status(last)) = answers.last() else { panic!("{answers:?}") };
    assert!(last.status.is_ended());
    assert_eq!(last.status.exit_code(), exit::DONE);
    let watched = lines(&answers);
    assert!(watched.is_sorted_by(|a, b| a.sequence < b.sequence));
    let log = operator.all(&Request::Log { rollout: rollout.clone(), host: None }).await;
    assert_eq!(watched, lines(&log), "a watcher misses nothing");
    let of_host = operator.all(&Request::Log { rollout, host: Some(host("web-2")) }).await;
    assert!(
        lines(&of_host)
            .iter()
            .all(|line| matches!(&line.what, HostLine::Host { host: name, .. } if *name == host("web-2")))
    );
}

#[tokio::test]
async fn a_restart_in_the_middle_goes_on_where_it_was() {
    let mut site = Site::start(&["web-1", "web-2"]);
    let (sealed, id) = seal(&plan(&[&["web-1"], &["web-2"]]));
    let rollout = site.operator("ada").await.launch(&sealed).await;
    let mut first = site.agent("web-1").await;
    first.plan().await;
    first.tell(id, vec![Input::Staged { point: None }, Input::PermitAsked { nonce: 1 }]).await;
    assert!(matches!(first.hear().await.unwrap(), Some(ToAgent::Permit { .. })));
    let last = first.last;
    let before = site.operator("ada").await.all(&Request::Log { rollout: rollout.clone(), host: None }).await;
    site.stop().await;
    site.resume();
    let mut again =
        Agent::connect(&site, "web-1", sternway_core::ids::JournalId([1; 16]), last).await.unwrap();
    // The permit may have been lost: it is owed, with the new epoch.
    let owed = again.hear().await.unwrap();
    assert!(
        matches!(owed, Some(ToAgent::Permit { nonce: 1, epoch, .. }) if epoch == again.epoch),
        "{owed:?}"
    );
    again.tell(id, vec![Input::Permitted { nonce: 1, epoch: again.epoch }]).await;
    again.tell(id, vec![Input::Settled { ending: sternway_core::run::Ending::Finished }]).await;
    let mut second = site.agent("web-2").await;
    second.run(id, 1).await;
    let operator = site.operator("ada").await;
    let newest = lines(&before).last().unwrap().sequence;
    let answers = operator.all(&Request::Watch { rollout: rollout.clone(), from: newest }).await;
    let log = operator.all(&Request::Log { rollout, host: None }).await;
    assert_eq!(lines(&log), [lines(&before), lines(&answers)].concat(), "a watch goes on without a gap");
}

#[tokio::test]
async fn a_second_rollout_on_a_busy_host_is_refused_and_names_the_first() {
    let site = Site::start(&["web-1", "web-2"]);
    let operator = site.operator("ada").await;
    let first = operator.launch(&seal(&plan(&[&["web-1"]])).0).await;
    let launch = |plan| Request::Launch { sealed: seal(&plan).0, without: vec![] };
    let (code, message) = site.operator("bob").await.refused(&launch(plan(&[&["web-1", "web-2"]]))).await;
    assert_eq!(code, exit::BUSY);
    assert!(message.contains(first.as_str()) && message.contains("ada"), "{message}");
    let left_out =
        Request::Launch { sealed: seal(&plan(&[&["web-1", "web-2"]])).0, without: vec![host("web-1")] };
    assert!(matches!(operator.ask(&left_out).await, Answer::Launched { hosts: 1, .. }));
}

#[tokio::test]
async fn a_plan_that_hosts_would_refuse_is_not_launched() {
    let site = Site::start(&["web-1"]);
    let operator = site.operator("ada").await;
    let good = plan(&[&["web-1"]]);
    let mut expired = good.clone();
    (expired.issued, expired.expires) = (now() - Millis::hours(2), now() - Millis::hours(1));
    let mut forged = seal(&good).0;
    let middle = forged.len() / 2;
    forged[middle] ^= 1;
    let cases = [
        (seal(&expired).0, exit::REFUSED),
        (forged, exit::REFUSED),
        (vec![], exit::REFUSED),
        (seal(&plan(&[&["web-1", "web-9"]])).0, exit::INVALID),
    ];
    for (at, (sealed, wanted)) in cases.into_iter().enumerate() {
        let (code, message) = operator.refused(&Request::Launch { sealed, without: vec![] }).await;
        assert_eq!(code, wanted, "case {at}: {message}");
    }
    let (sealed, _) = seal(&good);
    operator.launch(&sealed).await;
    let (code, _) = operator.refused(&Request::Launch { sealed, without: vec![] }).await;
    assert_eq!(code, exit::REFUSED, "the same plan twice");
    let audit = operator.all(&Request::Audit { rollout: None }).await;
    let audit: Vec<_> = audit
        .into_iter()
        .map(|answer| match answer {
            Answer::Audit(line) => line,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(audit.len(), 6);
    assert_eq!(sternway_coordinator::audit::first_break(&audit), None);
}

#[tokio::test]
async fn a_halt_reaches_the_hosts_and_only_the_right_confirmation_ends_it() {
    let site = Site::start(&["web-1"]);
    let operator = site.operator("ada").await;
    let mut agent = site.agent("web-1").await;
    let (sealed, id) = seal(&plan(&[&["web-1"]]));
    let rollout = operator.launch(&sealed).await;
    agent.plan().await;
    agent.tell(id, vec![Input::Staged { point: None }, Input::PermitAsked { nonce: 1 }]).await;
    assert!(matches!(agent.hear().await.unwrap(), Some(ToAgent::Permit { .. })));
    let halt = Request::Halt { rollout: rollout.clone(), reason: "odd graphs".into() };
    let Answer::Taken { status, .. } = operator.ask(&halt).await else { panic!() };
    assert_eq!(status.status.state, State::Halted);
    let halt = status.status.halt.unwrap().last.sequence;
    assert!(matches!(agent.hear().await.unwrap(), Some(ToAgent::Halt { plan, .. }) if plan == id));
    let resume =
        |confirmed| Request::Resume { rollout: rollout.clone(), reason: "fine".into(), confirmed, halt };
    assert!(
        matches!(operator.ask(&resume(vec![])).await, Answer::Taken { status, .. } if status.status.state == State::Halted)
    );
    let resumed = operator.ask(&resume(vec![host("web-1")])).await;
    assert!(matches!(resumed, Answer::Taken { status, .. } if status.status.state != State::Halted));
    let (code, _) = operator.refused(&Request::Hold { rollout, reason: " ".into() }).await;
    assert_eq!(code, exit::USAGE);
}

#[tokio::test]
async fn a_halt_wins_against_a_resume_that_does_not_know_of_it() {
    let site = Site::start(&["web-1"]);
    let (ada, bob) = (site.operator("ada").await, site.operator("bob").await);
    let rollout = ada.launch(&seal(&plan(&[&["web-1"]])).0).await;
    let halted = async |operator: &crate::harness::Operator, reason: &str| {
        let halt = Request::Halt { rollout: rollout.clone(), reason: reason.into() };
        let Answer::Taken { status, .. } = operator.ask(&halt).await else { panic!() };
        status.status.halt.unwrap().last.sequence
    };
    let resume =
        |halt| Request::Resume { rollout: rollout.clone(), reason: "fine".into(), confirmed: vec![], halt };
    let looked_at = halted(&ada, "odd graphs").await;
    let newer = halted(&bob, "the disk is burning").await;
    let (code, message) = ada.refused(&resume(looked_at)).await;
    assert_eq!(code, exit::USAGE);
    assert!(message.contains("halted again"), "{message}");
    let resumed = ada.ask(&resume(newer)).await;
    assert!(
        matches!(&resumed, Answer::Taken { status, .. } if status.status.state != State::Halted),
        "{resumed:?}"
    );
}

#[tokio::test]
async fn an_approval_needs_a_signature_of_the_right_group_in_the_right_name() {
    let site = Site::start(&["web-1"]);
    let operator = site.operator("bob").await;
    let mut waiting = plan(&[&["web-1"]]);
    waiting.waves[0].approve = Some("owners".parse().unwrap());
    let (sealed, id) = seal(&waiting);
    let rollout = operator.launch(&sealed).await;
    let with = |sealed| Request::Order { rollout: rollout.clone(), sealed };
    let approve = Verb::Approve { wave: 1 };
    assert_eq!(operator.refused(&with(order(id, approve.clone(), "bob", 2))).await.0, exit::NOT_PERMITTED);
    assert_eq!(operator.refused(&with(order(id, approve.clone(), "ada", 2))).await.0, exit::REFUSED);
    assert_eq!(operator.refused(&with(order(id, Verb::Approve { wave: 9 }, "ada", 1))).await.0, exit::USAGE);
    let other = sternway_core::ids::PlanId([5; 32]);
    assert_eq!(operator.refused(&with(order(other, approve.clone(), "ada", 1))).await.0, exit::REFUSED);
    // Bob carries what ada signed.
    let taken = operator.ask(&with(order(id, approve, "ada", 1))).await;
    assert!(
        matches!(taken, Answer::Taken { status, .. } if matches!(status.status.state, State::Running { .. }))
    );
}

#[tokio::test]
async fn a_refusal_by_a_host_counts_as_its_failure_with_its_reason() {
    let site = Site::start(&["web-1"]);
    let operator = site.operator("ada").await;
    let mut agent = site.agent("web-1").await;
    let (sealed, id) = seal(&plan(&[&["web-1"]]));
    let rollout = operator.launch(&sealed).await;
    agent.plan().await;
    agent
        .say(&FromAgent::Refused { plan: id, code: "not-for-me".into(), reason: "no such service".into() })
        .await;
    let mut watch = operator.open(&Request::Watch { rollout, from: 0 }).await;
    loop {
        match watch.next().await.unwrap() {
            Some(Answer::Line(LogLine { what: HostLine::Refused { reason, .. }, .. })) => {
                assert_eq!(reason, "no such service");
                break;
            }
            Some(_) => {}
            None => panic!("the watch ended"),
        }
    }
}
