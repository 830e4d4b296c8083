//! systemd units: their files and drop-ins as systemd reads them, and how they
//! stand. Files that an operator put below `/etc` are kept as files besides, so
//! that a step can restore them.

use std::collections::BTreeMap;
use std::time::Duration;

use sternway_core::point::PieceKind;

use super::{Ground, Names, PiecesError};
use crate::capabilities::files::{Files, HostPath, Node, Place};
use crate::points::making::{Content, Extra};

const PATIENCE: Duration = Duration::from_secs(30);
/// All that is needed to see how it stood, and to start it so again.
const PROPERTIES: &str = "--property=Id,Names,Description,LoadState,LoadError,ActiveState,SubState,Result,\
    UnitFileState,UnitFilePreset,FragmentPath,SourcePath,DropInPaths,NeedDaemonReload,Type,MainPID,ExecMainStatus,\
    NRestarts,ActiveEnterTimestamp,User,Group,WorkingDirectory,Environment,EnvironmentFiles,ExecStart,Requires,\
    Wants,After,TriggeredBy,Triggers";
/// Where an operator's own unit files lie.
const OPERATORS: &str = "/etc";

/// What a point holds of one unit.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) extras: Vec<Extra>,
    pub(super) files: Vec<HostPath>,
}

pub(super) fn pieces(ground: &Ground<'_>, names: &mut Names, unit: &str) -> Result<Unit, PiecesError> {
    let failed = |cause| PiecesError::Unit { unit: unit.to_owned(), cause };
    let systemctl = ground.programs.call("systemctl").map_err(failed)?;
    let words = ["show", "--no-pager", PROPERTIES, "--", unit];
    let said = systemctl.clone().shown_as("systemctl show").words(words).ask(PATIENCE).map_err(failed)?;
    let text = said.text();
    let properties = read_properties(&text);
    let value = |name: &str| properties.get(name).copied().unwrap_or_default();
    if matches!(value("LoadState"), "not-found" | "") {
        return Err(PiecesError::NoUnit { unit: unit.to_owned() });
    }
    let extra = |file: String, note: String, bytes: Vec<u8>| Extra {
        kind: PieceKind::Unit,
        name: unit.to_owned(),
        file,
        note,
        content: Content::Bytes(bytes),
    };
    let state = names.file(PieceKind::Unit, unit, "state");
    let mut extras = vec![extra(state, note(&value), text.clone().into_bytes())];
    let parts: Vec<&str> = std::iter::once(value("FragmentPath"))
        .chain(value("DropInPaths").split_whitespace())
        .filter(|path| !path.is_empty())
        .collect();
    // A masked unit has no text, and one made by a program has no file.
    if !parts.is_empty() && value("LoadState") != "masked" {
        let words = ["cat", "--no-pager", "--", unit];
        let said = systemctl.shown_as("systemctl cat").words(words).ask(PATIENCE).map_err(failed)?;
        let file = names.file(PieceKind::Unit, unit, "text");
        let count = match parts.len() {
            1 => "1 file".into(),
            more => format!("{more} files"),
        };
        extras.push(extra(file, count, said.out));
    }
    let files = parts.into_iter().filter_map(|path| own_file(ground, path)).collect();
    Ok(Unit { extras, files })
}

fn read_properties(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once('=')).collect()
}

