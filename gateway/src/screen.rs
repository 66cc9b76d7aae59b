//! The terminal: colours, and a picture that is redrawn in place.

use std::io::{self, IsTerminal as _, Write as _};

/// The alternate screen, without a cursor: what was on the terminal before comes back at the end.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// A terminal that will not say its size.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// Colours text, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint {
    color: bool,
}

impl Paint {
    /// Colour is for terminals whose owner did not refuse it (no-color.org).
    pub(crate) fn for_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { color: io::stdout().is_terminal() && !refused }
    }

    /// Never any colour.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { color: false }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A terminal that was taken over; dropping this gives it back.
#[derive(Debug)]
pub(crate) struct Screen(());

impl Screen {
    /// Takes standard output's terminal over; `None` if it has none.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub(crate) fn take() -> io::Result<Option<Self>> {
        if !io::stdout().is_terminal() || std::env::var_os("TERM").is_some_and(|t| t == "dumb") {
            return Ok(None);
        }
        let screen = Self(());
        write(ENTER)?;
        Ok(Some(screen))
    }

    /// Shows `lines` in place of what was there.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(crate) fn draw(&self, lines: &[String]) -> io::Result<()> {
        let size = terminal_size::terminal_size();
        let size = size.map(|(width, height)| (usize::from(width.0), usize::from(height.0)));
        write(&frame(lines, size.unwrap_or(USUAL_SIZE)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write(LEAVE);
    }
}

/// One write a frame, each line cleared only behind its text: nothing flickers. Lines that do not
/// fit below are left out: the terminal would scroll, and the frame with it.
fn frame(lines: &[String], (width, height): (usize, usize)) -> String {
    let mut text = String::from("\x1b[H");
    let mut rows = 0;
    for line in lines {
        rows += visible_width(line).max(1).div_ceil(width.max(1));
        if rows > height {
            break;
        }
        if text.len() > "\x1b[H".len() {
            text.push_str("\r\n");
        }
        text.push_str(line);
        text.push_str("\x1b[K");
    }
    text.push_str("\x1b[J");
    text
}

/// Characters that take a place: all but colours.
pub(crate) fn visible_width(line: &str) -> usize {
    let (mut width, mut colour) = (0, false);
    for c in line.chars() {
        match (colour, c) {
            (false, '\x1b') => colour = true,
            (true, 'm') => colour = false,
            (false, _) => width += 1,
            (true, _) => {}
        }
    }
    width
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_take_no_room() {
        let red = Paint { color: true }.red("abc");
        assert_eq!(red, "\x1b[31mabc\x1b[0m");
        assert_eq!(visible_width(&red), 3);
        assert_eq!(Paint::plain().red("abc"), "abc");
    }

    #[test]
    fn a_frame_never_scrolls() {
        let lines = ["one", "a line of twenty chars", "three"].map(str::to_owned);
        let drawn = |size| frame(&lines, size);
        assert_eq!(
            drawn((80, 24)),
            "\x1b[Hone\x1b[K\r\na line of twenty chars\x1b[K\r\nthree\x1b[K\x1b[J"
        );
        assert!(!drawn((80, 2)).contains("three"));
        assert!(!drawn((11, 3)).contains("three"), "the second line takes two rows");
        assert!(drawn((11, 4)).contains("three"));
    }
}
