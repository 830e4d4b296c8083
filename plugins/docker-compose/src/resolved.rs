//! What `compose config` says of a project, as far as a step needs it: its
//! name and each service's image. Version 1 of compose writes YAML only.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser};

/// Nothing that compose writes is nested deeper.
const DEPTH_MAX: usize = 64;

/// A project as compose resolves it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// Only version 2 says it.
    pub(crate) name: Option<String>,
    /// Image by service; none for one that is only built.
    pub(crate) services: BTreeMap<String, Option<String>>,
}

pub(crate) fn read(text: &str) -> Result<Resolved, String> {
    let mut walk = Walk::default();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|cause| cause.to_string())?;
        match event {
            Event::Scalar(text, ..) => walk.text(&text),
            Event::Alias(_) => walk.value(None),
            Event::MappingStart(..) => walk.enter(Frame::Table(None))?,
            Event::SequenceStart(..) => walk.enter(Frame::List)?,
            Event::MappingEnd | Event::SequenceEnd => walk.leave(),
            _ => {}
        }
    }
    Ok(walk.resolved)
}

#[derive(Debug)]
enum Frame {
    /// With the key whose value comes next.
    Table(Option<String>),
    List,
}

#[derive(Debug, Default)]
struct Walk {
    resolved: Resolved,
    frames: Vec<Frame>,
}

impl Walk {
    fn text(&mut self, text: &str) {
        match self.frames.last_mut() {
            Some(Frame::Table(key @ None)) => *key = Some(text.to_owned()),
            _ => self.value(Some(text)),
        }
    }

    fn enter(&mut self, frame: Frame) -> Result<(), String> {
        if self.frames.len() >= DEPTH_MAX {
            return Err(format!("it is nested deeper than {DEPTH_MAX}"));
        }
        self.note(None);
        self.frames.push(frame);
        Ok(())
    }

    fn leave(&mut self) {
        self.frames.pop();
        self.done();
    }

    fn value(&mut self, text: Option<&str>) {
        self.note(text);
        self.done();
    }

    /// The value of the key is over; another key comes.
    fn done(&mut self) {
        if let Some(Frame::Table(key)) = self.frames.last_mut() {
            *key = None;
        }
    }

    fn note(&mut self, text: Option<&str>) {
        let key = |frame: &Frame| match frame {
            Frame::Table(key) => key.clone(),
            Frame::List => None,
        };
        let Some(keys) = self.frames.iter().map(key).collect::<Option<Vec<String>>>() else { return };
        match keys.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["name"] => self.resolved.name = text.map(str::to_owned),
            ["services", service] => {
                self.resolved.services.entry((*service).to_owned()).or_default();
            }
            ["services", service, "image"] => {
                self.resolved.services.insert((*service).to_owned(), text.map(str::to_owned));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docker-compose` 1.29.2 of a file of version 2.4.
    const V1: &str = "services:\n  api:\n    depends_on:\n      db:\n        condition: service_healthy\n    environment:\n      COLOUR: blue\n      image: no\n    image: shop/api:1.2\n    restart: unless-stopped\n  db:\n    healthcheck:\n      interval: 1s\n      test:\n      - CMD\n      - /bin/test\n    image: postgres:15\n  web:\n    build:\n      context: /srv/shop\nversion: '2.4'\n\n";
    /// `docker compose` 2.26.1 of the same.
    const V2: &str = "name: shop\nservices:\n  api:\n    depends_on:\n      db:\n        condition: service_healthy\n        required: true\n    image: shop/api:1.2\n    networks:\n      default: null\n  db:\n    command: null\n    healthcheck:\n      test:\n        - CMD\n    image: postgres:15\n  web:\n    build:\n      context: /srv/shop\n      dockerfile: Dockerfile\nnetworks:\n  default:\n    name: shop_default\n";

    #[test]
    fn both_versions_are_read_alike_but_for_the_name() {
        let (one, two) = (read(V1).unwrap(), read(V2).unwrap());
        assert_eq!((one.name.as_deref(), two.name.as_deref()), (None, Some("shop")));
        assert_eq!(one.services, two.services);
        let images: Vec<(&str, Option<&str>)> =
            one.services.iter().map(|(name, image)| (name.as_str(), image.as_deref())).collect();
        assert_eq!(images, [("api", Some("shop/api:1.2")), ("db", Some("postgres:15")), ("web", None)]);
    }

    #[test]
    fn what_is_no_yaml_or_too_deep_is_refused() {
        assert!(read("services: [").is_err());
        assert!(read(&"- ".repeat(100)).is_err());
        assert_eq!(read("").unwrap(), Resolved::default());
    }
}
