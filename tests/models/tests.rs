//! The protocols hold over their whole space, and no shortcut does.

#![expect(clippy::print_stdout, reason = "how much was tried stands beside the result")]

use sternway_core::manifest::Class;

use crate::examine::{Examined, everything, until_broken};
use crate::journal::{self, Journal};
use crate::permits::{self, Permits};

const CLASSES: [Class; 6] =
    [Class::Observe, Class::Converge, Class::StagedSwap, Class::Probe, Class::Keyed, Class::OneShot];

fn asked_for(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| value == "1")
}

fn permits_with(shortcut: permits::Shortcut) -> Permits {
    match asked_for("STERNWAY_LONG") {
        true => Permits::large(shortcut),
        false => Permits::small(shortcut),
    }
}

fn journal_with(shortcut: journal::Shortcut, class: Class) -> Journal {
    match asked_for("STERNWAY_LONG") {
        true => Journal::large(shortcut, class),
        false => Journal::small(shortcut, class),
    }
}

fn assert_holds(examined: &Examined, what: &str) {
    println!("note: {what}: {} states", examined.states);
    let stories: Vec<String> = examined.broken.iter().map(ToString::to_string).collect();
    assert!(stories.is_empty(), "{what}\n{}", stories.join("\n\n"));
    assert!(examined.never.is_empty(), "{what}: never came to pass: {:?}", examined.never);
}

fn assert_caught(examined: &Examined, promise: &str, what: &str) {
    let story = examined.broken.iter().find(|story| story.promise == promise);
    let Some(story) = story else {
        panic!("{what} broke nothing in {} states: the model has lost its teeth", examined.states)
    };
    println!("note: {what}: caught after {} events", story.events.len());
    if asked_for("STERNWAY_TRACE") {
        println!("{story}");
    }
}

#[test]
fn permits_hold_in_every_order_of_events() {
    let examined = everything(permits_with(permits::Shortcut::None));
    assert_holds(&examined, "permits");
    assert!(examined.states > 10_000, "so few states ({}) show nothing", examined.states);
}

fn permits_break(shortcut: permits::Shortcut, promise: &'static str) {
    let examined = until_broken(Permits::enough_for(shortcut), promise);
    assert_caught(&examined, promise, &format!("permits with {shortcut:?}"));
}

#[test]
fn leadership_looked_up_before_the_transaction_disturbs_too_many() {
    permits_break(permits::Shortcut::LeadershipBefore, permits::AT_MOST);
    permits_break(permits::Shortcut::LeadershipBefore, permits::ONE_WRITER);
}

#[test]
fn a_slot_freed_on_a_timeout_disturbs_too_many() {
    permits_break(permits::Shortcut::SlotFreedOnTimeout, permits::AT_MOST);
    permits_break(permits::Shortcut::SlotFreedOnTimeout, permits::ONLY_WITH_A_SLOT);
    permits_break(permits::Shortcut::SlotFreedOnTimeout, permits::HALT_NAMES_ALL);
}

#[test]
fn a_permit_without_a_nonce_disturbs_too_many() {
    permits_break(permits::Shortcut::PermitWithoutNonce, permits::AT_MOST);
    permits_break(permits::Shortcut::PermitWithoutNonce, permits::NO_OLD_NONCE);
}

#[test]
fn a_halt_read_from_memory_does_not_stick() {
    permits_break(permits::Shortcut::HaltFromMemory, permits::HALT_STICKS);
}

#[test]
fn a_permit_told_before_it_is_recorded_disturbs_too_many() {
    permits_break(permits::Shortcut::ToldBeforeRecorded, permits::AT_MOST);
}

#[test]
fn silence_taken_for_success_lets_the_second_wave_begin_too_early() {
    permits_break(permits::Shortcut::SilenceIsSuccess, permits::WAVE_AFTER_WAVE);
}

#[test]
fn a_host_that_obeys_a_lower_epoch_is_seen() {
    permits_break(permits::Shortcut::LowerEpochObeyed, permits::NO_LOWER_EPOCH);
}

#[test]
fn the_journal_holds_for_every_class_whenever_it_crashes() {
    for class in CLASSES {
        let examined = everything(journal_with(journal::Shortcut::None, class));
        assert_holds(&examined, &format!("journal, {class:?}"));
        assert!(examined.states > 1_000, "so few states ({}) show nothing", examined.states);
    }
}

fn journal_breaks(shortcut: journal::Shortcut, class: Class, promise: &'static str) {
    let examined = until_broken(Journal::small(shortcut, class), promise);
    assert_caught(&examined, promise, &format!("journal with {shortcut:?}, {class:?}"));
}

#[test]
fn an_end_written_before_its_effect_is_a_lie() {
    journal_breaks(journal::Shortcut::DoneBeforeEffect, Class::Converge, journal::DONE_IS_TRUE);
}

#[test]
fn a_step_that_is_believed_is_not_done() {
    journal_breaks(journal::Shortcut::ExitCodeIsEnough, Class::Converge, journal::DONE_IS_TRUE);
    journal_breaks(journal::Shortcut::ExitCodeIsEnough, Class::Converge, journal::FINISHED_IS_TRUE);
}

#[test]
fn without_an_intent_an_opaque_step_begins_twice() {
    journal_breaks(journal::Shortcut::NoIntent, Class::OneShot, journal::INTENT_FIRST);
    journal_breaks(journal::Shortcut::NoIntent, Class::OneShot, journal::ONCE);
}

#[test]
fn without_a_sync_a_power_cut_forgets_what_was_begun_and_told() {
    journal_breaks(journal::Shortcut::NoSync, Class::OneShot, journal::INTENT_FIRST);
    journal_breaks(journal::Shortcut::NoSync, Class::OneShot, journal::ONCE);
    journal_breaks(journal::Shortcut::NoSync, Class::Converge, journal::TOLD_STAYS);
}

#[test]
fn without_a_sync_at_the_start_what_was_told_may_vanish() {
    journal_breaks(journal::Shortcut::NoSyncAtStart, Class::Converge, journal::TOLD_STAYS);
}

#[test]
fn redone_blindly_a_step_begins_twice_or_runs_over_its_traces() {
    journal_breaks(journal::Shortcut::BlindRedo, Class::OneShot, journal::ONCE);
    journal_breaks(journal::Shortcut::BlindRedo, Class::Probe, journal::NOT_OVER_UNCLEAN);
}

#[test]
fn a_key_of_the_attempt_counts_twice_at_the_peer() {
    journal_breaks(journal::Shortcut::KeyOfTheAttempt, Class::Keyed, journal::ONCE_AT_THE_PEER);
}
