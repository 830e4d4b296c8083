//! Compose projects: the files they are described by, the description as
//! Docker resolves it, and the images that run, by digest: a tag may be moved
//! to another image meanwhile, a digest names one for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use sternway_core::point::PieceKind;

use super::program::{Call, ProgramError};
use super::{Ground, Names, PiecesError, flags};
use crate::capabilities::files::HostPath;
use crate::points::making::{Content, Extra};

const PATIENCE: Duration = Duration::from_secs(60);
/// How many containers or images are asked about at once.
const AT_ONCE: usize = 64;
const LABEL_PROJECT: &str = "com.docker.compose.project";
const LABEL_FILES: &str = "com.docker.compose.project.config_files";
const LABEL_FOLDER: &str = "com.docker.compose.project.working_dir";
const LABEL_SERVICE: &str = "com.docker.compose.service";

/// A compose file with what belongs to it, as paths of the host.
#[derive(Debug)]
pub(super) struct Described {
    /// The compose file and the override that Docker reads with it.
    pub(super) compose: Vec<HostPath>,
    /// `.env` beside it, and what its services name.
    pub(super) environment: Vec<HostPath>,
}

/// One running container and the image it runs, exactly.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Container {
    project: String,
    service: String,
    container: String,
    /// As the compose file names it.
    image: String,
    image_id: String,
    /// As registries know it; empty for what was built here.
    digests: Vec<String>,
}

pub(super) fn described(ground: &Ground<'_>, path: &HostPath) -> Result<Described, PiecesError> {
    let text = ground.text(path)?;
    let (folder, name) = path.parent_and_name()?;
    let beside = |name: &str| match folder.as_str() {
        "/" => HostPath::parse(&format!("/{name}")),
        folder => HostPath::parse(&format!("{folder}/{name}")),
    };
    let mut described = Described { compose: vec![path.clone()], environment: Vec::new() };
    if let Some((stem, ending @ ("yml" | "yaml"))) = name.rsplit_once('.')
        && matches!(stem, "compose" | "docker-compose")
    {
        let other = beside(&format!("{stem}.override.{ending}"))?;
        if ground.is_file(&other)? {
            described.compose.push(other);
        }
    }
    let usual = beside(".env")?;
    if ground.is_file(&usual)? {
        described.environment.push(usual);
    }
    for named in env_files(&text) {
        let plain = named.path.trim_start_matches("./");
        let file = if plain.starts_with('/') { HostPath::parse(plain)? } else { beside(plain)? };
        match ground.is_file(&file)? {
            true if !described.environment.contains(&file) => described.environment.push(file),
            true => {}
            false if named.required => return Err(PiecesError::Absent { path: file.to_string() }),
            false => {}
        }
    }
    Ok(described)
}

pub(super) fn pieces(
    ground: &Ground<'_>,
    names: &mut Names,
    path: &HostPath,
    described: &Described,
) -> Result<Vec<Extra>, PiecesError> {
    let failed = |cause| PiecesError::Compose { path: path.to_string(), cause };
    let docker = ground.programs.call("docker").map_err(failed)?;
    let mut extras = Vec::new();
    let extra = |file, note, bytes| Extra {
        kind: PieceKind::Compose,
        name: path.to_string(),
        file,
        note,
        content: Content::Bytes(bytes),
    };
    if let Some(compose) = compose_program(ground, &docker) {
        let mut call = compose.shown_as("docker compose config");
        for file in &described.compose {
            call = call.words([std::ffi::OsStr::new("-f"), ground.real(file)?.as_os_str()]);
        }
        let said = call.words(["config"]).ask(PATIENCE).map_err(failed)?;
        let file = names.file(PieceKind::Compose, path.as_str(), "resolved.yaml");
        extras.push(extra(file, "as Docker resolves it".into(), said.out));
    }
    let containers = containers(&docker, &ground.real(path)?).map_err(failed)?;
    let bytes = serde_json::to_vec_pretty(&containers).expect("containers are plain data");
    let file = names.file(PieceKind::Compose, path.as_str(), "containers.json");
    extras.push(extra(file, note(&containers), bytes));
    for file in &described.environment {
        extras.extend(flags::keys_of(ground, names, PieceKind::Environment, file)?);
    }
    Ok(extras)
}

/// Docker's own plugin, or the program of old; none when neither is here.
fn compose_program(ground: &Ground<'_>, docker: &Call) -> Option<Call> {
    let asked = docker.clone().words(["compose", "version"]).try_ask(PATIENCE);
    if asked.is_ok_and(|said| said.is_well()) {
        return Some(docker.clone().words(["compose"]));
    }
    ground.programs.call("docker-compose").ok()
}

