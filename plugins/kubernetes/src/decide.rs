//! The settings as one task on objects of a cluster. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sternway_plugin::{Error, Texts, duration_ms, paths};

const WITHIN_MS: u64 = 300_000;
const EVERY_MS: u64 = 1_000;
/// A host allows 10 000 calls in one phase.
const LOOKS_MAX: u64 = 3_000;

/// Works on workloads and config maps; exactly one of the five. Objects are
/// named `cluster/namespace/kind/name`, clusters as the host's configuration names them.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(
    extend("oneOf" = [
        {"required": ["undo-rollout"]}, {"required": ["restart"]}, {"required": ["scale"]},
        {"required": ["configmap"]}, {"required": ["check"]},
    ]),
    extend("dependencies" = {
        "to-revision": ["undo-rollout"], "replicas": ["scale"], "scale": ["replicas"],
        "from": ["configmap"], "data": ["configmap"],
    }),
))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// A workload that goes back to an earlier revision: `prod/shop/deployment/web`.
    pub(crate) undo_rollout: Option<String>,
    /// Workloads whose pods are made anew, one after the other.
    pub(crate) restart: Option<Texts>,
    /// A workload whose number of pods changes.
    pub(crate) scale: Option<String>,
    /// A config map that is put back: `prod/shop/web-config`.
    pub(crate) configmap: Option<String>,
    /// Workloads that have to be rolled out whole.
    pub(crate) check: Option<Texts>,
    /// The revision to go to. Left out: the one before the present one.
    pub(crate) to_revision: Option<i64>,
    /// How many pods.
    pub(crate) replicas: Option<u32>,
    /// The file whose copy in the rollback point holds the config map, as JSON or YAML.
    pub(crate) from: Option<String>,
    /// What the config map holds, by key.
    pub(crate) data: Option<BTreeMap<String, String>>,
    /// How long to wait for a rollout. Left out: `5m`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    pub(crate) within: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    UndoRollout,
    Restart,
    Scale,
    ConfigMap,
    Check,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Deployment,
    DaemonSet,
    StatefulSet,
    ConfigMap,
}

/// One object of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Object {
    pub(crate) cluster: String,
    pub(crate) namespace: String,
    pub(crate) kind: Kind,
    pub(crate) name: String,
}

/// The settings, found sound.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) wish: Wish,
    pub(crate) objects: Vec<Object>,
    pub(crate) to_revision: Option<i64>,
    pub(crate) replicas: Option<u32>,
    pub(crate) from: Option<String>,
    pub(crate) data: Option<BTreeMap<String, String>>,
    pub(crate) within_ms: u64,
    pub(crate) every_ms: u64,
}

impl Settings {
    pub(crate) fn task(&self) -> Result<Task, Error> {
        let (wish, names) = self.wish_and_names()?;
        let objects: Vec<Object> = names.iter().map(|name| object(wish, name)).collect::<Result<_, _>>()?;
        for (at, one) in objects.iter().enumerate() {
            if objects[..at].contains(one) {
                return Err(Error::invalid("kubernetes/twice", format!("`{one}` is named twice")));
            }
        }
        let within_ms = match &self.within {
            None => WITHIN_MS,
            Some(text) => {
                duration_ms(text).map_err(|cause| Error::invalid("kubernetes/duration", cause.to_string()))?
            }
        };
        let task = Task {
            wish,
            objects,
            to_revision: self.to_revision,
            replicas: self.replicas,
            from: self.from.as_deref().map(paths::path).transpose()?,
            data: self.data.clone(),
            within_ms,
            every_ms: EVERY_MS.max(within_ms / LOOKS_MAX),
        };
        task.fits_together()?;
        Ok(task)
    }

    fn wish_and_names(&self) -> Result<(Wish, Vec<&str>), Error> {
        let wishes: [(Wish, Option<Vec<&str>>); 5] = [
            (Wish::UndoRollout, self.undo_rollout.as_deref().map(|name| vec![name])),
            (Wish::Restart, self.restart.as_ref().map(|names| names.iter().collect())),
            (Wish::Scale, self.scale.as_deref().map(|name| vec![name])),
            (Wish::ConfigMap, self.configmap.as_deref().map(|name| vec![name])),
            (Wish::Check, self.check.as_ref().map(|names| names.iter().collect())),
        ];
        let mut asked = wishes.into_iter().filter_map(|(wish, names)| Some((wish, names?)));
        match (asked.next(), asked.next()) {
            (Some(one), None) => Ok(one),
            _ => Err(Error::invalid(
                "kubernetes/one-of",
                "exactly one of `undo-rollout`, `restart`, `scale`, `configmap` and `check` has to be set",
            )),
        }
    }
}

impl Task {
    fn fits_together(&self) -> Result<(), Error> {
        let refuse = |code: &str, message: &str| Err(Error::invalid(code, message));
        if self.to_revision.is_some() && self.wish != Wish::UndoRollout {
            return refuse("kubernetes/to-revision", "`to-revision` goes with `undo-rollout`");
        }
        if self.to_revision.is_some_and(|revision| revision < 1) {
            return refuse(
                "kubernetes/to-revision",
                "revisions count from 1; leave it out for the one before",
            );
        }
        if self.replicas.is_some() != (self.wish == Wish::Scale) {
            return refuse("kubernetes/replicas", "`scale` and `replicas` go together");
        }
        let sources = usize::from(self.from.is_some()) + usize::from(self.data.is_some());
        if sources != usize::from(self.wish == Wish::ConfigMap) {
            return refuse(
                "kubernetes/source",
                "`configmap` needs one of `from` and `data`, and nothing else does",
            );
        }
        if self.wish == Wish::Scale && self.objects.iter().any(|object| object.kind == Kind::DaemonSet) {
            return refuse(
                "kubernetes/replicas",
                "a daemonset has a pod on every node and no number of them",
            );
        }
        Ok(())
    }
}

