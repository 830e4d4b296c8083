//! A stuck host asks, a person answers: what it asks and what is known is
//! shown first; the answer is signed, and the host judges it itself.

use clap::{Args, ValueEnum};
use serde_json::json;
use sternway_core::exit;
use sternway_core::ids::HostName;
use sternway_core::rollout::HostState;
use sternway_core::run::{Choice, Question};
use sternway_core::trust::Verb;
use sternway_core::wire::RolloutView;

use super::Context;
use super::failure::Failure;
use super::order::{give, told};
use super::prompt::confirm;
use super::sign::load_key;
use super::text::{Line, Tone};

const CHOICE_COLUMNS: usize = 12;

/// As it is typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Answer {
    /// Try again what did not come through
    Retry,
    /// You did it by hand: verify it, and go on
    Done,
    /// It had no effect, or you put it back: undo what came before
    PutBack,
    /// Undo this step and all before it
    Undo,
}

impl From<Answer> for Choice {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Retry => Self::Retry,
            Answer::Done => Self::Done,
            Answer::PutBack => Self::PutBack,
            Answer::Undo => Self::Undo,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway unstick r-17 web-04                       shows what it asks and what you may answer
  sternway unstick r-17 web-04 retry --reason 'disk cleaned'
  sternway unstick r-17 web-04 put-back --reason 'dropped the index by hand' --confirm web-04")]
pub struct UnstickArgs {
    /// The rollout, or any beginning of its id that means one only
    rollout: String,
    /// The stuck host
    host: HostName,
    /// Your answer; without one the question is shown
    #[arg(value_enum)]
    answer: Option<Answer>,
    /// Why; kept in the record
    #[arg(long, default_value = super::brake::NO_REASON)]
    reason: String,
    /// The host's name, instead of typing it
    #[arg(long, value_name = "HOST")]
    confirm: Option<String>,
}

pub async fn unstick(context: &Context, args: UnstickArgs) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let view = client.look_at(Some(&args.rollout)).await?;
    let (reason, question) = question(&view, &args.host)?;
    let output = &context.output;
    let Some(answer) = args.answer else {
        client.close().await;
        output.object(
            "sternway.question/1.0",
            json!({ "rollout": view.rollout, "host": args.host, "reason": reason,
                    "evidence": question.evidence, "choices": question.choices }),
        );
        asked(&args.host, reason, question).into_iter().for_each(|line| output.data(line));
        output
            .talk(format!("answer with: sternway unstick {} {} CHOICE --reason …", view.rollout, args.host));
        return Ok(exit::STUCK);
    };
    let choice = Choice::from(answer);
    if !question.choices.contains(&choice) {
        let offered = sternway_core::run::choice_names(&question.choices);
        return Err(Failure::usage(format!("`{}` is no answer to what {} asks", choice.name(), args.host))
            .hinted(format!("offered: {offered}")));
    }
    let key = load_key(context)?;
    asked(&args.host, reason, question).into_iter().for_each(|line| output.talk(line));
    let prompt = format!("{}, as {}: {}. Type the host's name:", choice.name(), key.who(), choice.meaning());
    confirm(context, &prompt, args.host.as_str(), args.confirm.as_deref())?;
    let verb = Verb::Unstick { host: args.host.clone(), choice, asked: question.asked };
    let taken = give(context, &client, &view, &key, verb, &args.reason).await?;
    client.close().await;
    told(context, &taken, "unstuck", &key)
}

fn question<'a>(view: &'a RolloutView, name: &HostName) -> Result<(&'a str, &'a Question), Failure> {
    let status = format!("sternway status {}", view.rollout);
    let Some(host) = view.status.hosts.iter().find(|host| host.host == *name) else {
        return Err(Failure::usage(format!("{name} is not in {}", view.rollout)).hinted(status));
    };
    match &host.state {
        HostState::NeedsOperator { reason, question: Some(question) } => Ok((reason, question)),
        HostState::NeedsOperator { reason, question: None } => {
            Err(Failure::usage(format!("{name} is stuck and offers no way on: {reason}")).hinted(format!(
                "look at it there: sternway-agent status; or: sternway log {} --host {name}",
                view.rollout
            )))
        }
        _ => Err(Failure::usage(format!("{name} is not stuck, so it asks nothing")).hinted(status)),
    }
}

fn asked(host: &HostName, reason: &str, question: &Question) -> Vec<Line> {
    let mut lines = vec![
        Line::new().add(Tone::Bad, "stuck").pad_to(CHOICE_COLUMNS).add(Tone::Strong, host.as_str()),
        Line::new().plain("  because").pad_to(CHOICE_COLUMNS).plain(reason),
    ];
    for evidence in &question.evidence {
        lines.push(Line::new().plain("  in doubt").pad_to(CHOICE_COLUMNS).plain(evidence));
    }
    for choice in &question.choices {
        lines.push(
            Line::new()
                .plain("  ")
                .add(Tone::Strong, choice.name())
                .pad_to(CHOICE_COLUMNS)
                .plain(choice.meaning()),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::text::Look;
    use super::*;

    #[test]
    fn every_choice_can_be_typed_as_it_is_named() {
        for answer in Answer::value_variants() {
            let typed = answer.to_possible_value().unwrap();
            assert_eq!(typed.get_name(), Choice::from(*answer).name());
        }
        assert_eq!(Answer::value_variants().len(), Choice::ALL.len());
    }

    #[test]
    fn the_question_shows_its_evidence_and_what_each_answer_means() {
        let question = Question {
            asked: 7,
            choices: vec![Choice::Retry, Choice::PutBack],
            evidence: vec!["http.send http://pager: begun, no end on record".into()],
        };
        let host = "web-04".parse().unwrap();
        let lines = asked(&host, "`page` was interrupted", &question);
        let text: Vec<String> = lines.iter().map(|line| line.paint(Look::PLAIN)).collect();
        assert_eq!(
            text,
            [
                "stuck       web-04",
                "  because   `page` was interrupted",
                "  in doubt  http.send http://pager: begun, no end on record",
                "  retry     try again what did not come through",
                "  put-back  the step had no effect, or you put it back by hand: what came before it is undone",
            ]
        );
    }
}