/// `active enabled`; what is out of the ordinary follows.
fn note<'a>(value: &dyn Fn(&str) -> &'a str) -> String {
    let mut words = vec![value("ActiveState"), value("UnitFileState")];
    if !matches!(value("LoadState"), "loaded" | "masked") {
        words.push(value("LoadState"));
    }
    if value("NeedDaemonReload") == "yes" {
        words.push("changed-on-disk");
    }
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

/// A regular file of an operator's that this host's root holds, reached by no link.
fn own_file(ground: &Ground<'_>, path: &str) -> Option<HostPath> {
    let path = HostPath::parse(path).ok()?;
    let etc = HostPath::parse(OPERATORS).ok()?;
    let files = Files::new(ground.root.clone(), "points", "units");
    let found = files.attributes(Place::Live, &path).ok()??;
    (found.node == Node::File && path.is_within(&etc)).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::pieces::tests::{Host, content, skipped};

    /// As systemd 252 answers.
    const STAND_IN: &str = r#"
case "$1 $5$4" in
  *gone.service*) echo LoadState=not-found; echo ActiveState=inactive; exit 0 ;;
  *masked.service*)
    [ "$1" = show ] || { echo 'it is masked' >&2; exit 1; }
    printf 'LoadState=masked\nActiveState=inactive\nUnitFileState=masked\nFragmentPath=/dev/null\n' ;;
  show*) printf 'Id=agora.service\nLoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\n'
    printf 'FragmentPath=/etc/systemd/system/agora.service\nDropInPaths=/etc/systemd/system/agora.service.d/a.conf'
    printf ' /usr/lib/systemd/system/agora.service.d/b.conf\nEnvironment=TOKEN=s3cret\n' ;;
  cat*) printf '# /etc/systemd/system/agora.service\n[Service]\nExecStart=/opt/agora/run\n' ;;
esac
"#;

    fn host() -> Host {
        let host = Host::new();
        host.programs.add("systemctl", STAND_IN);
        host.write("/etc/systemd/system/agora.service", "[Service]\nExecStart=/opt/agora/run\n");
        host.write("/etc/systemd/system/agora.service.d/a.conf", "[Service]\nRestart=always\n");
        host.write("/usr/lib/systemd/system/agora.service.d/b.conf", "[Service]\n");
        host
    }

    #[test]
    fn a_unit_is_kept_with_its_state_its_text_and_the_operators_files() {
        let host = host();
        let unit = pieces(&host.ground(), &mut Names::default(), "agora.service").unwrap();
        let [state, text] = unit.extras.try_into().unwrap();
        assert_eq!((state.name.as_str(), state.file.as_str()), ("agora.service", "agora.service.state"));
        assert_eq!(state.note, "active enabled");
        assert!(content(state).unwrap().contains("SubState=running"));
        assert_eq!((text.file.as_str(), text.note.as_str()), ("agora.service.text", "3 files"));
        assert!(content(text).unwrap().contains("ExecStart=/opt/agora/run"));
        let files: Vec<&str> = unit.files.iter().map(HostPath::as_str).collect();
        assert_eq!(
            files,
            ["/etc/systemd/system/agora.service", "/etc/systemd/system/agora.service.d/a.conf"],
            "what packages brought is theirs"
        );
    }

    #[test]
    fn a_unit_that_is_not_there_is_named_and_a_masked_one_is_kept_as_such() {
        let host = host();
        let error = pieces(&host.ground(), &mut Names::default(), "gone.service").unwrap_err();
        assert_eq!(error.to_string(), "this host has no unit `gone.service`");
        let unit = pieces(&host.ground(), &mut Names::default(), "masked.service").unwrap();
        assert_eq!((unit.extras.len(), unit.extras[0].note.as_str()), (1, "inactive masked"));
        assert!(unit.files.is_empty());
    }

    #[test]
    fn the_real_systemd_answers_as_the_stand_in_does() {
        if !std::path::Path::new("/run/systemd/system").is_dir() {
            skipped("systemd does not run here");
            return;
        }
        let host = Host::with_programs_of_machine();
        let unit = pieces(&host.ground(), &mut Names::default(), "systemd-journald.service").unwrap();
        assert!(unit.extras[0].note.starts_with("active "), "{}", unit.extras[0].note);
        let error = pieces(&host.ground(), &mut Names::default(), "sternway-none.service").unwrap_err();
        assert!(matches!(error, PiecesError::NoUnit { .. }), "{error}");
    }
}
