//! Asking on a schedule.

use crate::{
    scalar,
    support::{Server, answer, wait},
};
use std::time::{Duration, Instant};
use tidegate_controller::{Answered, Question, Source as _, prometheus::Pollers};
use tidegate_judge::Answer;

fn question(gate: &str, url: &str, every: Duration) -> Question {
    Question {
        rollout: "shop".to_owned(),
        gate: gate.to_owned(),
        url: url.to_owned(),
        query: "up".to_owned(),
        every,
    }
}

const OFTEN: Duration = Duration::from_millis(100);
const RARELY: Duration = Duration::from_secs(3600);

/// Takes answers until one of this gate comes.
fn answer_of(pollers: &mut Pollers, gate: &str) -> Answer {
    let started = Instant::now();
    loop {
        let answers = pollers.answers();
        let mine = answers.into_iter().find(|answered| answered.reading.gate == gate);
        if let Some(Answered { rollout, reading }) = mine {
            assert_eq!(rollout, "shop");
            return reading.answer;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{gate}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn answers_come_by_gate() {
    let good = Server::start(|_| scalar("0.5"));
    let none = Server::start(|_| scalar("NaN"));
    let bad = Server::start(|_| answer("500 Internal Server Error", ""));
    let mut pollers = Pollers::new();
    pollers.ask(vec![
        question("good", &good.url(), RARELY),
        question("none", &none.url(), RARELY),
        question("bad", &bad.url(), RARELY),
    ]);
    assert_eq!(answer_of(&mut pollers, "good"), Answer::Value(0.5));
    pollers.ask(vec![question("none", &none.url(), RARELY), question("bad", &bad.url(), RARELY)]);
    wait(|| none.requests().len() + bad.requests().len() == 2);
    let mut other = Pollers::new();
    other.ask(vec![question("none", &none.url(), RARELY), question("bad", &bad.url(), RARELY)]);
    assert_eq!(answer_of(&mut other, "none"), Answer::NoData);
    other.ask(vec![question("bad", &bad.url(), OFTEN)]);
    let said = "prometheus answered with HTTP status 500".to_owned();
    assert_eq!(answer_of(&mut other, "bad"), Answer::Broken(said));
}

#[test]
fn the_schedule_is_kept() {
    let server = Server::start(|_| scalar("1"));
    let mut pollers = Pollers::new();
    let (rare, often) =
        (question("rare", &server.url(), RARELY), question("often", &server.url(), OFTEN));
    pollers.ask(vec![rare.clone(), often]);
    let started = Instant::now();
    server.wait_for(5);
    assert!(started.elapsed() >= Duration::from_millis(280), "{:?}", started.elapsed());
    // The rare one is not asked again because the others change.
    pollers.ask(vec![rare.clone()]);
    std::thread::sleep(Duration::from_millis(50));
    let before = server.requests().len();
    pollers.ask(vec![rare]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(server.requests().len(), before);
    pollers.ask(vec![question("rare", &server.url(), Duration::from_secs(3601))]);
    wait(|| server.requests().len() == before + 1);
}

#[test]
fn only_the_latest_answer_is_kept() {
    let count = std::sync::atomic::AtomicU32::new(0);
    let server = Server::start(move |_| {
        scalar(&count.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string())
    });
    let mut pollers = Pollers::new();
    pollers.ask(vec![question("a", &server.url(), OFTEN)]);
    server.wait_for(4);
    let answers = pollers.answers();
    assert_eq!(answers.len(), 1);
    assert!(matches!(answers[0].reading.answer, Answer::Value(number) if number >= 2.0));
}

#[test]
fn nobody_hears_of_what_is_not_asked_any_more() {
    let server = Server::start(|_| {
        std::thread::sleep(Duration::from_millis(200));
        scalar("1")
    });
    let mut pollers = Pollers::new();
    pollers.ask(vec![question("a", &server.url(), RARELY)]);
    server.wait_for(1);
    pollers.ask(Vec::new());
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(pollers.answers(), []);
}

/// A server that hangs neither delays the caller nor, up to eight questions, the others.
#[test]
fn a_server_that_hangs() {
    let hangs = Server::start(|_| {
        std::thread::sleep(Duration::from_secs(3));
        String::new()
    });
    let good = Server::start(|_| scalar("1"));
    let mut pollers = Pollers::new();
    let mut questions: Vec<Question> =
        (0..7).map(|n| question(&format!("hangs {n}"), &hangs.url(), OFTEN)).collect();
    questions.push(question("good", &good.url(), OFTEN));
    let started = Instant::now();
    pollers.ask(questions);
    for _ in 0..5 {
        assert_eq!(answer_of(&mut pollers, "good"), Answer::Value(1.0));
    }
    assert!(started.elapsed() < Duration::from_millis(950), "{:?}", started.elapsed());
    let said = "prometheus did not answer within 1000 ms".to_owned();
    assert_eq!(answer_of(&mut pollers, "hangs 3"), Answer::Broken(said));
    let started = Instant::now();
    drop(pollers);
    assert!(started.elapsed() < Duration::from_millis(100), "nobody waits at the end");
}

#[test]
fn more_questions_than_threads() {
    let server = Server::start(|_| scalar("1"));
    let mut pollers = Pollers::new();
    pollers.ask((0..50).map(|n| question(&n.to_string(), &server.url(), RARELY)).collect());
    server.wait_for(50);
    let mut taken = 0;
    let started = Instant::now();
    while taken < 50 {
        taken += pollers.answers().len();
        assert!(started.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(server.requests().len(), 50);
}
