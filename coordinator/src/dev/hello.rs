//! The service of the demonstration: small, real, and broken in version 1.3 by
//! its own data, the way services break.
//!
//! It greets over HTTP from three things a release brings along: the release
//! folder (texts), its configuration and its database. Version 1.1 refuses what
//! only 1.3 knows (a newer database, an unknown key, an accent), so going back
//! means bringing all three back, not one.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

/// Paths below a host's root.
pub const RELEASE: &str = "opt/hello/release.toml";
pub const CONFIG: &str = "etc/hello/config.json";
pub const DATABASE: &str = "var/lib/hello/hello.db";

#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    #[error("could not read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("`{}` is not a release: {cause}", path.display())]
    Release { path: PathBuf, cause: String },
    #[error("hello {version} does not know the key `{key}` in its configuration")]
    UnknownKey { version: String, key: String },
    #[error("hello {version} does not know the accent `{accent}`")]
    UnknownAccent { version: String, accent: String },
    #[error("hello {version} cannot read a database of layout {found}, it knows {known}")]
    Layout { version: String, found: u32, known: u32 },
    #[error("the database cannot be opened")]
    Database(#[from] rusqlite::Error),
    #[error("could not listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        cause: std::io::Error,
    },
}

/// What stands in `release.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Release {
    pub version: String,
    pub database_layout: u32,
    pub known_keys: Vec<String>,
    #[serde(default)]
    pub accents: Vec<String>,
    /// Each may name `{guest}` and `{count}`.
    pub greetings: Vec<String>,
}

struct Hello {
    release: Release,
    greetings: AtomicUsize,
    database: std::sync::Mutex<Connection>,
}

fn read(path: &Path) -> Result<String, HelloError> {
    std::fs::read_to_string(path).map_err(|cause| HelloError::Read { path: path.to_path_buf(), cause })
}

impl Hello {
    fn load(root: &Path, accent: Option<String>) -> Result<Self, HelloError> {
        let path = root.join(RELEASE);
        let release: Release = toml::from_str(&read(&path)?)
            .map_err(|cause| HelloError::Release { path, cause: cause.to_string() })?;
        let version = release.version.clone();
        if let Some(accent) = accent.filter(|accent| !release.accents.contains(accent)) {
            return Err(HelloError::UnknownAccent { version, accent });
        }
        let path = root.join(CONFIG);
        let config: BTreeMap<String, serde_json::Value> = serde_json::from_str(&read(&path)?)
            .map_err(|cause| HelloError::Release { path, cause: cause.to_string() })?;
        if let Some(key) = config.keys().find(|key| !release.known_keys.contains(key)) {
            return Err(HelloError::UnknownKey { version, key: key.clone() });
        }
        let database = Connection::open_with_flags(root.join(DATABASE), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let found: u32 = database.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if found != release.database_layout {
            return Err(HelloError::Layout { version, found, known: release.database_layout });
        }
        Ok(Self { release, greetings: AtomicUsize::new(0), database: std::sync::Mutex::new(database) })
    }

    fn guests(&self) -> Result<u64, rusqlite::Error> {
        let database = self.database.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        database.query_row("SELECT count(*) FROM guests", [], |row| row.get(0))
    }

    /// The next greeting, or the name of a place in it that nothing fills.
    fn greet(&self, guests: u64) -> Result<String, String> {
        let at = self.greetings.fetch_add(1, Ordering::Relaxed) % self.release.greetings.len().max(1);
        let text = self.release.greetings.get(at).map_or("hello", String::as_str);
        let filled = text.replace("{guest}", "stranger").replace("{count}", &guests.to_string());
        match filled.split_once('{') {
            Some((_, rest)) => Err(rest.split('}').next().unwrap_or_default().to_owned()),
            None => Ok(filled),
        }
    }
}

async fn greeting(State(hello): State<Arc<Hello>>) -> impl IntoResponse {
    let Ok(guests) = hello.guests() else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "the guest book cannot be read".to_owned());
    };
    match hello.greet(guests) {
        Ok(text) => (StatusCode::OK, text),
        Err(place) => (StatusCode::INTERNAL_SERVER_ERROR, format!("no value for `{place}`")),
    }
}

async fn health(State(hello): State<Arc<Hello>>) -> impl IntoResponse {
    let as_json = [("content-type", "application/json")];
    match hello.guests() {
        Ok(guests) => {
            let body = serde_json::json!({ "version": hello.release.version, "guests": guests });
            (StatusCode::OK, as_json, body.to_string())
        }
        Err(error) => {
            let body = serde_json::json!({ "version": hello.release.version, "error": error.to_string() });
            (StatusCode::INTERNAL_SERVER_ERROR, as_json, body.to_string())
        }
    }
}

