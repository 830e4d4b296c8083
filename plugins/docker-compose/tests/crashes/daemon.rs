//! A Docker daemon and compose, as far as forms ask them: images and containers
//! stand in the world's model, and who runs among its services.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sternway_plugin::Error;
use sternway_plugin::host::programs::{Call, Ended};
use sternway_plugin::rehearsal::{Service, World};

pub(crate) const FOLDER: &str = "/srv/shop";
pub(crate) const PINNED: &str =
    "shop/api@sha256:1111111111111111111111111111111111111111111111111111111111111111";
pub(crate) const LOST: &str =
    "shop/api@sha256:9999999999999999999999999999999999999999999999999999999999999999";

/// A project of two services, the second with two containers, on version 1.2;
/// its rollback point holds 1.1.
pub(crate) fn world() -> World {
    let compose =
        |tag: &str| format!("services:\n  api:\n    image: shop/api:{tag}\n  db:\n    image: shop/db:15\n");
    let text = |entries: &[(&str, &str)]| {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    let mut world = World {
        live: text(&[("/srv/shop/compose.yaml", &compose("1.2")), ("/srv/shop/.env", "COLOUR=green\n")]),
        point: text(&[("/srv/shop/compose.yaml", &compose("1.1")), ("/srv/shop/.env", "COLOUR=blue\n")]),
        model: text(&[
            ("image shop/api:1.1", "sha256:api11"),
            ("image shop/api:1.2", "sha256:api12"),
            ("image shop/db:15", "sha256:db15"),
        ]),
        programs: Some(program),
        ..World::default()
    };
    for (name, service, image, running) in [
        ("shop-api-1", "api", "shop/api:1.2", true),
        ("shop-api-2", "api", "shop/api:1.2", false),
        ("shop-db-1", "db", "shop/db:15", true),
    ] {
        make(&mut world, name, service, image);
        world.services.get_mut(name).unwrap().running = running;
    }
    world
}

/// Containers by name with image and whether they run.
pub(crate) fn running(world: &World) -> String {
    let one = |(name, service): (&String, &Service)| {
        let made = &world.model[&format!("container {name}")];
        let image = made.split('|').nth(1).unwrap();
        format!("{name} {image} {}", if service.running { "up" } else { "ended" })
    };
    world.services.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn program(world: &mut World, call: &Call) -> Result<Ended, Error> {
    if let Some(complaint) = world.model.get(&format!("fails {}", call.form)) {
        return Ok(failed(&complaint.clone()));
    }
    let many = |name: &str| -> Vec<String> {
        call.holes.iter().filter(|hole| hole.name == name).flat_map(|hole| hole.values.clone()).collect()
    };
    let first = |name: &str| many(name).first().cloned().unwrap_or_default();
    Ok(match call.form.as_str() {
        "containers.version" => ended(""),
        "containers.config" | "containers.staged-config" => {
            let side = call.form.contains("staged");
            match services_of(world, &many("files"), side) {
                Ok(services) => ended(&resolved(&services)),
                Err(complaint) => failed(&complaint),
            }
        }
        "containers.list" => {
            let names: Vec<String> = world.services.keys().map(|name| id(world, name)).collect();
            ended(&names.join("\n"))
        }
        "containers.inspect" => {
            let found: Vec<Value> = many("containers").iter().map(|id| inspected(world, id)).collect();
            ended(&serde_json::to_string(&found).unwrap())
        }
        "containers.image" => match world.model.get(&format!("image {}", first("image"))) {
            Some(id) => ended(&json!([{ "Id": id }]).to_string()),
            None => failed("no such image"),
        },
        "containers.pull" if first("image") == PINNED => {
            world.model.insert(format!("image {PINNED}"), "sha256:api11".into());
            ended("")
        }
        "containers.pull" => failed("connection refused"),
        "containers.logs" => ended("started\nno database\n"),
        "containers.up" | "containers.create" => compose_up(world, call, &many),
        "containers.stop" => {
            each(world, &many("services"), |service| service.running = false);
            ended("")
        }
        "containers.down" => {
            world.services.clear();
            world.model.retain(|key, _| !key.starts_with("container "));
            ended("")
        }
        "containers.start-these" => these(world, &many("containers"), true),
        "containers.stop-these" => these(world, &many("containers"), false),
        "containers.remove-these" => {
            for id in many("containers") {
                remove(world, name(&id));
            }
            ended("")
        }
        other => panic!("nobody knows {other}"),
    })
}

fn compose_up(world: &mut World, call: &Call, many: &dyn Fn(&str) -> Vec<String>) -> Ended {
    let mut services = match services_of(world, &many("files"), false) {
        Ok(services) => services,
        Err(complaint) => return failed(&complaint),
    };
    if let Some(pins) = many("pins").first() {
        services.extend(parse(&world.side[pins]));
    }
    if many("orphans") == ["remove-orphans"] {
        let orphans = world.services.keys().filter(|name| !services.contains_key(service_of(name)));
        for orphan in orphans.cloned().collect::<Vec<_>>() {
            remove(world, &orphan);
        }
    }
    let wanted = many("services");
    services.retain(|service, _| wanted.is_empty() || wanted.contains(service));
    for (service, image) in &services {
        let known = world.model.contains_key(&format!("image {image}")) || image.starts_with("sha256:");
        if !known {
            return failed(&format!("{image} is not here"));
        }
        let scale =
            many("scale").iter().find_map(|one| one.strip_prefix(&format!("{service}="))?.parse().ok());
        let old: Vec<String> =
            world.services.keys().filter(|name| service_of(name) == service).cloned().collect();
        for gone in old.iter().skip(scale.unwrap_or(1)) {
            remove(world, gone);
        }
        for number in 1..=scale.unwrap_or(1) {
            let name = format!("shop-{service}-{number}");
            let made = format!("{service}|{image}");
            let same = world.model.get(&format!("container {name}")) == Some(&made);
            let forced = many("recreate") == ["force-recreate"];
            let kept = many("recreate") == ["no-recreate"] && world.services.contains_key(&name);
            if (!same || forced) && !kept {
                make(world, &name, service, image);
            }
            if call.form == "containers.up" {
                world.services.get_mut(&name).unwrap().running = true;
            }
        }
    }
    ended("")
}

fn services_of(world: &World, files: &[String], side: bool) -> Result<BTreeMap<String, String>, String> {
    let mut services = BTreeMap::new();
    for path in files {
        let place = if side { &world.side } else { &world.live };
        let text = place.get(path).ok_or(format!("no such file: {path}"))?;
        if !text.contains("services:") {
            return Err(format!("{path}: services must be a mapping"));
        }
        services.extend(parse(text));
    }
    Ok(services)
}

fn parse(text: &str) -> BTreeMap<String, String> {
    let mut services = BTreeMap::new();
    let mut service = String::new();
    for line in text.lines() {
        let plain = line.trim().replace('"', "");
        match plain.strip_prefix("image: ") {
            Some(image) => drop(services.insert(service.clone(), image.to_owned())),
            None => service = plain.trim_end_matches(':').to_owned(),
        }
    }
    services
}

fn resolved(services: &BTreeMap<String, String>) -> String {
    let one = |(service, image): (&String, &String)| match image.as_str() {
        "built" => format!("  {service}:\n    build: .\n"),
        image => format!("  {service}:\n    image: {image}\n"),
    };
    format!("name: shop\nservices:\n{}", services.iter().map(one).collect::<String>())
}

fn inspected(world: &World, id: &str) -> Value {
    let name = name(id);
    let made = &world.model[&format!("container {name}")];
    let (service, image) = made.split_once('|').unwrap();
    let state = &world.services[name];
    let image_id = world.model.get(&format!("image {image}")).cloned().unwrap_or_else(|| image.to_owned());
    let folder = world.model.get("folder").map_or(FOLDER, String::as_str);
    let status = match world.model.get("state").map(String::as_str) {
        Some(status) => status,
        None if state.running => "running",
        None => "exited",
    };
    let mut described = json!({
        "Id": id, "Name": format!("/{name}"), "Image": image_id, "RestartCount": 0,
        "State": { "Status": status, "ExitCode": 0, "StartedAt": format!("{:04}", state.pid) },
        "HostConfig": { "RestartPolicy": { "Name": "no" } },
        "Config": { "Image": image, "Labels": {
            "com.docker.compose.service": service,
            "com.docker.compose.container-number": name.rsplit('-').next(),
            "com.docker.compose.project.working_dir": folder,
        } },
    });
    if service == "db" && status == "running" {
        described["State"]["Health"] = json!({ "Status": "healthy" });
    }
    described
}

fn make(world: &mut World, name: &str, service: &str, image: &str) {
    let pid = world.services.values().map(|service| service.pid).max().unwrap_or(0) + 1;
    world.services.insert(name.to_owned(), Service { running: false, pid });
    world.model.insert(format!("container {name}"), format!("{service}|{image}"));
}

fn remove(world: &mut World, name: &str) {
    world.services.remove(name);
    world.model.remove(&format!("container {name}"));
}

fn each(world: &mut World, services: &[String], change: impl Fn(&mut Service)) {
    let about =
        |name: &str| services.is_empty() || services.iter().any(|service| service == service_of(name));
    world.services.iter_mut().filter(|(name, _)| about(name)).for_each(|(_, service)| change(service));
}

fn these(world: &mut World, ids: &[String], running: bool) -> Ended {
    for id in ids {
        world.services.get_mut(name(id)).unwrap().running = running;
    }
    ended("")
}

fn id(world: &World, name: &str) -> String {
    format!("{name}.{}", world.services[name].pid)
}

fn name(id: &str) -> &str {
    id.split('.').next().unwrap()
}

fn service_of(name: &str) -> &str {
    name.split('-').nth(1).unwrap()
}

fn ended(output: &str) -> Ended {
    Ended { code: Some(0), signal: None, output: output.into(), complaint: String::new(), elapsed_ms: 1 }
}

fn failed(complaint: &str) -> Ended {
    Ended { code: Some(1), signal: None, output: vec![], complaint: complaint.into(), elapsed_ms: 1 }
}
