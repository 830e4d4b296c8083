//! `[[step]]`: what a host does, in order.

use super::super::keys;
use super::super::problem::Problem;
use super::super::secret::shown;
use super::super::tree::Value;
use super::reader::Reader;
use super::{At, StepDraft, UndoDraft};

pub(super) fn read(top: &mut Reader<'_, '_>) -> Vec<StepDraft> {
    let mut steps = Vec::new();
    for table in top.tables("step") {
        let mut step = top.inner(keys::STEP, &table);
        step.need("name", "name = \"stop the service\"");
        step.need("uses", "uses = \"service@0\"");
        step.need("with", "with = { stop = \"agora\" }");
        steps.push(StepDraft {
            span: table.span.clone(),
            name: step.name("name"),
            uses: step.line("uses", 128),
            with: step.table("with").map(|with| At { value: with.value.clone(), span: with.span }),
            undo: undo(&mut step),
            wait: step.length("wait"),
            timeout: step.length("timeout"),
            confirm: step.length("confirm"),
            pivot: step.flag("pivot"),
        });
        step.finish();
    }
    steps
}

fn undo(step: &mut Reader<'_, '_>) -> Option<UndoDraft> {
    let entry = step.take("undo")?;
    let span = entry.node.span.clone();
    match &entry.node.value {
        Value::Table(table) => Some(UndoDraft::Settings(At { value: table.clone(), span })),
        Value::Text(text) if text == "none" => Some(UndoDraft::Nothing(span)),
        other => {
            let found = match other {
                Value::Text(text) => shown(text),
                other => other.kind().to_owned(),
            };
            step.problem(
                Problem::error("P105", span.clone(), "`undo` is a table of settings or \"none\"")
                    .label(format!("this is {found}"))
                    .replace("to say that there is no way back, write", span, "\"none\""),
            );
            None
        }
    }
}
