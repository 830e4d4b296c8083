//! `traffic` before a real nginx, through the forms the agent runs, and killed
//! at every host call.

#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the test where it stands")]

mod fixture;

use std::path::Path;
use std::process::Command;

use fixture::{Instance, backend, program, settles, share};
use sternway_plugin::Error;
use sternway_plugin::host::programs::{Call, Ended};
use sternway_plugin::rehearsal::{Goal, UnitModel, World, crash_matrix, run, try_run};
use traffic::Traffic;

const FORMS: &str = include_str!("../../../agent/src/capabilities/programs/forms/nginx.toml");

/// Writes the world's files where nginx reads them, and runs the real program
/// as the agent's form says.
fn really(world: &mut World, call: &Call) -> Result<Ended, Error> {
    let folder = Path::new(&call.on).parent().unwrap();
    for name in ["upstream.conf", "maintenance.on"] {
        let path = folder.join(name);
        match world.live.get(path.to_str().unwrap()) {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => drop(std::fs::remove_file(&path)),
        }
    }
    let link = folder.join("app.conf");
    if let Some(target) = world.live.get(link.to_str().unwrap()).and_then(|text| text.strip_prefix("-> ")) {
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(target, &link).unwrap();
    }
    let forms: toml_edit::DocumentMut = FORMS.parse().unwrap();
    let forms = forms["form"].as_array_of_tables().unwrap();
    let form = forms.iter().find(|form| form["name"].as_str() == Some(&call.form)).unwrap();
    let arguments = form["arguments"].as_array().unwrap().iter();
    let arguments = arguments.map(|word| word.as_str().unwrap().replace("{on}", &call.on));
    let ended = Command::new(program(form["program"].as_str().unwrap(), "").unwrap())
        .args(arguments)
        .output()
        .unwrap();
    if call.form == "nginx.reload" && ended.status.success() {
        let served = world.live.iter().map(|(path, text)| format!("{path}\n{text}\n")).collect();
        world.model.insert("what nginx was reloaded with".into(), served);
    }
    Ok(Ended {
        code: ended.status.code(),
        signal: None,
        output: ended.stdout,
        complaint: String::from_utf8_lossy(&ended.stderr).into_owned(),
        elapsed_ms: 1,
    })
}

struct Site {
    instance: Instance,
    world: World,
    blue: String,
    green: String,
}

impl Site {
    fn start(test: &str) -> Option<Self> {
        let nginx = program("nginx", test)?;
        let mut instance = Instance::folder("nginx");
        let (blue, green) = (backend("blue"), backend("green"));
        let (blue, green) = (format!("127.0.0.1:{blue}"), format!("127.0.0.1:{green}"));
        let folder = instance.folder.to_str().unwrap().to_owned();
        let port = instance.port;
        let conf = format!(
            "daemon off; worker_processes 1; user root; pid {folder}/nginx.pid; error_log {folder}/error.log;\n\
             events {{ worker_connections 128; }}\n\
             http {{ access_log off; client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2;\n\
             fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;\n\
             include {folder}/upstream.conf;\n\
             server {{ listen 127.0.0.1:{port}; if (-f {folder}/maintenance.on) {{ return 503; }}\n\
             include {folder}/app.conf; }} }}\n"
        );
        std::fs::write(instance.folder.join("nginx.conf"), conf).unwrap();
        std::fs::write(instance.folder.join("serve.conf"), "location / { proxy_pass http://app; }\n")
            .unwrap();
        std::fs::write(instance.folder.join("closed.conf"), "location / { return 503; }\n").unwrap();
        let upstream = format!(
            "# who serves\nupstream app {{\n    random;\n    server {blue} down;\n    server {green} weight=2 max_fails=0;\n}}\n"
        );
        std::fs::write(instance.folder.join("upstream.conf"), &upstream).unwrap();
        std::os::unix::fs::symlink("serve.conf", instance.folder.join("app.conf")).unwrap();
        let conf = instance.path("nginx.conf");
        instance.start(&nginx, &["-c", &conf], "nginx.pid");
        let mut world = World { programs: Some(really), ..World::default() };
        world.live.insert(instance.path("upstream.conf"), upstream);
        world.live.insert(instance.path("app.conf"), "-> serve.conf".into());
        let served = world.live.iter().map(|(path, text)| format!("{path}\n{text}\n")).collect();
        world.model.insert("what nginx was reloaded with".into(), served);
        Some(Self { instance, world, blue, green })
    }

