//! A unit as its properties tell it.

use std::collections::HashMap;

use zbus::zvariant::{OwnedObjectPath, OwnedValue};

use super::bus::{Bus, UNIT};
use super::{Active, Load, Unit};
use crate::capabilities::HostError;

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// How a main process ended, as wait(2) numbers it.
const CLD_EXITED: i32 = 1;

/// A unit, and what only its jobs are interested in.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) unit: Unit,
    pub(super) object: OwnedObjectPath,
    /// `simple`, `notify`, `oneshot` ...; empty when it is no service.
    pub(super) kind: String,
    /// When it last began to start, in microseconds of systemd's own clock.
    pub(super) began_us: u64,
    /// False when a condition of the unit was not met at its last start.
    pub(super) conditions_met: bool,
}

impl Seen {
    /// Nobody defined it and nothing of it runs.
    pub(super) fn is_unknown(&self) -> bool {
        self.unit.load == Load::NotFound && self.unit.active.is_down()
    }
}

/// The unit as it is now; systemd loads its files if it has not yet.
pub(super) fn see(bus: &Bus, name: &str) -> Result<Seen, HostError> {
    let object: OwnedObjectPath = bus.manager("LoadUnit", (name.to_owned(),))?;
    let common = Properties(bus.call(&object, PROPERTIES, "GetAll", (UNIT,))?);
    let own = match interface(name) {
        Some(interface) => Properties(bus.call(&object, PROPERTIES, "GetAll", (interface,))?),
        None => Properties(HashMap::new()),
    };
    // The unit's own property is remembered from the last reload; this one looks.
    let on_disk: Result<String, HostError> = bus.manager("GetUnitFileState", (name.to_owned(),));
    let unit = Unit {
        name: name.to_owned(),
        load: load(&common.text("LoadState")),
        active: active(&common.text("ActiveState")),
        sub: common.text("SubState"),
        unit_file: on_disk.unwrap_or_else(|_| common.text("UnitFileState")),
        main_pid: own.get::<u32>("MainPID").filter(|pid| *pid != 0),
        since_ms: common.get::<u64>("StateChangeTimestamp").filter(|us| *us != 0).map(|us| us / 1_000),
        restarts: own.get("NRestarts").unwrap_or(0),
        outcome: own.get("Result").unwrap_or_else(|| "success".to_owned()),
        last_exit: last_exit(&own),
        needs_reload: common.get("NeedDaemonReload").unwrap_or(false),
        path: common.text("FragmentPath"),
        drop_ins: common.get("DropInPaths").unwrap_or_default(),
    };
    Ok(Seen {
        unit,
        object,
        kind: own.text("Type"),
        began_us: common.get("InactiveExitTimestampMonotonic").unwrap_or(0),
        conditions_met: common.get("ConditionResult").unwrap_or(true),
    })
}

/// Where the properties of the unit's own kind stand; a target has none.
fn interface(name: &str) -> Option<&'static str> {
    match name.rsplit('.').next()? {
        "service" => Some("org.freedesktop.systemd1.Service"),
        "socket" => Some("org.freedesktop.systemd1.Socket"),
        "timer" => Some("org.freedesktop.systemd1.Timer"),
        "path" => Some("org.freedesktop.systemd1.Path"),
        "mount" => Some("org.freedesktop.systemd1.Mount"),
        _ => None,
    }
}

fn load(word: &str) -> Load {
    match word {
        "not-found" => Load::NotFound,
        "masked" => Load::Masked,
        "bad-setting" | "error" => Load::Broken,
        _ => Load::Loaded,
    }
}

fn active(word: &str) -> Active {
    match word {
        "active" => Active::Active,
        "reloading" | "refreshing" => Active::Reloading,
        "failed" => Active::Failed,
        "activating" => Active::Activating,
        "deactivating" => Active::Deactivating,
        _ => Active::Inactive,
    }
}

fn last_exit(own: &Properties) -> Option<String> {
    own.get::<u64>("ExecMainExitTimestamp").filter(|us| *us != 0)?;
    let status: i32 = own.get("ExecMainStatus")?;
    match own.get::<i32>("ExecMainCode")? {
        0 => None,
        CLD_EXITED => Some(format!("exit {status}")),
        _ => Some(format!("signal {status}")),
    }
}

struct Properties(HashMap<String, OwnedValue>);

impl Properties {
    fn get<T: TryFrom<OwnedValue>>(&self, name: &str) -> Option<T> {
        T::try_from(self.0.get(name)?.try_clone().ok()?).ok()
    }

    fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default()
    }
}