/// Serves from what stands below `root` until it is told to stop.
pub fn serve(root: &Path, port: u16, accent: Option<String>) -> Result<(), HelloError> {
    let hello = Arc::new(Hello::load(root, accent)?);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listen = |cause| HelloError::Listen { address, cause };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(listen)?;
    runtime.block_on(async {
        let app = Router::new().route("/", get(greeting)).route("/health", get(health)).with_state(hello);
        let listener = tokio::net::TcpListener::bind(address).await.map_err(listen)?;
        axum::serve(listener, app).with_graceful_shutdown(told_to_stop()).await.map_err(listen)
    })
}

async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut told) => {
            told.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

/// Writes release `version` below `root`, as a deployment would.
pub fn deploy(root: &Path, version: Version) -> Result<(), HelloError> {
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        let folder = path.parent().unwrap_or(root);
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|cause| HelloError::Read { path: path.clone(), cause })
    };
    let (release, config) = version.files();
    write(RELEASE, &toml::to_string(&release).unwrap_or_default())?;
    write("opt/hello/README", &format!("hello {}\n", release.version))?;
    write(CONFIG, &config)?;
    if version == Version::Broken {
        write("opt/hello/plugins-1.3/accents.txt", "nordic\n")?;
    }
    let path = root.join(DATABASE);
    std::fs::create_dir_all(path.parent().unwrap_or(root))
        .map_err(|cause| HelloError::Read { path: path.clone(), cause })?;
    let database = Connection::open(&path)?;
    database.execute_batch(version.migration())?;
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 1.1
    Good,
    /// 1.3
    Broken,
}

impl Version {
    fn files(self) -> (Release, String) {
        let mut greetings: Vec<String> =
            ["Hello, {guest}!", "Good to see you, {guest}.", "You are guest {count}."]
                .iter()
                .cycle()
                .take(12)
                .map(ToString::to_string)
                .collect();
        match self {
            Self::Good => (
                Release {
                    version: "1.1".into(),
                    database_layout: 1,
                    known_keys: vec!["greeting".into()],
                    accents: vec![],
                    greetings,
                },
                "{\n  \"greeting\": \"plain\"\n}\n".into(),
            ),
            Self::Broken => {
                // The slip of 1.3: a place in one of twelve texts that nothing fills.
                greetings[11] = "Welcome back, {gust}!".into();
                let release = Release {
                    version: "1.3".into(),
                    database_layout: 2,
                    known_keys: vec!["greeting".into(), "accent_folder".into()],
                    accents: vec!["nordic".into()],
                    greetings,
                };
                let config =
                    "{\n  \"greeting\": \"plain\",\n  \"accent_folder\": \"/opt/hello/plugins-1.3\"\n}\n";
                (release, config.into())
            }
        }
    }

    fn migration(self) -> &'static str {
        match self {
            Self::Good => {
                "PRAGMA journal_mode = WAL;
                 CREATE TABLE guests (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
                 INSERT INTO guests (name) VALUES ('ada'), ('grace'), ('barbara');
                 PRAGMA user_version = 1;"
            }
            Self::Broken => {
                "ALTER TABLE guests ADD COLUMN accent TEXT;
                 INSERT INTO guests (name, accent) VALUES ('edsger', 'nordic');
                 PRAGMA user_version = 2;"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(root: &Path, accent: Option<&str>) -> Result<Hello, HelloError> {
        Hello::load(root, accent.map(str::to_owned))
    }

    #[test]
    fn version_1_3_fails_one_answer_in_twelve_and_1_1_none() {
        let root = tempfile::tempdir().unwrap();
        deploy(root.path(), Version::Good).unwrap();
        let good = loaded(root.path(), None).unwrap();
        assert_eq!((0..24).filter(|_| good.greet(3).is_err()).count(), 0);
        drop(good);
        deploy(root.path(), Version::Broken).unwrap();
        let broken = loaded(root.path(), Some("nordic")).unwrap();
        assert_eq!((0..24).filter_map(|_| broken.greet(3).err()).collect::<Vec<_>>(), ["gust", "gust"]);
    }

    #[test]
    fn version_1_1_refuses_what_only_1_3_knows() {
        let root = tempfile::tempdir().unwrap();
        deploy(root.path(), Version::Good).unwrap();
        let release = std::fs::read_to_string(root.path().join(RELEASE)).unwrap();
        let config = std::fs::read_to_string(root.path().join(CONFIG)).unwrap();
        assert!(matches!(loaded(root.path(), Some("nordic")), Err(HelloError::UnknownAccent { .. })));
        deploy(root.path(), Version::Broken).unwrap();
        std::fs::write(root.path().join(RELEASE), release).unwrap();
        assert!(matches!(loaded(root.path(), None), Err(HelloError::UnknownKey { .. })));
        std::fs::write(root.path().join(CONFIG), config).unwrap();
        assert!(matches!(loaded(root.path(), None), Err(HelloError::Layout { found: 2, known: 1, .. })));
    }
}
