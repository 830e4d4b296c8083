//! What cannot be right in the part about rollback points, found when the file
//! is read and not in the night when the point is to be made.

use std::collections::BTreeSet;

use sternway_core::ids::PluginName;
use sternway_core::point::Kind;

use super::{Component, Database, DatabaseSource, PointService, PointsConfig, Schedule, Version};
use crate::capabilities::files::HostPath;
use crate::points::pieces::packages::SYSTEM;

const NAME_CHARACTERS_MAX: usize = 64;

impl PointsConfig {
    /// All of them, in the order of the file.
    pub(in crate::config) fn problems(&self) -> Vec<String> {
        let mut found = Problems::default();
        if self.scrub.share > 100 {
            found.say("points.scrub", format!("a share of {} % is more than everything", self.scrub.share));
        }
        found.names("a service", self.services.iter().map(|service| &service.name));
        for service in &self.services {
            service.problems(&mut found);
        }
        found.names("a schedule", self.schedules.iter().map(|schedule| &schedule.name));
        for schedule in &self.schedules {
            schedule.problems(&self.services, &mut found);
        }
        found.0
    }
}

#[derive(Debug, Default)]
struct Problems(Vec<String>);

impl Problems {
    fn say(&mut self, place: &str, what: impl std::fmt::Display) {
        self.0.push(format!("{place}: {what}"));
    }

    /// Each is a name that can stand in a tag, a path and a command, and stands once.
    fn names<'a>(&mut self, what: &str, names: impl Iterator<Item = &'a String>) {
        let mut seen = BTreeSet::new();
        for name in names {
            if !is_name(name) {
                let shown = name.escape_debug();
                self.say(
                    &format!("`{shown}`"),
                    format!("cannot name {what}: 1 to 64 letters, digits, `-`, `_`, `.`"),
                );
            }
            if !seen.insert(name) {
                self.say(&format!("`{}`", name.escape_debug()), format!("names {what} twice"));
            }
        }
    }

    fn paths<'a>(&mut self, place: &str, paths: impl IntoIterator<Item = &'a String>) {
        for path in paths {
            match HostPath::parse(path) {
                Ok(path) if path.as_str() == "/" => {
                    self.say(place, "`/` is the whole host: name what is below it")
                }
                Ok(_) => {}
                Err(error) => self.say(place, error.message),
            }
        }
    }

    fn command(&mut self, place: &str, command: &[String]) {
        if command.first().is_none_or(String::is_empty) {
            self.say(place, "the command is empty");
        }
    }
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=NAME_CHARACTERS_MAX).contains(&name.len())
        && !name.starts_with(['.', '-'])
        && name.chars().all(plain)
}

impl PointService {
    fn problems(&self, found: &mut Problems) {
        let place = format!("the service `{}`", self.name.escape_debug());
        for paths in [&self.files, &self.config, &self.compose, &self.git, &self.flags, &self.environment] {
            found.paths(&place, paths);
        }
        found.paths(&place, self.packages.iter().filter(|what| *what != SYSTEM));
        for unit in self.units.iter().filter(|unit| !is_unit(unit)) {
            found.say(&place, format!("`{}` is no unit: write `name.service`", unit.escape_debug()));
        }
        match &self.version {
            Some(Version::File(path) | Version::Git(path)) => found.paths(&place, [path]),
            Some(Version::Command(command)) => found.command(&format!("{place}, version"), command),
            None => {}
        }
        found.names(&format!("a database of {place}"), self.databases.iter().map(|database| &database.name));
        for database in &self.databases {
            database.problems(&place, found);
        }
        found.names(&format!("a component of {place}"), self.components.iter().map(|part| &part.name));
        for Component { name, files } in &self.components {
            let place = format!("{place}, component `{}`", name.escape_debug());
            if files.is_empty() {
                found.say(&place, "it has no files");
            }
            found.paths(&place, files);
        }
        for plugin in &self.plugins {
            if plugin.parse::<PluginName>().is_err() {
                found.say(&place, format!("`{}` is no name of a plugin", plugin.escape_debug()));
            }
        }
        let paths = [&self.files, &self.config, &self.units, &self.compose, &self.git, &self.packages];
        let is_bare = paths.into_iter().chain([&self.flags, &self.environment]).all(Vec::is_empty);
        if is_bare && self.databases.is_empty() && self.components.is_empty() {
            found.say(&place, "a point of it would hold nothing");
        }
    }
}

impl Database {
    fn problems(&self, service: &str, found: &mut Problems) {
        let place = format!("{service}, database `{}`", self.name.escape_debug());
        match &self.source {
            DatabaseSource::Sqlite(path) => found.paths(&place, [path]),
            DatabaseSource::Postgres(connection) if holds_password(connection) => found.say(
                &place,
                "the connection text holds a password, which every user of the host could see: use `passfile=`, a \
                 `service=` or `user`",
            ),
            DatabaseSource::Postgres(connection) if connection.trim().is_empty() => {
                found.say(&place, "the connection text is empty: name the database, `dbname=…`");
            }
            DatabaseSource::Postgres(_) => {}
            DatabaseSource::Mysql(mysql) => {
                found.paths(&place, [&mysql.defaults]);
                if mysql.databases.iter().any(|name| name.is_empty() || name.starts_with('-')) {
                    found.say(&place, "a name of a database is empty or begins with `-`");
                }
            }
            DatabaseSource::Command(command) => found.command(&place, command),
        }
        if matches!(self.source, DatabaseSource::Sqlite(_)) && self.user.is_some() {
            found.say(&place, "`user` is for programs, and a SQLite file is read by the agent itself");
        }
    }
}

