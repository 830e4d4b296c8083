//! The connection to the system bus, and calls over it that wait in plain
//! threads. It is made when first needed and again when it was lost; a caller
//! may itself stand in an asynchronous runtime, so nothing here blocks one.

use std::future::Future;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Runtime};
use zbus::connection;
use zbus::zvariant::{DynamicType, OwnedObjectPath, Type};
use zbus::{Connection, Message};

use super::{Systemd, errors};
use crate::capabilities::{ErrorKind, HostError};

pub(super) const SYSTEMD: &str = "org.freedesktop.systemd1";
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub(super) const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
pub(super) const UNIT: &str = "org.freedesktop.systemd1.Unit";
pub(super) const JOB: &str = "org.freedesktop.systemd1.Job";

/// A reload of a host with many units is what takes longest.
const ANSWER_PATIENCE: Duration = Duration::from_secs(90);
/// A bus that is started anew is back, and systemd on it, within about a second.
const BUS_PATIENCE: Duration = Duration::from_secs(10);
const BUS_PAUSE: Duration = Duration::from_millis(100);

/// What a change of links did: kind, link, target.
pub(super) type Links = Vec<(String, String, String)>;

/// Why a call has no answer.
#[derive(Debug)]
enum Trouble {
    /// systemd said no.
    Answer(HostError),
    /// Nobody heard it, or nobody could answer.
    Lost(String),
}

#[derive(Debug, Default)]
pub(super) struct Bus {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    runtime: Option<Runtime>,
    connection: Option<Connection>,
}

impl Bus {
    /// Calls the manager.
    pub(super) fn manager<B, R>(&self, method: &'static str, body: B) -> Result<R, HostError>
    where
        B: Serialize + DynamicType + Clone + Send + Sync + 'static,
        R: DeserializeOwned + Type + Send + 'static,
    {
        self.call_at(MANAGER_PATH, MANAGER, method, body)
    }

    /// Calls one object of systemd. What was lost on the way is said again: all
    /// that is called here may happen twice.
    pub(super) fn call<B, R>(
        &self,
        object: &OwnedObjectPath,
        interface: &'static str,
        method: &'static str,
        body: B,
    ) -> Result<R, HostError>
    where
        B: Serialize + DynamicType + Clone + Send + Sync + 'static,
        R: DeserializeOwned + Type + Send + 'static,
    {
        self.call_at(object.as_str(), interface, method, body)
    }

    fn call_at<B, R>(
        &self,
        object: &str,
        interface: &'static str,
        method: &'static str,
        body: B,
    ) -> Result<R, HostError>
    where
        B: Serialize + DynamicType + Clone + Send + Sync + 'static,
        R: DeserializeOwned + Type + Send + 'static,
    {
        let until = Instant::now() + BUS_PATIENCE;
        loop {
            let connection = self.connection(until)?;
            let (object, body) = (object.to_owned(), body.clone());
            let answered = self.wait(async move {
                connection
                    .call_method(Some(SYSTEMD), object.as_str(), Some(interface), method, &body)
                    .await
                    .and_then(|answer| decode::<R>(&answer))
                    .map_err(|error| trouble(method, error))
            })?;
            match answered {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Answer(error)) => return Err(error),
                Err(Trouble::Lost(why)) if Instant::now() >= until => return Err(errors::no_bus(&why)),
                Err(Trouble::Lost(_)) => self.forget(),
            }
            std::thread::sleep(BUS_PAUSE);
        }
    }

    /// Runs `future` on our own thread, from wherever we are called.
    pub(super) fn wait<T, F>(&self, future: F) -> Result<T, HostError>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (said, answer) = mpsc::sync_channel(1);
        let task = self.spawn(async move {
            // The other side may have stopped waiting.
            let _ = said.send(future.await);
        })?;
        match answer.recv_timeout(ANSWER_PATIENCE) {
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Timeout) => {
                task.abort();
                Err(errors::no_bus("no answer"))
            }
            Err(RecvTimeoutError::Disconnected) => Err(errors::no_bus("the call was dropped")),
        }
    }

    /// Lets `future` run on our own thread.
    pub(super) fn spawn<F>(&self, future: F) -> Result<tokio::task::AbortHandle, HostError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.runtime.is_none() {
            let built =
                Builder::new_multi_thread().worker_threads(1).thread_name("systemd").enable_all().build();
            inner.runtime = Some(
                built.map_err(|cause| HostError::from_io("systemd", "could not start a thread", &cause))?,
            );
        }
        let runtime = inner.runtime.as_ref().expect("made above");
        Ok(runtime.spawn(future).abort_handle())
    }

    /// The connection, made now if there is none, until `until` at the latest.
    pub(super) fn connection(&self, until: Instant) -> Result<Connection, HostError> {
        if !Systemd::is_here() {
            return Err(errors::not_here());
        }
        loop {
            if let Some(connection) = self.standing() {
                return Ok(connection);
            }
            let made = self.wait(async {
                let builder = connection::Builder::system()?.method_timeout(ANSWER_PATIENCE);
                let connection = builder.build().await?;
                // Without it systemd tells nobody that a job has ended.
                connection.call_method(Some(SYSTEMD), MANAGER_PATH, Some(MANAGER), "Subscribe", &()).await?;
                Ok::<_, zbus::Error>(connection)
            })?;
            match made {
                Ok(connection) => {
                    let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
                    inner.connection = Some(connection.clone());
                    return Ok(connection);
                }
                Err(error) if Instant::now() >= until => return Err(never_came(&error)),
                Err(_) => std::thread::sleep(BUS_PAUSE),
            }
        }
    }

    /// The next call connects anew.
    pub(super) fn forget(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).connection = None;
    }

    fn standing(&self) -> Option<Connection> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.connection.clone().filter(|connection| !connection.is_closed())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Waiting for its thread is not allowed everywhere we may be dropped.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn decode<R: DeserializeOwned + Type>(answer: &Message) -> zbus::Result<R> {
    answer.body().deserialize()
}

fn trouble(method: &str, error: zbus::Error) -> Trouble {
    match error {
        zbus::Error::MethodError(name, said, _) if errors::is_lost(&name) => {
            Trouble::Lost(said.unwrap_or_else(|| name.to_string()))
        }
        zbus::Error::MethodError(name, said, _) => {
            Trouble::Answer(errors::from_answer(method, &name, said.as_deref().unwrap_or("no reason given")))
        }
        zbus::Error::Variant(cause) => Trouble::Answer(HostError::new(
            ErrorKind::Unsupported,
            "systemd/answer",
            format!("the answer to {method} is not as documented: {cause}"),
        )),
        other => Trouble::Lost(other.to_string()),
    }
}

/// No socket at all is another thing than one that does not answer for now.
fn never_came(error: &zbus::Error) -> HostError {
    match error {
        zbus::Error::InputOutput(cause) if cause.kind() == std::io::ErrorKind::NotFound => errors::not_here(),
        other => errors::no_bus(&other.to_string()),
    }
}
