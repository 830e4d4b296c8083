//! What a host's journal means to the rollout: most records are for people,
//! a few move the machine.

use super::Word;
use crate::run::{Answer, Ending, Input, Phase, Question, Told, Verdict};

/// The word, if any, in the record of this number that a host told.
pub fn word_of(sequence: u64, told: &Told) -> Option<Word> {
    match told {
        Told::Run { input, .. } => word_of_input(sequence, input),
        Told::Call { .. } | Told::Remarked { .. } | Told::Internal => None,
    }
}

fn word_of_input(sequence: u64, input: &Input) -> Option<Word> {
    match input {
        Input::Staged { .. } => Some(Word::Staged),
        Input::PermitAsked { nonce } => Some(Word::AsksPermit { nonce: *nonce }),
        // The first phase of a step; the others say nothing new.
        Input::Began { step, phase: Phase::Look, attempt: 1 } => Some(Word::Began { step: *step }),
        Input::Ended { step, phase, answer } => word_of_end(*step, *phase, answer),
        Input::Settled { ending } => Some(word_of_ending(sequence, ending)),
        Input::Health { healthy: true, .. } => Some(Word::Healthy),
        Input::Health { healthy: false, message } => Some(Word::Unhealthy { reason: message.clone() }),
        Input::HaltedLocally { .. } => Some(Word::HaltedLocally),
        // It has not begun and never will with that number: its place is free.
        Input::PermitDeclined { nonce } => Some(Word::Idle { nonce: nonce + 1 }),
        // An unfit run settles next, and that is its word.
        Input::Unfit { .. }
        | Input::Accepted { .. }
        | Input::Permitted { .. }
        | Input::HaltTold
        | Input::ResumedLocally { .. }
        | Input::PermittedHere { .. }
        | Input::Began { .. }
        | Input::Waited { .. }
        | Input::CutOff
        | Input::Rejoined
        | Input::UndoOrdered { .. }
        | Input::Resumed { .. }
        | Input::Confirmed { .. }
        | Input::NotConfirmed { .. }
        | Input::Decided { .. }
        | Input::Released => None,
    }
}

fn word_of_end(step: u32, phase: Phase, answer: &Answer) -> Option<Word> {
    let failed = |reason: &str| Some(Word::StepFailed { step, reason: reason.to_owned() });
    match (phase, answer) {
        // Tried again, or settled as needing an operator: either says so itself.
        (Phase::Undo, _) => None,
        (_, Answer::Failed(error)) => failed(&error.message),
        (Phase::Look, Answer::Looked(looked)) => {
            match looked.findings.iter().find(|finding| finding.blocking) {
                Some(finding) => failed(&finding.message),
                None => looked.actions.is_empty().then_some(Word::StepDone { step }),
            }
        }
        (Phase::Verify, Answer::Verified(checks)) => {
            match checks.iter().find(|check| check.verdict != Verdict::Pass) {
                Some(check) => failed(&check.message),
                None => Some(Word::StepDone { step }),
            }
        }
        (
            _,
            Answer::Looked(_)
            | Answer::Prepared(_)
            | Answer::Applied(_)
            | Answer::Verified(_)
            | Answer::Undone(_),
        ) => None,
    }
}