impl Kind {
    pub(crate) fn group(self) -> &'static str {
        match self {
            Self::Deployment | Self::DaemonSet | Self::StatefulSet => "apps/v1",
            Self::ConfigMap => "v1",
        }
    }

    /// As a path names it.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::DaemonSet => "daemonsets",
            Self::StatefulSet => "statefulsets",
            Self::ConfigMap => "configmaps",
        }
    }

    /// What a step may change of it, as JSON pointers.
    pub(crate) fn pointers(self, wish: Wish) -> &'static [&'static str] {
        match (self, wish) {
            (Self::ConfigMap, _) => &["/data", "/binaryData"],
            (_, Wish::Scale) => &["/spec/replicas"],
            _ => &["/spec/template"],
        }
    }
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = self.kind.plural().trim_end_matches('s');
        write!(f, "{}/{}/{kind}/{}", self.cluster, self.namespace, self.name)
    }
}

fn object(wish: Wish, text: &str) -> Result<Object, Error> {
    let parts: Vec<&str> = text.split('/').collect();
    let (parts, kind) = match (wish, parts.as_slice()) {
        (Wish::ConfigMap, [cluster, namespace, name]) => ([*cluster, *namespace, *name], Kind::ConfigMap),
        (Wish::ConfigMap, _) => {
            return Err(Error::invalid(
                "kubernetes/object",
                format!("`{text}` is not cluster/namespace/name"),
            ));
        }
        (_, [cluster, namespace, kind, name]) => ([*cluster, *namespace, *name], workload(kind)?),
        _ => {
            return Err(Error::invalid(
                "kubernetes/object",
                format!("`{text}` is not cluster/namespace/kind/name"),
            ));
        }
    };
    if !parts.iter().all(|part| is_name(part)) {
        return Err(Error::invalid(
            "kubernetes/object",
            format!("`{text}` holds what is no name of Kubernetes"),
        ));
    }
    let [cluster, namespace, name] = parts.map(str::to_owned);
    Ok(Object { cluster, namespace, kind, name })
}

fn workload(kind: &str) -> Result<Kind, Error> {
    match kind {
        "deployment" | "deployments" | "deploy" => Ok(Kind::Deployment),
        "daemonset" | "daemonsets" | "ds" => Ok(Kind::DaemonSet),
        "statefulset" | "statefulsets" | "sts" => Ok(Kind::StatefulSet),
        other => Err(Error::unsupported(
            "kubernetes/kind",
            format!("`{other}` is none of deployment, daemonset and statefulset"),
        )),
    }
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let edge = |c: char| c == '-' || c == '.';
    (1..=253).contains(&text.len())
        && text.bytes().all(plain)
        && !text.starts_with(edge)
        && !text.ends_with(edge)
        && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(json: &str) -> Result<Task, Error> {
        serde_json::from_str::<Settings>(json).unwrap().task()
    }

    #[test]
    fn the_schema_file_says_what_the_settings_take() {
        sternway_plugin::schema::assert_current::<Settings>(
            concat!(env!("CARGO_MANIFEST_DIR"), "/settings.schema.json"),
            include_str!("../settings.schema.json"),
        );
    }

    #[test]
    fn unsound_settings_are_refused_by_code() {
        for (json, code) in [
            ("{}", "kubernetes/one-of"),
            (r#"{"undo-rollout":"a/b/deployment/c","check":"a/b/deployment/c"}"#, "kubernetes/one-of"),
            (r#"{"undo-rollout":"a/b/c"}"#, "kubernetes/object"),
            (r#"{"undo-rollout":"a/b/deployment/../c"}"#, "kubernetes/object"),
            (r#"{"undo-rollout":"a/b/deployment/C"}"#, "kubernetes/object"),
            (r#"{"undo-rollout":"a/../deployment/c"}"#, "kubernetes/object"),
            (r#"{"undo-rollout":"a/b/pod/c"}"#, "kubernetes/kind"),
            (r#"{"restart":["a/b/deploy/c","a/b/deployment/c"]}"#, "kubernetes/twice"),
            (r#"{"restart":"a/b/deploy/c","to-revision":3}"#, "kubernetes/to-revision"),
            (r#"{"undo-rollout":"a/b/deploy/c","to-revision":0}"#, "kubernetes/to-revision"),
            (r#"{"scale":"a/b/deploy/c"}"#, "kubernetes/replicas"),
            (r#"{"scale":"a/b/ds/c","replicas":2}"#, "kubernetes/replicas"),
            (r#"{"configmap":"a/b/c"}"#, "kubernetes/source"),
            (r#"{"configmap":"a/b/c","data":{},"from":"/x"}"#, "kubernetes/source"),
            (r#"{"configmap":"a/b/c","from":"x"}"#, "step/path"),
            (r#"{"check":"a/b/deploy/c","within":"soon"}"#, "kubernetes/duration"),
        ] {
            assert_eq!(task(json).unwrap_err().code, code, "{json}");
        }
    }

    #[test]
    fn objects_are_named_in_short_and_in_full() {
        let task =
            task(r#"{"restart":["prod/shop/deploy/web","prod/shop/sts/db","prod/shop/ds/log"]}"#).unwrap();
        let names: Vec<String> = task.objects.iter().map(Object::to_string).collect();
        assert_eq!(
            names,
            ["prod/shop/deployment/web", "prod/shop/statefulset/db", "prod/shop/daemonset/log"]
        );
    }
}