    fn settings(&self, rest: &str) -> String {
        format!(r#"{{"config":"{}",{rest}}}"#, self.instance.path("nginx.conf"))
    }

    fn upstream(&self, rest: &str) -> String {
        self.settings(&format!(r#""upstream":"{}",{rest}"#, self.instance.path("upstream.conf")))
    }
}

#[test]
fn everything_goes_to_the_stable_server_and_back_through_every_crash() {
    let Some(site) = Site::start("everything_goes_to_the_stable_server_and_back_through_every_crash") else {
        return;
    };
    settles(site.instance.port, "before", |answers| share(answers, "green") == 30);
    let settings = site.upstream(&format!(r#""stable":"{}","to":"100%""#, site.blue));
    assert!(crash_matrix::<Traffic>(&site.world, &settings, None) > 0);
    run::<Traffic>(site.world.clone(), &settings, None, Goal::Applied, None);
    settles(site.instance.port, "all to stable", |answers| share(answers, "blue") == 30);
    let back = run::<Traffic>(site.world.clone(), &settings, None, Goal::Undone, None);
    settles(site.instance.port, "back", |answers| share(answers, "green") == 30);
    assert_eq!(back.content(), site.world.content());
}

#[test]
fn a_part_of_the_traffic_goes_where_the_weights_say() {
    let Some(site) = Site::start("a_part_of_the_traffic_goes_where_the_weights_say") else { return };
    let settings = site.upstream(&format!(r#""stable":"{}","to":"50%""#, site.blue));
    run::<Traffic>(site.world.clone(), &settings, None, Goal::Applied, None);
    // Of 30 by chance: 5 to 25 but once in ten thousand tries, and it is tried again.
    settles(site.instance.port, "half", |answers| (5..=25).contains(&share(answers, "blue")));
    let weights = site.upstream(&format!(r#""weights":{{"{}":1,"{}":"down"}}"#, site.blue, site.green));
    run::<Traffic>(site.world.clone(), &weights, None, Goal::Applied, None);
    settles(site.instance.port, "all", |answers| share(answers, "blue") == 30);
}

#[test]
fn what_nginx_refuses_is_put_back_and_nothing_is_reloaded() {
    let Some(site) = Site::start("what_nginx_refuses_is_put_back_and_nothing_is_reloaded") else { return };
    // `random` knows no backup servers.
    let settings = site.upstream(&format!(r#""weights":{{"{}":"backup"}}"#, site.blue));
    let (left, ended) = try_run::<Traffic>(site.world.clone(), &settings, None, Goal::Applied);
    let error = ended.unwrap_err().error;
    assert_eq!(error.code, "traffic/nginx-refuses");
    assert!(error.message.contains("backup"), "{}", error.message);
    assert_eq!(left.content(), site.world.content());
    assert!(!left.log.iter().any(|call| call.contains("nginx.reload")), "{:?}", left.log);
}

#[test]
fn the_maintenance_page_is_switched_by_a_file_and_by_a_link() {
    let Some(site) = Site::start("the_maintenance_page_is_switched_by_a_file_and_by_a_link") else { return };
    let all = |status: u16| move |answers: &[(u16, String)]| answers.iter().all(|(seen, _)| *seen == status);
    let flag = site.instance.path("maintenance.on");
    let link = site.instance.path("app.conf");
    for settings in [
        site.settings(&format!(r#""maintenance":"on","flag":"{flag}","content":"be right back\n""#)),
        site.settings(&format!(
            r#""maintenance":"on","link":"{link}","target":"closed.conf","target-off":"serve.conf""#
        )),
    ] {
        assert!(crash_matrix::<Traffic>(&site.world, &settings, None) > 0);
        let on = run::<Traffic>(site.world.clone(), &settings, None, Goal::Applied, None);
        settles(site.instance.port, "closed", all(503));
        let off = settings.replace(r#""on","#, r#""off","#);
        let again =
            World { ran: Default::default(), marks: Default::default(), side: Default::default(), ..on };
        run::<Traffic>(again, &off, None, Goal::Applied, None);
        settles(site.instance.port, "open", all(200));
    }
}

#[test]
fn a_file_that_somebody_changes_meanwhile_is_left_to_them() {
    let Some(mut site) = Site::start("a_file_that_somebody_changes_meanwhile_is_left_to_them") else {
        return;
    };
    let path = site.instance.path("upstream.conf");
    let theirs = site.world.live[&path].replace("weight=2", "weight=3");
    site.world.meddles.insert(path.clone(), theirs.clone());
    let settings = site.upstream(&format!(r#""stable":"{}","to":"100%""#, site.blue));
    let (left, ended) = try_run::<Traffic>(site.world.clone(), &settings, None, Goal::Applied);
    assert_eq!(ended.unwrap_err().error.code, "traffic/changed-since");
    assert_eq!(left.live[&path], theirs);
}

#[test]
fn what_cannot_be_done_refuses_the_run_before_anything_is_touched() {
    let Some(site) = Site::start("what_cannot_be_done_refuses_the_run_before_anything_is_touched") else {
        return;
    };
    let missing = site.settings(r#""upstream":"/none.conf","stable":"a:1","to":"100%""#);
    for (settings, code) in [
        (site.upstream(r#""stable":"10.9.9.9:1","to":"100%""#), "traffic/no-such-server"),
        (site.upstream(&format!(r#""weights":{{"{}":0}}"#, site.green)), "traffic/nobody-left"),
        (site.upstream(r#""block":"other","stable":"a:1","to":"100%""#), "traffic/no-such-upstream"),
        (site.upstream(&format!(r#""stable":"{}","to":"50%""#, site.green)), "traffic/no-others"),
        (missing, "traffic/no-file"),
    ] {
        let (left, ended) = try_run::<Traffic>(site.world.clone(), &settings, None, Goal::Applied);
        assert_eq!(ended.unwrap_err().error.code, code, "{settings}");
        assert_eq!(left.content(), site.world.content());
    }
}

/// What systemd reloads is not this test's nginx, which is only asked.
fn accepts(_: &mut World, call: &Call) -> Result<Ended, Error> {
    assert_eq!(call.form, "nginx.test");
    Ok(Ended { code: Some(0), signal: None, output: vec![], complaint: String::new(), elapsed_ms: 1 })
}

#[test]
fn a_unit_is_reloaded_by_systemd_and_only_while_it_runs() {
    let settings = r#"{"upstream":"/app.conf","config":"/nginx.conf","reload":"nginx.service","stable":"blue:1","to":"100%"}"#;
    for running in [true, false] {
        let mut world = World { programs: Some(accepts), ..World::default() };
        world.live.insert("/app.conf".into(), "upstream app { server blue:1 down; server green:1; }".into());
        world.units.insert("nginx.service".into(), UnitModel { running, ..UnitModel::default() });
        assert!(crash_matrix::<Traffic>(&world, settings, None) > 0);
        let left = run::<Traffic>(world, settings, None, Goal::Applied, None);
        assert_eq!(left.units["nginx.service"].reloads, u32::from(running));
        assert_eq!(left.live["/app.conf"], "upstream app { server blue:1; server green:1 down; }");
    }
}
