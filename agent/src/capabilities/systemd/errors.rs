//! What systemd and the bus answer, as errors that a plugin can act upon.

use crate::capabilities::{ErrorKind, HostError};

pub(super) fn unknown(name: &str) -> HostError {
    HostError::new(ErrorKind::NotFound, "systemd/unknown-unit", format!("systemd knows no unit {name}"))
}

pub(super) fn masked(name: &str) -> HostError {
    HostError::new(ErrorKind::Conflict, "systemd/masked", format!("{name} is masked: nobody may start it"))
}

pub(super) fn not_here() -> HostError {
    HostError::new(
        ErrorKind::Unsupported,
        "systemd/not-here",
        "this host was not started with systemd, or has no system bus",
    )
}

pub(super) fn no_bus(why: &str) -> HostError {
    HostError::new(
        ErrorKind::Transient,
        "systemd/no-bus",
        format!("could not reach systemd over the system bus: {why}"),
    )
}

/// An answer that is an error, by its name on the bus.
pub(super) fn from_answer(method: &str, error: &str, said: &str) -> HostError {
    let last = error.rsplit('.').next().unwrap_or(error);
    let (kind, reason) = match last {
        "NoSuchUnit" | "LoadFailed" => (ErrorKind::NotFound, "unknown-unit"),
        "UnitMasked" => (ErrorKind::Conflict, "masked"),
        "OnlyByDependency" => (ErrorKind::Conflict, "refused-manual"),
        "TransactionIsDestructive" | "TransactionJobsConflicting" => (ErrorKind::Conflict, "busy"),
        "TransactionOrderIsCyclic" => (ErrorKind::Failed, "cycle"),
        "JobTypeNotApplicable" => (ErrorKind::Unsupported, "not-applicable"),
        "UnitExists" => (ErrorKind::Conflict, "exists"),
        "BadUnitSetting" | "UnitError" => (ErrorKind::Failed, "broken-unit"),
        "AccessDenied" | "InteractiveAuthorizationRequired" | "EACCES" | "EPERM" => {
            (ErrorKind::Failed, "permission")
        }
        "FileExists" | "EEXIST" => (ErrorKind::Conflict, "file-in-the-way"),
        "NoSuchProcess" | "ESRCH" => (ErrorKind::Conflict, "no-process"),
        "FileNotFound" | "ENOENT" => (ErrorKind::NotFound, "unknown-unit"),
        "UnknownObject" | "NoSuchJob" => (ErrorKind::NotFound, "gone"),
        "UnknownMethod" => (ErrorKind::Unsupported, "too-old"),
        "InvalidArgs" => (ErrorKind::Invalid, "refused"),
        _ => (ErrorKind::Failed, "failed"),
    };
    HostError::new(kind, &format!("systemd/{reason}"), format!("systemd refused {method}: {said} ({error})"))
}

/// The connection, the bus or systemd's place on it is gone, maybe for a moment.
pub(super) fn is_lost(error: &str) -> bool {
    matches!(
        error,
        "org.freedesktop.DBus.Error.ServiceUnknown"
            | "org.freedesktop.DBus.Error.NameHasNoOwner"
            | "org.freedesktop.DBus.Error.NoReply"
            | "org.freedesktop.DBus.Error.Disconnected"
            | "org.freedesktop.DBus.Error.NoServer"
    )
}

#[cfg(test)]
mod tests {
    use super::from_answer;
    use crate::capabilities::ErrorKind;

    #[test]
    fn an_answer_becomes_the_error_a_plugin_can_act_upon() {
        for (name, kind, code) in [
            ("org.freedesktop.systemd1.NoSuchUnit", ErrorKind::NotFound, "systemd/unknown-unit"),
            ("org.freedesktop.systemd1.UnitMasked", ErrorKind::Conflict, "systemd/masked"),
            ("org.freedesktop.systemd1.OnlyByDependency", ErrorKind::Conflict, "systemd/refused-manual"),
            ("org.freedesktop.systemd1.TransactionIsDestructive", ErrorKind::Conflict, "systemd/busy"),
            (
                "org.freedesktop.systemd1.JobTypeNotApplicable",
                ErrorKind::Unsupported,
                "systemd/not-applicable",
            ),
            ("org.freedesktop.DBus.Error.AccessDenied", ErrorKind::Failed, "systemd/permission"),
            ("System.Error.EEXIST", ErrorKind::Conflict, "systemd/file-in-the-way"),
            ("com.example.Unheard", ErrorKind::Failed, "systemd/failed"),
        ] {
            let error = from_answer("StartUnit", name, "no");
            assert_eq!((error.kind, error.code.as_str()), (kind, code), "{name}");
        }
    }
}
