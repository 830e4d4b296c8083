//! A plan as its author wrote it: every value with its place, nothing resolved.
//!
//! Reading never stops at the first mistake: what could be read is there, what
//! could not is `None` and stands among [`Draft::problems`].

use std::collections::BTreeMap;

use super::keys;
use super::problem::Problem;
use super::tree::{Place, Table};
use super::{CutOff, PointCheck, PointChoice, Severity, Urgency};
use crate::ids::{Group, HostName, PlanName, StepName};
use crate::time::Millis;

mod reader;
mod spread;
mod steps;

use reader::Reader;
pub(crate) use reader::disguise;

/// A value and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    pub value: T,
    pub span: Place,
}

/// A number of hosts: `3`, or `"25%"` of the selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    Count(u32),
    /// 1 to 100.
    Percent(u32),
}

impl Amount {
    /// Of `total` hosts: per cent rounded up, at least one.
    pub fn of(self, total: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                let hosts = (u64::from(total) * u64::from(percent)).div_ceil(100);
                u32::try_from(hosts).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Draft {
    pub text: String,
    pub name: Option<At<PlanName>>,
    pub reason: Option<At<String>>,
    pub severity: Option<At<Severity>>,
    pub urgency: Option<At<Urgency>>,
    pub service: Option<At<String>>,
    pub from: Option<At<String>>,
    pub to: Option<At<String>>,
    pub valid: Option<At<Millis>>,
    pub budget: Option<At<Millis>>,
    pub confirm: Option<At<Millis>>,
    pub vars: BTreeMap<String, At<String>>,
    pub fleet: FleetDraft,
    pub approval: ApprovalDraft,
    pub point: Option<PointDraft>,
    pub steps: Vec<StepDraft>,
    pub pace: PaceDraft,
    pub waves: Vec<WaveDraft>,
    pub gates: Vec<GateDraft>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FleetDraft {
    pub select: Option<At<String>>,
    pub exclude: Vec<At<HostName>>,
    pub min: Option<At<u32>>,
    pub max: Option<At<u32>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApprovalDraft {
    pub signatures: Option<At<u32>>,
    pub from: Vec<At<Group>>,
    pub author: Option<At<bool>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointDraft {
    pub choice: Option<At<PointChoice>>,
    pub age: Option<At<Millis>>,
    pub verify: Option<At<PointCheck>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct StepDraft {
    pub span: Place,
    pub name: Option<At<StepName>>,
    pub uses: Option<At<String>>,
    pub with: Option<At<Table>>,
    pub undo: Option<UndoDraft>,
    pub wait: Option<At<Millis>>,
    pub timeout: Option<At<Millis>>,
    pub confirm: Option<At<Millis>>,
    pub pivot: Option<At<bool>>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum UndoDraft {
    /// `undo = "none"`.
    Nothing(Place),
    Settings(At<Table>),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PaceDraft {
    pub spread: Option<At<String>>,
    pub at_once: Option<At<Amount>>,
    pub cut_off: Option<At<CutOff>>,
    pub failed: Option<At<Amount>>,
    pub silent: Option<At<Amount>>,
    pub stage_within: Option<At<Millis>>,
    pub silent_after: Option<At<Millis>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaveDraft {
    pub span: Place,
    pub name: Option<At<String>>,
    pub hosts: Option<At<Amount>>,
    pub soak: Option<At<Millis>>,
    pub gate: Option<At<String>>,
    pub approve: Option<At<Group>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateDraft {
    pub name: At<String>,
    pub failed: Option<At<u32>>,
    pub silent: Option<At<u32>>,
    pub like: Option<At<String>>,
}

/// Longest short text (service, version, tag), in bytes.
const SHORT_BYTES_MAX: usize = 64;
/// Longest value of a variable, in bytes.
const VAR_BYTES_MAX: usize = 4096;

impl Draft {
    /// A draft that could not even be parsed.
    pub fn unreadable(text: &str, problem: Problem) -> Self {
        Self { text: text.to_owned(), problems: vec![problem], ..Self::default() }
    }

    /// Normal when it says nothing.
    pub fn urgency(&self) -> Urgency {
        self.urgency.as_ref().map_or(Urgency::Normal, |urgency| urgency.value)
    }

    /// Reads a parsed file; what is wrong stands in [`Draft::problems`].
    pub fn read(text: &str, document: &Table) -> Self {
        let mut problems = Vec::new();
        let mut draft = Self { text: text.to_owned(), ..Self::default() };
        let mut top = Reader::new(keys::PLAN, document, 0..0, text, &mut problems);
        let format = top.whole("format", 0..=u32::MAX);
        top.need("format", "format = 1");
        if let Some(format) = format.filter(|format| format.value != super::FORMAT) {
            top.problem(
                Problem::error(
                    "P111",
                    format.span.clone(),
                    format!("plan format {} is not known", format.value),
                )
                .label(format!("this version reads format {}", super::FORMAT))
                .replace(
                    "write the format that is read here",
                    format.span,
                    super::FORMAT.to_string(),
                ),
            );
        }
        draft.name = top.name("name");
        draft.reason = top.line("reason", super::REASON_BYTES_MAX);
        draft.severity = top.word(
            "severity",
            &[
                ("low", Severity::Low),
                ("medium", Severity::Medium),
                ("high", Severity::High),
                ("critical", Severity::Critical),
            ],
        );
        draft.urgency =
            top.word("urgency", &[("normal", Urgency::Normal), ("emergency", Urgency::Emergency)]);
        draft.service = top.line("service", SHORT_BYTES_MAX);
        draft.from = top.line("from", SHORT_BYTES_MAX);
        draft.to = top.line("to", SHORT_BYTES_MAX);
        draft.valid = top.length("valid");
        draft.budget = top.length("budget");
        draft.confirm = top.length("confirm");
        for (key, example) in [
            ("name", "name = \"agora-1.3-to-1.1\""),
            ("reason", "reason = \"INC-4127: what went wrong\""),
            ("severity", "severity = \"high\""),
            ("service", "service = \"agora\""),
            ("from", "from = \"1.3\""),
            ("to", "to = \"1.1\""),
        ] {
            top.need(key, example);
        }
        draft.read_vars(&mut top);
        draft.read_fleet(&mut top);
        draft.read_approval(&mut top);
        draft.read_point(&mut top);
        draft.steps = steps::read(&mut top);
        draft.pace = spread::read_pace(&mut top);
        draft.waves = spread::read_waves(&mut top);
        draft.gates = spread::read_gates(&mut top);
        top.finish();
        draft.problems = problems;
        draft
    }

    fn read_vars(&mut self, top: &mut Reader<'_, '_>) {
        let Some(table) = top.table("vars") else { return };
        for entry in &table.value.entries {
            let named_well = entry.key.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
                && entry.key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
                && entry.key.len() <= SHORT_BYTES_MAX;
            if !named_well {
                top.problem(
                    Problem::error(
                        "P112",
                        entry.key_span.clone(),
                        format!("{} is not a variable's name", super::secret::shown(&entry.key)),
                    )
                    .label("letters, digits, `_` and `-`, beginning with a small letter"),
                );
            }
            if let Some(value) = top.line_of(entry, VAR_BYTES_MAX) {
                self.vars.insert(entry.key.clone(), value);
            }
        }
    }

    fn read_fleet(&mut self, top: &mut Reader<'_, '_>) {
        top.need("fleet", "[fleet]\nselect = \"service=agora & env=prod\"");
        let Some(mut fleet) = top.section("fleet", keys::FLEET) else { return };
        fleet.need("select", "select = \"service=agora & env=prod\"");
        self.fleet = FleetDraft {
            select: fleet.line("select", 4096),
            exclude: fleet.names("exclude"),
            min: fleet.whole("min", 0..=u32::MAX),
            max: fleet.whole("max", 0..=u32::MAX),
        };
        fleet.finish();
    }

    fn read_approval(&mut self, top: &mut Reader<'_, '_>) {
        top.need("approval", "[approval]\nsignatures = 2");
        let Some(mut approval) = top.section("approval", keys::APPROVAL) else { return };
        approval.need("signatures", "signatures = 2");
        self.approval = ApprovalDraft {
            signatures: approval.whole("signatures", 0..=u32::MAX),
            from: approval.names("from"),
            author: approval.flag("author"),
        };
        approval.finish();
    }

    fn read_point(&mut self, top: &mut Reader<'_, '_>) {
        let Some(mut point) = top.section("point", keys::POINT) else { return };
        let tag = point.line("tag", SHORT_BYTES_MAX);
        let newest = point.word("newest", &[("whole", ())]);
        let choice = match (tag, newest) {
            (Some(tag), Some(newest)) => {
                point.problem(both(&tag.span, &newest.span));
                None
            }
            (Some(tag), None) => Some(At { value: PointChoice::Tagged(tag.value), span: tag.span }),
            (None, newest) => newest.map(|newest| At { value: PointChoice::NewestWhole, span: newest.span }),
        };
        if !point.has("newest") {
            point.need("tag", "tag = \"before-1.3\", or newest = \"whole\"");
        }
        self.point = Some(PointDraft {
            choice,
            age: point.length("age"),
            verify: point.word("verify", &[("quick", PointCheck::Quick), ("full", PointCheck::Full)]),
        });
        point.finish();
    }
}

fn both(tag: &Place, newest: &Place) -> Problem {
    Problem::error("P148", newest.clone(), "a host cannot go back to two points")
        .label("the newest whole one, whatever its tag")
        .see(tag.clone(), "the newest with this tag")
        .help("keep one of the two")
}
