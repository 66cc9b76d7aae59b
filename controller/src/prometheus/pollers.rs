//! Asks on a schedule, in the background: a slow server holds up nobody.

use super::{Query, answer};
use crate::source::{Answered, Question, Source};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tidegate_judge::{Answer, Reading};

/// Questions that are on their way at once. More wait for a moment; servers that hang hold up the
/// others for as long as an answer may take.
const MAX_THREADS: usize = 8;

/// How long an answer may take: no longer than until the next is due, within these.
const PATIENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// No question is asked more often, whatever it says.
const SHORTEST: Duration = Duration::from_millis(100);

/// Asks Prometheus servers in at most 8 threads, which are started when they are needed and end
/// when this is dropped. Of each question the latest answer is kept until it is taken.
#[derive(Debug, Default)]
pub struct Pollers {
    shared: Arc<Shared>,
    threads: usize,
}

#[derive(Default)]
struct Shared {
    schedule: Mutex<Schedule>,
    changed: Condvar,
}

#[derive(Default)]
struct Schedule {
    asked: BTreeMap<u64, Asked>,
    last_id: u64,
    closed: bool,
}

/// A question and how far it is.
struct Asked {
    question: Question,
    due: Instant,
    is_on_its_way: bool,
    answer: Option<Answer>,
}

impl Pollers {
    /// Asks nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// As many threads as are of use.
    fn start_threads(&mut self, questions: usize) {
        while self.threads < questions.min(MAX_THREADS) {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("prometheus".to_owned());
            if let Err(error) = thread.spawn(move || shared.work()) {
                // Those that there are ask all questions; without any there is no data, and no step
                // advances.
                tracing::error!(%error, "no thread to ask prometheus with");
                return;
            }
            self.threads += 1;
        }
    }
}

impl Source for Pollers {
    fn ask(&mut self, questions: Vec<Question>) {
        self.start_threads(questions.len());
        self.shared.lock().replace(questions, Instant::now());
        self.shared.changed.notify_all();
    }

    fn answers(&mut self) -> Vec<Answered> {
        self.shared.lock().take_answers()
    }
}

impl Drop for Pollers {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Schedule {
    /// Questions that are there already keep their schedule, and an answer that was not taken yet.
    fn replace(&mut self, questions: Vec<Question>, now: Instant) {
        let mut before = std::mem::take(&mut self.asked);
        for question in questions {
            let known = before.iter().find(|(_, asked)| asked.question == question);
            let known = known.map(|(id, _)| *id);
            let Some((id, asked)) = known.and_then(|id| before.remove_entry(&id)) else {
                self.last_id += 1;
                let asked = Asked { question, due: now, is_on_its_way: false, answer: None };
                self.asked.insert(self.last_id, asked);
                continue;
            };
            self.asked.insert(id, asked);
        }
    }

    fn take_answers(&mut self) -> Vec<Answered> {
        let take = |asked: &mut Asked| {
            let answer = asked.answer.take()?;
            let (rollout, gate) = (asked.question.rollout.clone(), asked.question.gate.clone());
            Some(Answered { rollout, reading: Reading { gate, answer } })
        };
        self.asked.values_mut().filter_map(take).collect()
    }

    /// The question that is due first, and when.
    fn next(&self) -> Option<(u64, Instant)> {
        let waiting = self.asked.iter().filter(|(_, asked)| !asked.is_on_its_way);
        waiting.map(|(id, asked)| (*id, asked.due)).min_by_key(|(_, due)| *due)
    }

    /// Sends the question on its way.
    fn send(&mut self, id: u64, now: Instant) -> Option<Query> {
        let asked = self.asked.get_mut(&id)?;
        asked.is_on_its_way = true;
        let Question { url, query, every, .. } = &asked.question;
        asked.due = now + (*every).max(SHORTEST);
        let timeout = (*every).clamp(PATIENCE[0], PATIENCE[1]);
        Some(Query { url: url.clone(), query: query.clone(), timeout })
    }

    fn receive(&mut self, id: u64, answer: Answer) {
        // It may have been taken out meanwhile.
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.is_on_its_way = false;
            asked.answer = Some(answer);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some((id, query)) = self.next() {
            let answer = answer(query.ask());
            self.lock().receive(id, answer);
            self.changed.notify_one();
        }
    }

    /// Waits for a question to be due; `None` when there will be none any more.
    fn next(&self) -> Option<(u64, Query)> {
        let mut schedule = self.lock();
        while !schedule.closed {
            let now = Instant::now();
            let next = schedule.next();
            if let Some((id, due)) = next
                && due <= now
                && let Some(query) = schedule.send(id, now)
            {
                return Some((id, query));
            }
            schedule = match next {
                Some((_, due)) => {
                    let left = due.saturating_duration_since(now);
                    let waited = self.changed.wait_timeout(schedule, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(schedule).unwrap_or_else(PoisonError::into_inner),
            };
        }
        None
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
