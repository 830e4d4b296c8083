//! What people ask of hosts about their rollback points, carried there and
//! back: by agents that answer as a script says, over the real wire.

use std::time::Duration;

use quinn::SendStream;
use sternway_coordinator::audit;
use sternway_core::exit;
use sternway_core::ids::{JournalId, Nonce};
use sternway_core::point::{Answer as Said, Ask, Change, Order, Progress, Want};
use sternway_core::time::Millis;
use sternway_core::trust::{Sealed, SigningKey};
use sternway_core::wire::{
    Answer, FRAME_BYTES_MAX, POINT_ASKS_MAX, PointAnswer, PointAsk, PointSaid, Request, encode_frame,
};
use tokio::time::{sleep, timeout};

use crate::harness::{Agent, FLEET, Incoming, Site, host, now};

/// Nothing here may take longer.
const SOON: Duration = Duration::from_secs(10);

fn ask(name: &str, ask: Ask) -> PointAsk {
    PointAsk { host: host(name), ask }
}

fn list(name: &str) -> PointAsk {
    ask(name, Ask::List(Want::default()))
}

/// An order to drill `shop`, in `person`'s name, signed by the key of `seed`.
fn order(name: &str, person: &str, seed: u8, reason: &str) -> PointAsk {
    let order = Order {
        fleet: FLEET,
        host: host(name),
        nonce: Nonce([3; 16]),
        change: Change::Drill { service: "shop".into() },
        person: person.parse().unwrap(),
        reason: reason.into(),
        issued: now(),
        expires: now() + Millis::minutes(10),
    };
    let mut sealed = Sealed::new(&order).unwrap();
    sealed.sign(&SigningKey::from_seed(&[seed; 32])).unwrap();
    ask(name, Ask::Order(sealed.to_bytes()))
}

fn dropped(points: u32) -> Said {
    Said::Dropped { points, bytes: 10 }
}

/// An agent's end of one ask.
struct Asked {
    send: SendStream,
    incoming: Incoming,
    ask: Ask,
}

impl Asked {
    async fn by(agent: &Agent) -> Self {
        let (send, receive) =
            timeout(SOON, agent.connection.accept_bi()).await.expect("an ask in time").unwrap();
        let mut incoming = Incoming::new(receive, FRAME_BYTES_MAX);
        let ask = incoming.next().await.unwrap().expect("an ask");
        Self { send, incoming, ask }
    }

    async fn say(&mut self, said: &Said) {
        self.send.write_all(&encode_frame(said, FRAME_BYTES_MAX).unwrap()).await.unwrap();
    }

    async fn done(mut self) {
        self.say(&Said::Done).await;
        self.send.finish().unwrap();
    }
}

fn of_host<'a>(answers: &'a [Answer], name: &str) -> Vec<&'a PointSaid> {
    let mut said = Vec::new();
    for answer in answers {
        match answer {
            Answer::Point(PointAnswer { host: of, said: this }) if *of == host(name) => said.push(this),
            Answer::Point(_) => {}
            other => panic!("{other:?}"),
        }
    }
    said
}

fn done() -> PointSaid {
    PointSaid::Answer(Said::Done)
}