fn containers(docker: &Call, compose: &Path) -> Result<Vec<Container>, ProgramError> {
    let words = ["ps", "--quiet", "--no-trunc", "--filter", &format!("label={LABEL_PROJECT}")];
    let said = docker.clone().shown_as("docker ps").words(words).ask(PATIENCE)?.text();
    let ids: Vec<&str> = said.split_whitespace().collect();
    let mut found = Vec::new();
    for container in inspect(docker, "container", &ids)? {
        let label = |name: &str| container["Config"]["Labels"][name].as_str().unwrap_or_default().to_owned();
        if !is_of(compose, &label(LABEL_FILES), &label(LABEL_FOLDER)) {
            continue;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        found.push(Container {
            project: label(LABEL_PROJECT),
            service: label(LABEL_SERVICE),
            container: text(&container["Name"]).trim_start_matches('/').to_owned(),
            image: text(&container["Config"]["Image"]),
            image_id: text(&container["Image"]),
            digests: Vec::new(),
        });
    }
    found.sort_by(|a, b| (&a.service, &a.container).cmp(&(&b.service, &b.container)));
    let images: BTreeSet<&str> = found.iter().map(|container| container.image_id.as_str()).collect();
    let images: Vec<&str> = images.into_iter().collect();
    let digests: BTreeMap<String, Vec<String>> = inspect(docker, "image", &images)?
        .into_iter()
        .map(|image| {
            let listed = image["RepoDigests"].as_array().into_iter().flatten();
            let id = image["Id"].as_str().unwrap_or_default().to_owned();
            (id, listed.filter_map(Value::as_str).map(str::to_owned).collect())
        })
        .collect();
    for container in &mut found {
        container.digests = digests.get(&container.image_id).cloned().unwrap_or_default();
    }
    Ok(found)
}

fn inspect(docker: &Call, what: &str, ids: &[&str]) -> Result<Vec<Value>, ProgramError> {
    let name = format!("docker {what} inspect");
    let mut found = Vec::new();
    for some in ids.chunks(AT_ONCE) {
        let call = docker.clone().shown_as(name.as_str()).words([what, "inspect", "--"]).words(some);
        let said = call.ask(PATIENCE)?;
        let listed: Vec<Value> = serde_json::from_slice(&said.out)
            .map_err(|cause| ProgramError::Read { name: name.clone(), cause: cause.into() })?;
        found.extend(listed);
    }
    Ok(found)
}

/// Whether a container with these labels was made from this compose file. Old
/// versions of the program wrote the file's name without its folder.
fn is_of(compose: &Path, files: &str, folder: &str) -> bool {
    let folder = Path::new(folder);
    files.split(',').map(str::trim).filter(|file| !file.is_empty()).any(|file| folder.join(file) == compose)
}

fn note(containers: &[Container]) -> String {
    let count = match containers.len() {
        0 => return "no container runs".into(),
        1 => "1 container".into(),
        more => format!("{more} containers"),
    };
    let unknown = containers.iter().filter(|container| container.digests.is_empty()).count();
    match unknown {
        0 => format!("{count}, images pinned by digest"),
        some => format!("{count}, {some} of an image that no registry knows"),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct EnvFile {
    path: String,
    required: bool,
}

/// The files that `env_file:` names: one, a list, or a list of `path:` and
/// `required:`. What holds a variable is Docker's to resolve and is left out.
fn env_files(compose: &str) -> Vec<EnvFile> {
    let mut found: Vec<EnvFile> = Vec::new();
    let mut within: Option<usize> = None;
    for line in compose.lines() {
        let bare = line.trim_start();
        if bare.is_empty() || bare.starts_with('#') {
            continue;
        }
        let indent = line.len() - bare.len();
        if let Some(outer) = within {
            let is_item = bare.starts_with('-') && indent >= outer;
            if is_item || indent > outer {
                let item = bare.trim_start_matches('-').trim_start();
                match item.split_once(':').map(|(key, value)| (key.trim(), value.trim())) {
                    Some(("path", path)) => add(&mut found, path),
                    Some(("required", "false")) => {
                        if let Some(last) = found.last_mut() {
                            last.required = false;
                        }
                    }
                    Some((_, _)) if !is_item => {}
                    _ => add(&mut found, item),
                }
                continue;
            }
            within = None;
        }
        if let Some(value) = bare.strip_prefix("env_file:") {
            match value.trim() {
                "" => within = Some(indent),
                value => value.trim_matches(['[', ']']).split(',').for_each(|path| add(&mut found, path)),
            }
        }
    }
    found
}

fn add(found: &mut Vec<EnvFile>, path: &str) {
    let path = path.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']);
    if !path.is_empty() && !path.contains('$') {
        found.push(EnvFile { path: path.to_owned(), required: true });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::pieces::tests::{Host, content, skipped};

    const COMPOSE: &str = "services:\n  web:\n    image: shop/web:2\n    env_file:\n      - ./web.env\n";

    fn docker(host: &Host, files: &str) -> String {
        format!(
            r##"
case "$*" in
  "compose version") echo v2 ;;
  "compose "*" config") echo "name: shop"; echo "# $*" ;;
  "ps --quiet --no-trunc --filter label=com.docker.compose.project") echo c1; echo c2 ;;
  "container inspect -- c1 c2") cat <<'END'
[{{"Id":"c1","Name":"/shop-web-1","Image":"sha256:aa","Config":{{"Image":"shop/web:2","Labels":{{
  "com.docker.compose.project":"shop","com.docker.compose.service":"web",
  "com.docker.compose.project.working_dir":"{folder}","com.docker.compose.project.config_files":"{files}"}}}}}},
 {{"Id":"c2","Name":"/other-db-1","Image":"sha256:bb","Config":{{"Image":"postgres","Labels":{{
  "com.docker.compose.project":"other","com.docker.compose.project.config_files":"/elsewhere/compose.yaml"}}}}}}]
END
  ;;
  "image inspect -- sha256:aa") echo '[{{"Id":"sha256:aa","RepoDigests":["shop/web@sha256:dd"]}}]' ;;
  *) echo "what is $*?" >&2; exit 1 ;;
esac
"##,
            folder = host.real("/srv/shop").display(),
        )
    }

    fn host() -> Host {
        let host = Host::new();
        host.write("/srv/shop/compose.yaml", COMPOSE);
        host.write("/srv/shop/compose.override.yaml", "services: {}\n");
        host.write("/srv/shop/.env", "TAG=2\n");
        host.write("/srv/shop/web.env", "TOKEN=s3cret\nPORT=80\n");
        host
    }

    fn all(host: &Host) -> Result<(Described, Vec<Extra>), PiecesError> {
        let path = HostPath::parse("/srv/shop/compose.yaml").unwrap();
        let described = described(&host.ground(), &path)?;
        let extras = pieces(&host.ground(), &mut Names::default(), &path, &described)?;
        Ok((described, extras))
    }

    #[test]
    fn a_project_is_kept_with_its_files_and_the_digests_that_run() {
        let host = host();
        for files in [host.real("/srv/shop/compose.yaml").display().to_string(), "compose.yaml".into()] {
            host.programs.add("docker", &docker(&host, &files));
            let (described, extras) = all(&host).unwrap();
            assert_eq!(described.compose.len(), 2, "{described:?}");
            let environment: Vec<&str> = described.environment.iter().map(HostPath::as_str).collect();
            assert_eq!(environment, ["/srv/shop/.env", "/srv/shop/web.env"]);
            let notes: Vec<String> = extras.iter().map(|extra| extra.note.clone()).collect();
            assert_eq!(
                notes,
                ["as Docker resolves it", "1 container, images pinned by digest", "1 key", "2 keys"]
            );
            let mut extras = extras.into_iter();
            let resolved = content(extras.next().unwrap()).unwrap();
            assert!(resolved.contains("compose.override.yaml config"), "{resolved}");
            let listed = content(extras.next().unwrap()).unwrap();
            assert!(listed.contains("shop/web@sha256:dd") && !listed.contains("postgres"), "{listed}");
        }
    }

    #[test]
    fn a_docker_that_does_not_answer_is_an_error_with_its_reason() {
        let host = host();
        host.programs.add("docker-compose", "echo 'services: {}'");
        host.programs.add("docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1");
        let error = all(&host).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "`docker ps` ended with exit 1: Cannot connect to the Docker daemon");
    }

    #[test]
    fn the_real_docker_without_its_daemon_is_an_error() {
        let host = Host::with_programs_of_machine();
        let Ok(docker) = host.ground().programs.call("docker") else {
            skipped("there is no `docker` here");
            return;
        };
        let docker = docker.with("DOCKER_HOST", "unix:///nowhere/docker.sock");
        let error = containers(&docker, Path::new("/srv/shop/compose.yaml")).unwrap_err();
        assert!(matches!(error, ProgramError::Failed { .. }), "{error}");
    }

    #[test]
    fn environment_files_are_found_however_they_are_written() {
        let paths = |text: &str| -> Vec<(String, bool)> {
            env_files(text).into_iter().map(|file| (file.path, file.required)).collect()
        };
        assert_eq!(paths("  env_file: ./a.env # mine\n  ports: []\n"), [("./a.env".into(), true)]);
        assert_eq!(paths("env_file: [a, \"b\"]"), [("a".into(), true), ("b".into(), true)]);
        assert_eq!(paths("env_file:\n- a\n- 'b'\nx:\n- c"), [("a".into(), true), ("b".into(), true)]);
        let long = "  env_file:\n    - path: a\n      required: false\n    - path: b\n  image: c\n";
        assert_eq!(paths(long), [("a".into(), false), ("b".into(), true)]);
        assert_eq!(paths("env_file: ${HERE}/a"), []);
        assert_eq!(paths("# env_file: a"), []);
    }

    #[test]
    fn an_environment_file_that_is_named_and_not_there_is_an_error() {
        let host = host();
        host.write("/srv/shop/compose.yaml", "services:\n  a:\n    env_file: gone.env\n");
        let error = all(&host).unwrap_err();
        assert_eq!(error.to_string(), "there is nothing at `/srv/shop/gone.env`");
    }
}