fn word_of_ending(sequence: u64, ending: &Ending) -> Word {
    match ending {
        Ending::Finished => Word::Finished,
        Ending::Undone { because } => {
            Word::Undone { step: because.step().unwrap_or_default(), reason: because.to_string() }
        }
        Ending::Unfit { reason } => Word::Refused { reason: reason.clone() },
        Ending::NeedsOperator { because, choices, evidence, .. } => {
            let question = Question { asked: sequence, choices: choices.clone(), evidence: evidence.clone() };
            Word::NeedsOperator { reason: because.to_string(), question: Some(question) }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ids::PlanId;
    use crate::run::{Action, Because, Choice, Finding, Looked, Outcome, Risk, StepError, Verification};

    use super::*;

    fn word(input: Input) -> Option<Word> {
        word_of(7, &Told::Run { plan: PlanId([0; 32]), input })
    }

    fn ended(phase: Phase, answer: Answer) -> Option<Word> {
        word(Input::Ended { step: 2, phase, answer })
    }

    fn looked(actions: Vec<Action>, findings: Vec<Finding>) -> Answer {
        Answer::Looked(Looked { findings, actions, state: vec![] })
    }

    fn verified(verdict: Verdict) -> Answer {
        Answer::Verified(vec![Verification {
            name: "health".into(),
            verdict,
            measured: None,
            expected: None,
            message: "said 503".into(),
        }])
    }

    #[test]
    fn a_question_is_a_question_and_an_answer_is_not_echoed() {
        assert_eq!(word(Input::PermitAsked { nonce: 3 }), Some(Word::AsksPermit { nonce: 3 }));
        assert_eq!(word(Input::Permitted { nonce: 3, epoch: 1 }), None);
        assert_eq!(word(Input::HaltTold), None);
        assert_eq!(word_of(7, &Told::Internal), None);
    }

    #[test]
    fn a_host_halted_by_hand_says_so_and_gives_a_permit_back_that_came_too_late() {
        let (by, reason) = ("root".to_owned(), "smoke".to_owned());
        assert_eq!(word(Input::HaltedLocally { by: by.clone(), reason }), Some(Word::HaltedLocally));
        assert_eq!(word(Input::PermitDeclined { nonce: 3 }), Some(Word::Idle { nonce: 4 }));
        // What follows from these is said by the question, or the step, that comes next.
        assert_eq!(word(Input::ResumedLocally { by: by.clone() }), None);
        assert_eq!(word(Input::PermittedHere { by }), None);
    }

    #[test]
    fn a_step_begins_once_however_many_phases_it_has() {
        let began = |phase, attempt| word(Input::Began { step: 2, phase, attempt });
        assert_eq!(began(Phase::Look, 1), Some(Word::Began { step: 2 }));
        assert_eq!(began(Phase::Look, 2), None);
        assert_eq!(began(Phase::Apply, 1), None);
        assert_eq!(began(Phase::Undo, 1), None);
    }

    #[test]
    fn only_a_passed_verification_or_nothing_to_do_ends_a_step_well() {
        let action =
            Action { summary: "s".into(), target: "t".into(), before: None, after: None, risk: Risk::Low };
        let done = Some(Word::StepDone { step: 2 });
        let failed = Some(Word::StepFailed { step: 2, reason: "said 503".into() });
        assert_eq!(ended(Phase::Verify, verified(Verdict::Pass)), done);
        assert_eq!(ended(Phase::Verify, verified(Verdict::Fail)), failed);
        assert_eq!(ended(Phase::Verify, verified(Verdict::Inconclusive)), failed);
        assert_eq!(ended(Phase::Look, looked(vec![], vec![])), done);
        assert_eq!(ended(Phase::Look, looked(vec![action], vec![])), None);
        let outcome = Outcome { changed: true, summary: String::new(), state: vec![] };
        assert_eq!(ended(Phase::Apply, Answer::Applied(outcome)), None);
    }

    #[test]
    fn a_failure_in_any_phase_but_undo_is_a_failed_step() {
        let error = StepError { code: "x".into(), message: "disk full".into(), undo_advised: true };
        for phase in [Phase::Look, Phase::Prepare, Phase::Apply, Phase::Verify] {
            assert_eq!(
                ended(phase, Answer::Failed(error.clone())),
                Some(Word::StepFailed { step: 2, reason: "disk full".into() })
            );
        }
        assert_eq!(ended(Phase::Undo, Answer::Failed(error)), None);
    }

    #[test]
    fn every_ending_has_its_word() {
        let settled = |ending| word(Input::Settled { ending });
        assert_eq!(settled(Ending::Finished), Some(Word::Finished));
        assert_eq!(
            settled(Ending::Undone { because: Because::CutOff }),
            Some(Word::Undone { step: 0, reason: Because::CutOff.to_string() })
        );
        assert_eq!(
            settled(Ending::Unfit { reason: "no point".into() }),
            Some(Word::Refused { reason: "no point".into() })
        );
        let stuck = Because::NoWayBack { step: 1, name: "drop".parse().unwrap() };
        assert_eq!(
            settled(Ending::NeedsOperator {
                because: stuck.clone(),
                undo_of: None,
                choices: vec![Choice::PutBack],
                evidence: vec!["x".into()]
            }),
            Some(Word::NeedsOperator {
                reason: stuck.to_string(),
                question: Some(Question {
                    asked: 7,
                    choices: vec![Choice::PutBack],
                    evidence: vec!["x".into()]
                })
            })
        );
    }
}
