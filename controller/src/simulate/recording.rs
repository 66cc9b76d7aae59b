//! Recorded ticks, as lines of JSON.

use serde::Deserialize;
use tidegate_judge::Tick;

/// A tick that really was.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Recorded {
    /// The rollout's run, from 1; absent where nobody wrote it down.
    #[serde(default)]
    pub run: Option<u32>,
    /// The step that it was counted in, from 1.
    #[serde(default)]
    pub step: Option<usize>,
    /// What was counted.
    pub tick: Tick,
}

/// A line that is no tick.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct BadLine {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// Reads a line each: `{"run": …, "step": …, "tick": {…}}`, or a tick alone. Empty lines are none.
///
/// # Errors
/// At the first line that is neither.
pub fn parse(text: &str) -> Result<Vec<Recorded>, BadLine> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(i, line)| one(line).map_err(|why| BadLine { line: i + 1, why })).collect()
}

fn one(line: &str) -> Result<Recorded, String> {
    let value: serde_json::Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
    // Told apart here, so that an error names the field that is wrong.
    if value.get("tick").is_some() {
        return serde_json::from_value(value).map_err(|e| e.to_string());
    }
    let tick = serde_json::from_value(value).map_err(|e| e.to_string())?;
    Ok(Recorded { run: None, step: None, tick })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_ticks_with_or_without_their_place() {
        let tick = serde_json::to_string(&Tick::default()).expect("a tick is JSON");
        let text = format!("{tick}\n\n{{\"run\": 2, \"step\": 3, \"tick\": {tick}}}\n");
        let recorded = parse(&text).expect("two ticks");
        assert_eq!(recorded.len(), 2);
        assert_eq!((recorded[0].run, recorded[0].step), (None, None));
        assert_eq!((recorded[1].run, recorded[1].step), (Some(2), Some(3)));
    }

    #[test]
    fn a_bad_line_is_told_by_its_number() {
        let bad = parse("\n{\"users\": 1}\n").expect_err("no tick");
        assert_eq!(bad.line, 2);
        assert!(bad.to_string().starts_with("line 2: "), "{bad}");
    }
}
