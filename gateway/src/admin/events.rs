//! Decisions as they are made: server-sent events.

use super::{
    handlers::Context,
    history::{read, with_id},
    problem::Problem,
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::{Stream, stream};
use std::{collections::VecDeque, time::Duration};
use tidegate_controller::{Announced, journal::KeptDecision};
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Each holds a connection.
const MAX_LISTENERS: usize = 64;

/// So that neither end, nor what is between them, takes silence for death.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Decisions that a listener who comes back gets of those that it missed.
const MAX_MISSED: usize = 100;

/// What a listener hears of next.
#[derive(Debug)]
struct Listener {
    /// What it missed.
    missed: VecDeque<Event>,
    /// The number of the newest decision when it came: all up to it are old.
    last: i64,
    receiver: Receiver<Announced>,
}

/// Each decision of every rollout from now on, once it is durable; for a listener who comes back,
/// from the one on that it says it had last.
pub(super) async fn events(
    State(shared): Context,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, axum::Error>>>, Problem> {
    if shared.control.events.receiver_count() >= MAX_LISTENERS {
        let detail = format!("there are {MAX_LISTENERS} listeners already");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    }
    // First listen, then look: nothing is between the two.
    let receiver = shared.control.events.subscribe();
    let mut listener = Listener { missed: VecDeque::new(), last: 0, receiver };
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    if let Some(last) = last {
        let newest = read(&shared, |journal| journal.decisions(None, MAX_MISSED, None)).await?;
        listener.catch_up(last, &newest)?;
    }
    let events = stream::unfold(listener, |mut listener| async {
        listener.next().await.map(|event| (event, listener))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

impl Listener {
    /// Takes in what came after the decision `last`, of the `newest` there are, newest first.
    fn catch_up(&mut self, last: i64, newest: &[KeptDecision]) -> Result<(), Problem> {
        let missed = newest.iter().take_while(|decision| decision.id > last);
        let missed: Vec<&KeptDecision> = missed.collect();
        // Of a journal that was begun anew, numbers are lower than what was heard before.
        self.last = newest.first().map_or(0, |decision| decision.id);
        // Numbers have no gaps, so they tell how many there are besides.
        let more = missed.last().map_or(0, |oldest| oldest.id.saturating_sub(last + 1));
        if missed.len() == newest.len() && more > 0 {
            self.missed.push_back(lagged(more.unsigned_abs()));
        }
        for decision in missed.into_iter().rev() {
            let data = with_id(decision)?.to_string();
            self.missed.push_back(event(decision.id).data(data));
        }
        Ok(())
    }

    async fn next(&mut self) -> Option<Result<Event, axum::Error>> {
        if let Some(event) = self.missed.pop_front() {
            return Some(Ok(event));
        }
        loop {
            return match self.receiver.recv().await {
                Ok(announced) if announced.id <= self.last => continue,
                Ok(announced) => Some(event(announced.id).json_data(&announced)),
                // It was too slow, and can ask for what it missed.
                Err(RecvError::Lagged(missed)) => Some(Ok(lagged(missed))),
                Err(RecvError::Closed) => None,
            };
        }
    }
}

fn event(id: i64) -> Event {
    Event::default().event("decision").id(id.to_string())
}

fn lagged(missed: u64) -> Event {
    Event::default().event("lagged").data(missed.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::broadcast;

    /// How what a listener gets is written.
    fn text(event: &Event) -> String {
        format!("{event:?}")
    }

    fn kept(ids: impl IntoIterator<Item = i64>) -> Vec<KeptDecision> {
        let decision = |id| KeptDecision { id, json: r#"{"action":"started"}"#.to_owned() };
        ids.into_iter().map(decision).collect()
    }

    fn listener() -> Listener {
        let receiver = broadcast::Sender::new(1).subscribe();
        Listener { missed: VecDeque::new(), last: 0, receiver }
    }

    #[test]
    fn who_comes_back_gets_what_it_missed_oldest_first() {
        let mut listener = listener();
        listener.catch_up(7, &kept([9, 8, 7, 6])).expect("JSON");
        let missed: Vec<String> = listener.missed.iter().map(text).collect();
        assert_eq!((missed.len(), listener.last), (2, 9));
        assert!(missed[0].contains("id: 8") && missed[1].contains("id: 9"), "{missed:?}");
    }

    #[test]
    fn who_missed_too_much_is_told_how_much() {
        let mut listener = listener();
        listener.catch_up(2, &kept((11..=110).rev())).expect("JSON");
        let first = listener.missed.pop_front().as_ref().map(text).expect("an event");
        assert!(first.contains("lagged") && first.contains("data: 8"), "{first}");
        assert_eq!((listener.missed.len(), listener.last), (100, 110));
    }

    #[test]
    fn who_missed_nothing_gets_nothing_twice() {
        let mut listener = listener();
        listener.catch_up(9, &kept([9, 8])).expect("JSON");
        assert_eq!((listener.missed.len(), listener.last), (0, 9));
        listener.catch_up(500, &kept([9, 8])).expect("JSON");
        assert_eq!((listener.missed.len(), listener.last), (0, 9), "another journal");
        listener.catch_up(9, &[]).expect("JSON");
        assert_eq!((listener.missed.len(), listener.last), (0, 0));
    }
}
