//! What a host cannot settle by itself: a question for a person, and a proof
//! that only somebody outside can give.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use sternway_tests::fleet::{Fleet, config_plan, text};

use super::{BACK, BEFORE};

/// Says 204 to everything, for as long as the test lives.
fn agreeable_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let read = stream.read(&mut request);
            let answered = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
            if read.is_err() || answered.is_err() {
                continue;
            }
        }
    });
    format!("http://{address}")
}

/// A fleet of one whose agent may talk to these addresses.
fn with_http(addresses: &[&str]) -> Fleet {
    let mut fleet = Fleet::founded(1);
    let config = fleet.path("hosts").join(&fleet.hosts()[0]).join("agent.toml");
    let old = std::fs::read_to_string(&config).expect("the configuration");
    fleet.write(&config, &format!("{old}http = {addresses:?}\n"));
    fleet.start_coordinator();
    fleet.start_agent(0);
    fleet.wait("the host to connect", |fleet| {
        text(&fleet.sternway("ada", &["fleet", "--json"]).stdout).contains("\"connected\":true")
    });
    fleet
}

#[test]
fn a_stuck_host_shows_its_question_and_goes_on_by_a_signed_answer() {
    let server = agreeable_server();
    let fleet = with_http(&[&server, "http://127.0.0.1:9"]);
    let steps = format!(
        "[[step]]\nname = \"tell the pager\"\nuses = \"http@0\"\nundo = \"none\"\n\
         with = {{ put = \"{server}/page\", body = \"going back\", expect = 204 }}\n\
         [[step]]\nname = \"prove it\"\nuses = \"http@0\"\n\
         with = {{ get = \"http://127.0.0.1:9/health\", within = \"200ms\" }}\n[pace]"
    );
    let plan = config_plan(1, &[1], "1ms").replace("[pace]", &steps);
    let (code, said) = fleet.launch(&fleet.seal(&plan));
    assert!(code == 10 || code == 12, "{code} {said}\n{}", fleet.logs());
    assert_eq!(fleet.read(0, "etc/app.json"), BACK, "what came before the step without a way back stays");

    let asked = fleet.sternway("ada", &["unstick", "r-1", "db-01"]);
    let question = text(&asked.stdout);
    assert_eq!(asked.status.code(), Some(12), "{question}{}", text(&asked.stderr));
    assert!(question.contains("tell the pager") && question.contains("put-back"), "{question}");

    let wrong = fleet.sternway("ada", &["unstick", "r-1", "db-01", "retry", "--confirm", "db-01"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
    assert!(text(&wrong.stderr).contains("offered: put-back"), "{}", text(&wrong.stderr));
    let unsure = fleet.sternway("ada", &["unstick", "r-1", "db-01", "put-back", "--confirm", "db-02"]);
    assert_eq!(unsure.status.code(), Some(2), "{}", text(&unsure.stderr));

    let words = ["unstick", "r-1", "db-01", "put-back", "--reason", "told them", "--confirm", "db-01"];
    let answered = fleet.sternway("grace", &words);
    assert_eq!(answered.status.code(), Some(0), "{}", text(&answered.stderr));
    fleet.wait("the host to be back", |fleet| fleet.read(0, "etc/app.json") == BEFORE);
    fleet.wait("the host to say so", |fleet| {
        text(&fleet.sternway("ada", &["status", "r-1", "--json"]).stdout).contains("\"state\":\"undone\"")
    });
    let log = text(&fleet.sternway("ada", &["log", "r-1"]).stdout);
    assert!(log.contains("grace decided: put-back: told them"), "{log}");
    let audit = text(&fleet.sternway("ada", &["audit"]).stdout);
    assert!(audit.contains("unstick db-01: put-back"), "{audit}");
    let again = fleet.sternway("grace", &words);
    assert_eq!(again.status.code(), Some(2), "{}", text(&again.stderr));
}

#[test]
fn a_host_that_is_reached_again_from_outside_keeps_its_change() {
    let fleet = Fleet::of(2);
    let plan = config_plan(2, &[2], "1ms").replace("to = \"1.1\"", "to = \"1.1\"\nconfirm = \"20s\"");
    let (code, said) = fleet.launch(&fleet.seal(&plan));
    assert_eq!(code, 0, "{said}\n{}", fleet.logs());
    super::all_are(&fleet, BACK);
    let log = text(&fleet.sternway("ada", &["log", "r-1"]).stdout);
    assert_eq!(log.matches("was confirmed: it can be reached from outside").count(), 2, "{log}");
}

#[test]
fn a_host_that_nobody_reaches_puts_everything_back_even_over_a_restart() {
    let mut fleet = Fleet::of(1);
    let plan = config_plan(1, &[1], "1500ms").replace("to = \"1.1\"", "to = \"1.1\"\nconfirm = \"2s\"");
    let sealed = fleet.seal(&plan);
    let launched = fleet.sternway("ada", &["launch", &sealed, "--confirm", "1", "--detach"]);
    assert!(launched.status.success(), "{}", text(&launched.stderr));
    fleet.wait("the first step", |fleet| fleet.read(0, "etc/app.json").contains("1.1"));
    fleet.kill_coordinator();
    fleet.wait("the second step", |fleet| fleet.read(0, "etc/app.json") == BACK);
    std::thread::sleep(Duration::from_millis(300));
    fleet.kill_agent(0);
    fleet.start_agent(0);
    fleet.wait("the host to put everything back by itself", |fleet| fleet.read(0, "etc/app.json") == BEFORE);
    fleet.start_coordinator();
    let watched = fleet.sternway("ada", &["watch", "r-1", "--timeout", "50s"]);
    assert_eq!(watched.status.code(), Some(10), "{}{}", text(&watched.stdout), text(&watched.stderr));
    let log = text(&fleet.sternway("ada", &["log", "r-1"]).stdout);
    assert!(log.contains("nobody outside could be reached in time"), "{log}");
}

#[test]
fn a_run_whose_plan_is_gone_is_stuck_where_people_see_it_until_the_plan_is_back() {
    let mut fleet = Fleet::of(1);
    let sealed = fleet.seal(&config_plan(1, &[1], "1500ms"));
    let launched = fleet.sternway("ada", &["launch", &sealed, "--confirm", "1", "--detach"]);
    assert!(launched.status.success(), "{}", text(&launched.stderr));
    fleet.wait("the first step", |fleet| fleet.read(0, "etc/app.json").contains("1.1"));
    fleet.kill_agent(0);
    let plans = fleet.path("hosts").join(&fleet.hosts()[0]).join("state/plans");
    let kept = std::fs::read_dir(&plans).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&kept).unwrap();
    std::fs::write(&kept, &bytes[..bytes.len() / 2]).unwrap();
    fleet.start_agent(0);
    fleet.wait("the host to be stuck", |fleet| {
        fleet.sternway("ada", &["status", "r-1"]).status.code() == Some(12)
    });
    let asked = fleet.sternway("ada", &["unstick", "r-1", "db-01"]);
    assert!(text(&asked.stdout).contains("cannot be read again"), "{}", text(&asked.stdout));

    fleet.kill_agent(0);
    std::fs::write(&kept, &bytes).unwrap();
    fleet.start_agent(0);
    fleet.wait("the host to finish", |fleet| fleet.read(0, "etc/app.json") == BACK);
    fleet.wait("the host to say so", |fleet| {
        text(&fleet.sternway("ada", &["status", "r-1", "--json"]).stdout).contains("\"state\":\"done\"")
    });
}

#[test]
fn an_agent_started_again_without_a_coordinator_does_what_the_plan_says_for_being_cut_off() {
    let mut fleet = Fleet::of(1);
    let plan = config_plan(1, &[1], "25s").replace("[pace]", "[pace]\ncut_off = \"undo\"");
    let launched = fleet.sternway("ada", &["launch", &fleet.seal(&plan), "--confirm", "1", "--detach"]);
    assert!(launched.status.success(), "{}", text(&launched.stderr));
    fleet.wait("the first step", |fleet| fleet.read(0, "etc/app.json").contains("1.1"));
    fleet.kill_agent(0);
    fleet.kill_coordinator();
    fleet.start_agent(0);
    fleet.wait("the host to put everything back", |fleet| fleet.read(0, "etc/app.json") == BEFORE);
}