fn holds_password(connection: &str) -> bool {
    let mut address = connection.split("://").skip(1);
    let in_address = address.next().is_some_and(|rest| {
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    });
    let squeezed: String = connection.chars().filter(|c| !c.is_whitespace()).collect();
    in_address || squeezed.to_lowercase().contains("password=")
}

/// What `systemctl` takes for one unit and never for an option or a pattern.
fn is_unit(unit: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let has_ending =
        unit.rsplit_once('.').is_some_and(|(name, ending)| !name.is_empty() && !ending.is_empty());
    has_ending && unit.len() <= 255 && !unit.starts_with('-') && unit.chars().all(plain)
}

impl Schedule {
    fn problems(&self, services: &[PointService], found: &mut Problems) {
        let place = format!("the schedule `{}`", self.name.escape_debug());
        if let Some(tag) = self.tag.as_ref().filter(|tag| !is_name(tag)) {
            found.say(&place, format!("`{}` cannot be a tag", tag.escape_debug()));
        }
        let Some(service) = services.iter().find(|service| service.name == self.service) else {
            let known: Vec<String> = services.iter().map(|service| format!("`{}`", service.name)).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            let shown = self.service.escape_debug();
            return found
                .say(&place, format!("there is no service `{shown}` to make points of; described: {known}"));
        };
        match (self.kind, &self.component) {
            (Kind::Component, None) => found.say(&place, "a point of kind `component` needs `component`"),
            (Kind::Component, Some(name)) => {
                if !service.components.iter().any(|component| component.name == *name) {
                    found.say(
                        &place,
                        format!("`{}` has no component `{}`", service.name, name.escape_debug()),
                    );
                }
            }
            (_, Some(_)) => found.say(&place, "`component` goes with `kind = \"component\"`"),
            (Kind::Data, None) if service.databases.is_empty() => {
                found.say(&place, format!("`{}` has no database to keep", service.name));
            }
            (_, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        toml::from_str::<PointsConfig>(text).unwrap().problems()
    }

    #[test]
    fn what_is_right_has_no_problem() {
        let found = problems(
            r#"
            [[service]]
            name = "agora"
            version = { command = ["/opt/agora/run", "--version"] }
            files = ["/opt/agora"]
            units = ["agora.service", "agora-p2p@1.service"]
            packages = ["dpkg", "/opt/agora/venv"]
            database = [
                { name = "main", user = "postgres", source = { postgres = "dbname=agora" } },
                { name = "shop", source = { mysql = { defaults = "/etc/my.cnf", databases = ["shop"] } } },
            ]
            component = [{ name = "api", files = ["/opt/agora/api"] }]
            [[schedule]]
            name = "api"
            service = "agora"
            kind = "component"
            component = "api"
            "#,
        );
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_place() {
        let found = problems(
            r#"
            scrub = { share = 101 }
            [[service]]
            name = "agora"
            files = ["opt/agora", "/"]
            units = ["agora", "-agora.service"]
            packages = ["rpm"]
            version = { command = [] }
            database = [
                { name = "main", source = { postgres = "postgres://ada:s3cret@db/agora" } },
                { name = "main", source = { postgres = "dbname=agora password = s3cret" } },
                { name = "a b", user = "x", source = { sqlite = "a.db" } },
                { name = "c", source = { command = [] } },
            ]
            component = [{ name = "api", files = [] }]
            plugins = ["No Name"]
            [[service]]
            name = "agora"
            [[schedule]]
            name = "nightly"
            service = "agorra"
            [[schedule]]
            name = "hourly"
            service = "agora"
            kind = "component"
            [[schedule]]
            name = "daily"
            service = "agora"
            component = "api"
            tag = "a,b"
            "#,
        );
        let expected = [
            "a share of 101 % is more than everything",
            "`agora`: names a service twice",
            "`opt/agora` is not a path this host accepts: it is not absolute",
            "`/` is the whole host",
            "`rpm` is not a path",
            "`agora` is no unit",
            "`-agora.service` is no unit",
            "version: the command is empty",
            "`a b`: cannot name a database of the service `agora`",
            "`main`: names a database of the service `agora` twice",
            "database `main`: the connection text holds a password",
            "`a.db` is not a path",
            "`user` is for programs",
            "database `c`: the command is empty",
            "component `api`: it has no files",
            "`No Name` is no name of a plugin",
            "a point of it would hold nothing",
            "the schedule `nightly`: there is no service `agorra` to make points of; described: `agora`, `agora`",
            "the schedule `hourly`: a point of kind `component` needs `component`",
            "the schedule `daily`: `a,b` cannot be a tag",
            "`component` goes with `kind = \"component\"`",
        ];
        for part in expected {
            assert!(found.iter().any(|problem| problem.contains(part)), "{part}\n{found:#?}");
        }
        assert_eq!(found.len(), expected.len() + 1, "both connection texts: {found:#?}");
        assert!(!found.iter().any(|problem| problem.contains("s3cret")), "{found:#?}");
    }
}
