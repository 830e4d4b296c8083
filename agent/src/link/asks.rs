//! What the coordinator asks about rollback points: one question on a stream of
//! its own, answered in as many frames as it takes. Reading everything again
//! takes hours, so each answer is worked out beside the session, and a quick
//! one does not wait for a long one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sternway_core::point::{Answer, Ask, Manifest, Progress};
use sternway_core::wire::{Decoder, FRAME_BYTES_MAX, POINTS_IN_FRAME_MAX, encode_frame};
use tokio::sync::{Semaphore, mpsc, watch};

use super::CONNECT_WITHIN;
use crate::custodian::{Custodian, Listener};

/// Answers worked out at a time. The others wait for their turn.
const QUICK_MAX: usize = 4;
const LONG_MAX: usize = 2;
/// Answers that wait for the network, at most; whoever works them out waits too.
const WAITING_MAX: usize = 4;
/// Progress is told no more often.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Who answers, and how many at a time: of all connections there ever are.
#[derive(Debug, Clone)]
pub(super) struct Asks {
    custodian: Arc<Custodian>,
    quick: Arc<Semaphore>,
    long: Arc<Semaphore>,
}

impl Asks {
    pub(super) fn new(custodian: Arc<Custodian>) -> Self {
        Self {
            custodian,
            quick: Arc::new(Semaphore::new(QUICK_MAX)),
            long: Arc::new(Semaphore::new(LONG_MAX)),
        }
    }

    /// Hears one question and answers it; ends with the stream, whoever ends that.
    pub(super) async fn serve(self, mut send: quinn::SendStream, receive: quinn::RecvStream) {
        let ask = match tokio::time::timeout(CONNECT_WITHIN, hear(receive)).await {
            Ok(Ok(ask)) => ask,
            Ok(Err(reason)) => {
                tracing::warn!(reason, "a question about rollback points cannot be understood");
                let refused = Answer::Refused { code: "not-understood".into(), reason };
                // Who asked may have gone.
                let _ = tell(&mut send, refused).await;
                let _ = tell(&mut send, Answer::Done).await;
                return;
            }
            Err(_) => return,
        };
        let lane = if ask.is_quick() { &self.quick } else { &self.long };
        // Resolves when the coordinator wants no more, or the connection broke.
        let stopped = send.stopped();
        tokio::pin!(stopped);
        let turn = tokio::select! {
            turn = Arc::clone(lane).acquire_owned() => turn,
            _ = &mut stopped => return,
        };
        let Ok(turn) = turn else { return };
        let (answers, progress, gone) = self.work(ask, turn);
        tokio::select! {
            told = relay(&mut send, answers, progress) => if let Err(reason) = told {
                tracing::debug!(reason, "an answer about rollback points was not told");
            },
            _ = &mut stopped => tracing::debug!("a question about rollback points was called off"),
        }
        gone.store(true, Ordering::Relaxed);
    }

    /// On a thread of its own: it reads disks.
    fn work(
        &self,
        ask: Ask,
        turn: tokio::sync::OwnedSemaphorePermit,
    ) -> (mpsc::Receiver<Answer>, watch::Receiver<Option<Progress>>, Arc<AtomicBool>) {
        let (answers, answers_inbox) = mpsc::channel(WAITING_MAX);
        let (progress, progress_inbox) = watch::channel(None);
        let listener = Listener::new(move |answer| match answer {
            Answer::Progress(newest) => _ = progress.send_replace(Some(newest)),
            // An error means that nobody listens, which the flag says too.
            answer => _ = answers.blocking_send(answer),
        });
        let gone = listener.gone();
        let custodian = Arc::clone(&self.custodian);
        tokio::task::spawn_blocking(move || {
            custodian.answer(ask, &listener);
            drop(turn);
        });
        (answers_inbox, progress_inbox, gone)
    }
}

