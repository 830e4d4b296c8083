//! Every key a plan may have, by section: what the reader accepts, what the
//! suggestions draw from, and what the JSON Schema is held against.

/// One kind of table in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// How messages speak of it.
    pub what: &'static str,
    /// How the file writes it; empty for the top.
    pub header: &'static str,
    pub keys: &'static [&'static str],
    /// Keys of the format that this version does not carry out yet.
    pub later: &'static [&'static str],
}

pub const PLAN: Section = Section {
    what: "the plan",
    header: "",
    keys: &[
        "format", "name", "reason", "severity", "urgency", "service", "from", "to", "valid", "budget",
        "confirm", "vars", "fleet", "approval", "point", "step", "pace", "wave", "gate",
    ],
    later: &["notify", "trigger", "both_versions_ok"],
};
pub const FLEET: Section =
    Section { what: "[fleet]", header: "[fleet]", keys: &["select", "exclude", "min", "max"], later: &[] };
pub const APPROVAL: Section =
    Section { what: "[approval]", header: "[approval]", keys: &["signatures", "from", "author"], later: &[] };
pub const POINT: Section =
    Section { what: "[point]", header: "[point]", keys: &["tag", "newest", "age", "verify"], later: &[] };
pub const STEP: Section = Section {
    what: "a step",
    header: "[[step]]",
    keys: &["name", "uses", "with", "undo", "wait", "timeout", "confirm", "pivot"],
    later: &["once"],
};
pub const PACE: Section = Section {
    what: "[pace]",
    header: "[pace]",
    keys: &["spread", "at_once", "cut_off", "failed", "silent", "stage_within", "silent_after"],
    later: &[],
};
pub const WAVE: Section = Section {
    what: "a wave",
    header: "[[wave]]",
    keys: &["name", "hosts", "soak", "gate", "approve"],
    later: &[],
};
pub const GATE: Section = Section {
    what: "a gate",
    header: "[gate.NAME]",
    keys: &["failed", "silent", "like"],
    later: &["metric"],
};

/// All of them; `[vars]` holds names of the author's own.
pub const SECTIONS: [Section; 8] = [PLAN, FLEET, APPROVAL, POINT, STEP, PACE, WAVE, GATE];
