//! Who decided what, when and why.

use super::{
    seen::{Decisions, Record},
    text::moment,
};
use crate::screen::Paint;
use tidegate_judge::Action;

/// The newest first, one a line.
pub(super) fn render(page: &Decisions, paint: Paint) -> Vec<String> {
    if page.decisions.is_empty() {
        return vec!["  none".to_owned()];
    }
    page.decisions.iter().map(|record| line(record, paint)).collect()
}

fn line(record: &Record, paint: Paint) -> String {
    let decision = &record.decision;
    let action = format!("{:<11}", decision.action.name().replace('_', " "));
    let action = match decision.action {
        Action::RolledBack => paint.red(&action),
        Action::Promoted => paint.green(&action),
        Action::FalseAlarm | Action::Aborted | Action::Paused => paint.yellow(&action),
        _ => action,
    };
    let weight = match decision.weight_before == decision.weight {
        true => decision.weight.to_string(),
        false => format!("{} → {}", decision.weight_before, decision.weight),
    };
    // "anna asked for `promote`" says who.
    let who = match decision.why.starts_with(&decision.actor) {
        true => String::new(),
        false => format!("{}: ", decision.actor),
    };
    format!(
        "  {}  {action} run {} step {}/{} weight {weight}  {who}{} (#{})",
        moment(decision.time),
        decision.run,
        decision.step,
        decision.steps,
        decision.why,
        record.id,
    )
}

#[cfg(test)]
mod tests {
    use super::{super::testing::decisions, *};

    #[test]
    fn who_what_and_why() {
        assert_eq!(
            render(&decisions(), Paint::plain()).join("\n"),
            "  \
  2026-03-01 12:04:05Z  rolled back run 1 step 2/4 weight 5% → 0%  controller: `errors` is bad (#3)
  2026-03-01 12:04:05Z  resumed     run 1 step 2/4 weight 5%  anna asked for `resume` (#2)"
        );
        let none = Decisions { decisions: Vec::new() };
        assert_eq!(render(&none, Paint::plain()), ["  none"]);
    }
}
