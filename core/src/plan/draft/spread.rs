//! `[pace]`, `[[wave]]` and `[gate.NAME]`: how it spreads over the fleet.

use super::super::CutOff;
use super::super::keys;
use super::super::problem::Problem;
use super::super::tree::Value;
use super::reader::Reader;
use super::{At, GateDraft, PaceDraft, SHORT_BYTES_MAX, WaveDraft};

pub(super) fn read_pace(top: &mut Reader<'_, '_>) -> PaceDraft {
    let Some(mut pace) = top.section("pace", keys::PACE) else { return PaceDraft::default() };
    let read = PaceDraft {
        spread: pace.line("spread", SHORT_BYTES_MAX),
        at_once: pace.amount("at_once"),
        cut_off: pace.word(
            "cut_off",
            &[("finish-host", CutOff::FinishHost), ("hold", CutOff::Hold), ("undo", CutOff::Undo)],
        ),
        failed: pace.tolerance("failed"),
        silent: pace.tolerance("silent"),
        stage_within: pace.length("stage_within"),
        silent_after: pace.length("silent_after"),
    };
    pace.finish();
    read
}

pub(super) fn read_waves(top: &mut Reader<'_, '_>) -> Vec<WaveDraft> {
    let mut waves = Vec::new();
    for table in top.tables("wave") {
        let mut wave = top.inner(keys::WAVE, &table);
        wave.need("hosts", "hosts = \"100%\"");
        waves.push(WaveDraft {
            span: table.span.clone(),
            name: wave.line("name", SHORT_BYTES_MAX),
            hosts: wave.amount("hosts"),
            soak: wave.length("soak"),
            gate: wave.line("gate", SHORT_BYTES_MAX),
            approve: wave.name("approve"),
        });
        wave.finish();
    }
    waves
}

pub(super) fn read_gates(top: &mut Reader<'_, '_>) -> Vec<GateDraft> {
    let Some(table) = top.table("gate") else { return Vec::new() };
    let mut gates = Vec::new();
    for entry in &table.value.entries {
        let Value::Table(keys) = &entry.node.value else {
            top.problem(
                Problem::error("P105", entry.node.span.clone(), "`gate` holds named gates")
                    .label(format!("this is {}", entry.node.value.kind()))
                    .help("a gate is a table of its own: [gate.usual], then `failed = 1`"),
            );
            continue;
        };
        top.check_line(&entry.key, &entry.key_span, SHORT_BYTES_MAX, "a gate's name");
        let mut gate = top.inner(keys::GATE, &At { value: keys, span: entry.node.span.clone() });
        gates.push(GateDraft {
            name: At { value: entry.key.clone(), span: entry.key_span.clone() },
            failed: gate.whole("failed", 0..=u32::MAX),
            silent: gate.whole("silent", 0..=u32::MAX),
            like: gate.line("like", SHORT_BYTES_MAX),
        });
        gate.finish();
    }
    gates
}