async fn audit_of(site: &Site) -> Vec<(String, String, String)> {
    let answers = site.operator("auditor").await.all(&Request::Audit { rollout: None }).await;
    let lines: Vec<_> = answers
        .into_iter()
        .map(|answer| match answer {
            Answer::Audit(line) => line,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(audit::first_break(&lines), None);
    let of_points = lines.into_iter().filter(|line| line.action.starts_with("points "));
    of_points.map(|line| (line.person.to_string(), line.action, line.detail)).collect()
}

#[tokio::test]
async fn every_host_is_asked_and_its_words_come_back_under_its_name() {
    let site = Site::start(&["web-1", "web-2", "web-3"]);
    let (first, second) = (site.agent("web-1").await, site.agent("web-2").await);
    let operator = site.operator("ada").await;
    let request = Request::Points(vec![list("web-1"), list("web-2"), list("web-3")]);
    let hosts = async {
        let mut second = Asked::by(&second).await;
        second.say(&dropped(22)).await;
        second.done().await;
        let mut first = Asked::by(&first).await;
        assert_eq!(first.ask, Ask::List(Want::default()));
        for points in [1, 2] {
            first.say(&dropped(points)).await;
        }
        first.done().await;
    };
    let (answers, ()) = tokio::join!(operator.all(&request), hosts);
    let said = |said: Said| PointSaid::Answer(said);
    assert_eq!(of_host(&answers, "web-1"), [&said(dropped(1)), &said(dropped(2)), &done()]);
    assert_eq!(of_host(&answers, "web-2"), [&said(dropped(22)), &done()]);
    assert_eq!(of_host(&answers, "web-3"), [&PointSaid::Away]);
    assert_eq!(audit_of(&site).await, [], "who only looks leaves no line");
}

#[tokio::test]
async fn a_host_whose_connection_breaks_is_away_and_the_others_go_on() {
    let site = Site::start(&["web-1", "web-2"]);
    let (first, second) = (site.agent("web-1").await, site.agent("web-2").await);
    let operator = site.operator("ada").await;
    let hosts = async {
        let mut broken = Asked::by(&first).await;
        broken.say(&dropped(1)).await;
        sleep(Duration::from_millis(50)).await;
        first.connection.close(7u32.into(), b"power cut");
        let second = Asked::by(&second).await;
        second.done().await;
    };
    let request = Request::Points(vec![list("web-1"), list("web-2")]);
    let (answers, ()) = tokio::join!(operator.all(&request), hosts);
    assert_eq!(of_host(&answers, "web-1").last(), Some(&&PointSaid::Away));
    assert_eq!(of_host(&answers, "web-2"), [&done()]);
}

#[tokio::test]
async fn a_stream_that_ends_without_done_or_says_nonsense_is_told() {
    let site = Site::start(&["web-1", "web-2"]);
    let (first, second) = (site.agent("web-1").await, site.agent("web-2").await);
    let operator = site.operator("ada").await;
    let hosts = async {
        let mut cut = Asked::by(&first).await;
        cut.send.finish().unwrap();
        let mut odd = Asked::by(&second).await;
        odd.send.write_all(&[0, 0, 0, 1, 0xff]).await.unwrap();
        // The coordinator has let go of it.
        assert!(timeout(SOON, odd.send.stopped()).await.is_ok());
    };
    let request = Request::Points(vec![list("web-1"), list("web-2")]);
    let (answers, ()) = tokio::join!(operator.all(&request), hosts);
    assert_eq!(of_host(&answers, "web-1"), [&PointSaid::Away]);
    let odd = of_host(&answers, "web-2");
    assert!(
        matches!(odd[..], [PointSaid::Answer(Said::Refused { code, .. }), end] if code == "unreadable" && *end == done()),
        "{odd:?}"
    );
}

#[tokio::test]
async fn the_newer_connection_of_a_host_is_asked() {
    let site = Site::start(&["web-1"]);
    let older = site.agent("web-1").await;
    let newer = site.agent("web-1").await;
    older.connection.closed().await;
    let operator = site.operator("ada").await;
    let hosts = async { Asked::by(&newer).await.done().await };
    let request = Request::Points(vec![list("web-1")]);
    let (answers, ()) = tokio::join!(operator.all(&request), hosts);
    assert_eq!(of_host(&answers, "web-1"), [&done()]);
    drop(newer);
    let gone = async {
        while of_host(&operator.all(&Request::Points(vec![list("web-1")])).await, "web-1")
            != [&PointSaid::Away]
        {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), gone).await.expect("a session that ended is not asked");
}

#[tokio::test]
async fn an_operator_who_goes_away_calls_it_off() {
    let site = Site::start(&["web-1"]);
    let agent = site.agent("web-1").await;
    let operator = site.operator("ada").await;
    let answers = operator.open(&Request::Points(vec![list("web-1")])).await;
    let mut asked = Asked::by(&agent).await;
    asked.say(&dropped(1)).await;
    drop(answers);
    assert!(asked.incoming.next::<Ask>().await.is_err(), "the ask's stream is reset");
    assert!(timeout(SOON, asked.send.stopped()).await.expect("in time").is_ok());
    // The host can be asked again at once.
    let again = site.operator("ada").await;
    let hosts = async { Asked::by(&agent).await.done().await };
    let request = Request::Points(vec![list("web-1")]);
    let (answers, ()) = tokio::join!(again.all(&request), hosts);
    assert_eq!(of_host(&answers, "web-1"), [&done()]);
}

#[tokio::test]
async fn a_slow_reader_misses_progress_and_nothing_else() {
    let site = Site::start(&["web-1"]);
    let agent = site.agent("web-1").await;
    let operator = site.operator("ada").await;
    let mut answers = operator.open(&Request::Points(vec![list("web-1")])).await;
    let mut asked = Asked::by(&agent).await;
    let told = tokio::spawn(async move {
        for number in 0..20_000u64 {
            let progress =
                Progress { stage: "reading ".repeat(20), done: number, total: None, unit: "bytes".into() };
            asked.say(&Said::Progress(progress)).await;
        }
        asked.say(&dropped(1)).await;
        asked.done().await;
    });
    told.await.unwrap();
    let mut progress = 0;
    let mut rest = Vec::new();
    while let Some(answer) = answers.next::<Answer>().await.unwrap() {
        match answer {
            Answer::Point(PointAnswer { said: PointSaid::Answer(Said::Progress(_)), .. }) => progress += 1,
            other => rest.push(other),
        }
    }
    assert_eq!(of_host(&rest, "web-1"), [&PointSaid::Answer(dropped(1)), &done()]);
    assert!(progress < 20_000, "whoever does not read costs no memory");
}

#[tokio::test]
async fn an_order_is_in_the_audit_before_it_reaches_its_host() {
    let site = Site::start(&["web-1", "web-2", "web-3"]);
    let (first, second) = (site.agent("web-1").await, site.agent("web-2").await);
    let operator = site.operator("ada").await;
    let orders =
        vec![order("web-1", "ada", 1, "quarterly"), order("web-2", "ada", 1, "quarterly"), list("web-3")];
    let Ask::Order(sealed) = orders[0].ask.clone() else { unreachable!() };
    let hosts = async {
        let asked = Asked::by(&first).await;
        assert_eq!(asked.ask, Ask::Order(sealed), "the very bytes that were signed");
        let line = ("ada".into(), "points drill".into(), "web-[1-2]: shop: quarterly".into());
        assert_eq!(audit_of(&site).await, [line]);
        asked.done().await;
        Asked::by(&second).await.done().await;
    };
    let request = Request::Points(orders);
    let (answers, ()) = tokio::join!(operator.all(&request), hosts);
    assert_eq!(of_host(&answers, "web-1"), [&done()]);
    assert_eq!(of_host(&answers, "web-2"), [&done()]);
}

#[tokio::test]
async fn an_order_in_anothers_name_is_carried_by_nobody() {
    let site = Site::start(&["web-1", "web-2"]);
    let agent = site.agent("web-1").await;
    let operator = site.operator("bob").await;
    let not_mine = order("web-1", "ada", 1, "quarterly");
    let mut elsewhere = order("web-1", "bob", 2, "quarterly");
    elsewhere.host = host("web-2");
    let cases = [
        (vec![not_mine.clone()], exit::NOT_PERMITTED, "in the name of ada"),
        (vec![list("web-2"), not_mine], exit::NOT_PERMITTED, "in the name of ada"),
        (vec![elsewhere], exit::REFUSED, "is for web-1"),
        (vec![ask("web-1", Ask::Order(vec![1, 2]))], exit::REFUSED, "cannot be read"),
        (vec![order("web-1", "bob", 2, " ")], exit::USAGE, "a reason is wanted"),
        (vec![order("web-1", "bob", 2, "a\u{202e}b")], exit::USAGE, "direction characters"),
    ];
    for (asks, code, words) in cases {
        let (found, message) = operator.refused(&Request::Points(asks)).await;
        assert_eq!(found, code, "{message}");
        assert!(message.contains(words), "{message}");
    }
    assert!(timeout(Duration::from_millis(200), agent.connection.accept_bi()).await.is_err());
    let audit = audit_of(&site).await;
    assert_eq!(audit.len(), 6);
    assert!(audit.iter().all(|(person, action, _)| person == "bob" && action == "points refused"));
}

#[tokio::test]
async fn hosts_nobody_knows_and_too_many_at_once_are_refused() {
    let site = Site::start(&["web-1"]);
    let operator = site.operator("ada").await;
    let (code, message) = operator.refused(&Request::Points(vec![list("web-9")])).await;
    assert_eq!(code, exit::INVALID);
    assert!(message.contains("web-9"), "{message}");
    let (code, _) = operator.refused(&Request::Points(vec![list("web-1"); 2])).await;
    assert_eq!(code, exit::USAGE);
    let many = (0..=POINT_ASKS_MAX).map(|at| list(&format!("web-{at}"))).collect();
    assert_eq!(operator.refused(&Request::Points(many)).await.0, exit::USAGE);
    assert_eq!(operator.all(&Request::Points(vec![])).await, []);
}

#[tokio::test]
async fn a_host_in_quarantine_is_asked_nothing_and_says_why() {
    let site = Site::start(&["web-1"]);
    let genuine = site.agent("web-1").await;
    drop(genuine);
    let doubled = Agent::connect(&site, "web-1", JournalId([2; 16]), 0).await;
    assert!(doubled.is_err(), "another journal is not believed");
    let operator = site.operator("ada").await;
    let answers = operator.all(&Request::Points(vec![order("web-1", "ada", 1, "quarterly")])).await;
    let said = of_host(&answers, "web-1");
    assert!(
        matches!(said[..], [PointSaid::Answer(Said::Refused { code, reason }), _] if code == "quarantine" && reason.contains("journal")),
        "{said:?}"
    );
}

#[tokio::test]
async fn many_hosts_are_asked_sixty_four_at_a_time() {
    let names: Vec<String> = (1..=80).map(|number| format!("web-{number:02}")).collect();
    let site = Site::start(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut agents = Vec::new();
    for name in &names {
        agents.push(site.agent(name).await);
    }
    let operator = site.operator("ada").await;
    let asks = names.iter().map(|name| list(name)).collect();
    let answering = tokio::spawn(async move { operator.all(&Request::Points(asks)).await });
    let (heard, mut asked) = tokio::sync::mpsc::channel(100);
    for agent in agents {
        let heard = heard.clone();
        tokio::spawn(async move {
            let asked = Asked::by(&agent).await;
            heard.send(asked).await.unwrap();
            agent.connection.closed().await;
        });
    }
    let mut open = Vec::new();
    while open.len() < 64 {
        open.push(timeout(SOON, asked.recv()).await.expect("64 are asked").unwrap());
    }
    assert!(timeout(Duration::from_millis(300), asked.recv()).await.is_err(), "and no more than 64");
    for one in open {
        one.done().await;
    }
    for _ in 64..80 {
        timeout(SOON, asked.recv()).await.expect("then the rest").unwrap().done().await;
    }
    let answers = answering.await.unwrap();
    assert_eq!(answers.len(), 80);
    assert!(answers.iter().all(|answer| matches!(answer, Answer::Point(answer) if answer.said == done())));
}