async fn hear(mut receive: quinn::RecvStream) -> Result<Ask, String> {
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    loop {
        if let Some(ask) = decoder.next_frame().map_err(|error| error.to_string())? {
            return Ok(ask);
        }
        match receive.read_chunk(16 * 1024, true).await {
            Ok(Some(chunk)) => decoder.push(&chunk.bytes),
            Ok(None) => return Err("it ended in the middle".into()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Answers in their order; of progress the newest, and only when nothing else waits.
async fn relay(
    send: &mut quinn::SendStream,
    mut answers: mpsc::Receiver<Answer>,
    mut progress: watch::Receiver<Option<Progress>>,
) -> Result<(), String> {
    let mut beat = tokio::time::interval(PROGRESS_EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            answer = answers.recv() => match answer {
                Some(Answer::Done) => {
                    tell(send, Answer::Done).await?;
                    return send.finish().map_err(|error| error.to_string());
                }
                Some(answer) => tell(send, answer).await?,
                // Whoever worked it out ended without a last word.
                None => {
                    let reason = "the host came upon a bug of its own".to_owned();
                    tell(send, Answer::Refused { code: "bug".into(), reason }).await?;
                    tell(send, Answer::Done).await?;
                    return send.finish().map_err(|error| error.to_string());
                }
            },
            _ = beat.tick() => if progress.has_changed().unwrap_or(false) {
                let newest = progress.borrow_and_update().clone();
                if let Some(newest) = newest {
                    tell(send, Answer::Progress(newest)).await?;
                }
            },
        }
    }
}

async fn tell(send: &mut quinn::SendStream, answer: Answer) -> Result<(), String> {
    for frame in frames(answer) {
        send.write_all(&frame).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// An answer as frames: lists in pages, and what is too large in halves.
fn frames(answer: Answer) -> Vec<Vec<u8>> {
    let (mut frames, mut waiting) = (Vec::new(), vec![answer]);
    while let Some(answer) = waiting.pop() {
        let frame = match length(&answer) <= POINTS_IN_FRAME_MAX {
            true => encode_frame(&answer, FRAME_BYTES_MAX).ok(),
            false => None,
        };
        match frame {
            Some(frame) => frames.push(frame),
            None => match halves(answer) {
                Ok((first, second)) => waiting.extend([second, first]),
                // One entry that fits no frame; its absence is told.
                Err(what) => waiting.push(Answer::Refused {
                    code: "too-large".into(),
                    reason: format!("{what} is too large to be told"),
                }),
            },
        }
    }
    frames
}

/// Entries that count against a page.
fn length(answer: &Answer) -> usize {
    match answer {
        Answer::Points(points) => points.len(),
        Answer::Differences(differences) => differences.len(),
        Answer::WouldDrop { drop, stay } => drop.len() + stay.len(),
        Answer::Ready(facts) => facts.len(),
        _ => 1,
    }
}

fn halves(answer: Answer) -> Result<(Answer, Answer), &'static str> {
    fn split<T>(mut list: Vec<T>) -> (Vec<T>, Vec<T>) {
        let second = list.split_off(list.len() / 2);
        (list, second)
    }
    match answer {
        Answer::Points(points) if points.len() > 1 => {
            let (first, second) = split(points);
            Ok((Answer::Points(first), Answer::Points(second)))
        }
        Answer::Differences(differences) if differences.len() > 1 => {
            let (first, second) = split(differences);
            Ok((Answer::Differences(first), Answer::Differences(second)))
        }
        Answer::Ready(facts) if facts.len() > 1 => {
            let (first, second) = split(facts);
            Ok((Answer::Ready(first), Answer::Ready(second)))
        }
        Answer::WouldDrop { drop, stay } if drop.len() + stay.len() > 1 => {
            let ((drop, more_drop), (stay, more_stay)) = match drop.is_empty() {
                // One of each list: each goes alone.
                false if drop.len() + stay.len() == 2 && stay.len() == 1 => {
                    ((drop, Vec::new()), (Vec::new(), stay))
                }
                _ => (split(drop), split(stay)),
            };
            let second = Answer::WouldDrop { drop: more_drop, stay: more_stay };
            Ok((Answer::WouldDrop { drop, stay }, second))
        }
        Answer::Manifest { point, manifest, location, snapshot } if manifest.pieces.len() > 1 => {
            let (pieces, more_pieces) = split(manifest.pieces.clone());
            let part = |pieces| Answer::Manifest {
                point: point.clone(),
                manifest: Box::new(Manifest { pieces, ..(*manifest).clone() }),
                location: location.clone(),
                snapshot: snapshot.clone(),
            };
            Ok((part(pieces), part(more_pieces)))
        }
        Answer::Points(_) => Err("a point"),
        Answer::Differences(_) => Err("a difference"),
        Answer::Ready(_) => Err("what there is to know about a service"),
        Answer::Manifest { .. } => Err("a piece of a point"),
        _ => Err("an answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sternway_core::ids::PointId;
    use sternway_core::point::retention::Why;
    use sternway_core::point::{Difference, DifferenceKind, Dropped, Kind, Origin, Point};
    use sternway_core::time::Timestamp;
    use sternway_core::wire::decode_frame;

    fn point(number: usize, path_bytes: usize) -> Point {
        Point {
            id: PointId([(number % 256) as u8; 32]),
            made: Timestamp(number as u64),
            service: "agora".into(),
            version: "1.3".into(),
            kind: Kind::Full,
            origin: Origin::Person,
            tags: vec!["nightly".into()],
            kept: None,
            reason: String::new(),
            by: "ada".into(),
            paths: vec!["p".repeat(path_bytes)],
            bytes: 1,
            files: 1,
            checked: None,
        }
    }

    fn told(answer: Answer) -> Vec<Answer> {
        frames(answer)
            .iter()
            .map(|frame| {
                assert!(frame.len() <= FRAME_BYTES_MAX + 4);
                decode_frame(&frame[4..]).unwrap()
            })
            .collect()
    }

    proptest! {
        /// Whatever the sizes: everything arrives, in order, in frames that fit.
        #[test]
        fn long_lists_arrive_whole_and_in_order(sizes in prop::collection::vec(0_usize..20_000, 0..80)) {
            let points: Vec<Point> = sizes.iter().enumerate().map(|(at, size)| point(at, *size)).collect();
            let mut arrived = Vec::new();
            for answer in told(Answer::Points(points.clone())) {
                let Answer::Points(page) = answer else { panic!("{answer:?}") };
                prop_assert!(page.len() <= POINTS_IN_FRAME_MAX);
                arrived.extend(page);
            }
            prop_assert_eq!(arrived, points);
        }
    }

    #[test]
    fn what_would_go_and_what_stays_arrive_both() {
        for (drops, stays) in [(0, 0), (1, 1), (0, 100), (100, 0), (1, 40), (50, 51)] {
            let drop: Vec<Dropped> =
                (0..drops).map(|at| Dropped { point: point(at, 9_000), bytes: 1 }).collect();
            let stay: Vec<_> = (0..stays).map(|at| (PointId([at as u8; 32]), vec![Why::Newest])).collect();
            let (mut dropped, mut stayed) = (Vec::new(), Vec::new());
            for answer in told(Answer::WouldDrop { drop: drop.clone(), stay: stay.clone() }) {
                let Answer::WouldDrop { drop, stay } = answer else { panic!("{answer:?}") };
                dropped.extend(drop);
                stayed.extend(stay);
            }
            assert_eq!((dropped, stayed), (drop, stay));
        }
    }

    #[test]
    fn an_entry_that_fits_no_frame_is_told_as_such_and_the_others_arrive() {
        let difference = |bytes: usize| Difference {
            path: "p".repeat(bytes),
            kind: DifferenceKind::Content,
            detail: String::new(),
        };
        let all = told(Answer::Differences(vec![difference(1), difference(FRAME_BYTES_MAX), difference(2)]));
        let refused = all.iter().filter(|answer| matches!(answer, Answer::Refused { .. })).count();
        let arrived: usize = all
            .iter()
            .map(|answer| match answer {
                Answer::Differences(page) => page.len(),
                _ => 0,
            })
            .sum();
        assert_eq!((refused, arrived), (1, 2));
        assert_eq!(told(Answer::Done), [Answer::Done]);
    }
}
