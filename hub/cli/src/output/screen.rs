//! Text that is redrawn in place on a terminal, with plain ANSI sequences.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};

/// The lower part of a terminal, redrawn in place; elsewhere each text follows the one before.
pub struct Screen {
    is_terminal: bool,
    drawn_lines: usize,
}

/// What a terminal without a known size is taken for.
const SIZE_DEFAULT: (usize, usize) = (80, 24);

impl Screen {
    /// On stdout.
    #[must_use]
    pub fn of_stdout() -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { is_terminal: io::stdout().is_terminal() && !is_dumb, drawn_lines: 0 }
    }

    /// Whether texts are redrawn in place.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.is_terminal
    }

    /// Columns and lines that a text may take.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let (width, height) = terminal_size::terminal_size_of(io::stdout())
            .map(|(width, height)| (usize::from(width.0), usize::from(height.0)))
            .filter(|(width, height)| *width > 0 && *height > 1)
            .unwrap_or(SIZE_DEFAULT);
        // The cursor rests on the line below the text.
        (width, height - 1)
    }

    /// Replaces what was drawn before.
    ///
    /// # Errors
    /// Stdout is closed.
    pub fn draw(&mut self, text: &str) -> Result<()> {
        let bytes = if self.is_terminal {
            let (_, height) = self.size();
            let lines = fit(text, height);
            let frame = frame(&lines, self.drawn_lines);
            self.drawn_lines = lines.len();
            frame
        } else {
            text.to_owned()
        };
        write(&bytes)
    }

    /// Writes lines that stay, above what is redrawn.
    ///
    /// # Errors
    /// Stdout is closed.
    pub fn print(&mut self, text: &str) -> Result<()> {
        let clear = if self.is_terminal { frame(&[], self.drawn_lines) } else { String::new() };
        self.drawn_lines = 0;
        write(&(clear + text))
    }
}

fn write(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to stdout")
}

/// The first lines, with a word about the rest.
fn fit(text: &str, height: usize) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= height {
        return lines.into_iter().map(str::to_owned).collect();
    }
    let kept = height.saturating_sub(1);
    let mut fitted: Vec<String> = lines.iter().take(kept).map(|line| (*line).to_owned()).collect();
    fitted.push(format!("… and {} more lines; make the window higher to see them", lines.len() - kept));
    fitted
}

/// What turns the lines drawn before into these. The terminal shows it at once, so that nothing flickers, and cuts
/// what is wider than itself rather than wrap it, so that the lines can be counted.
fn frame(lines: &[String], drawn_before: usize) -> String {
    let mut frame = String::from("\x1b[?2026h\x1b[?7l");
    if drawn_before > 0 {
        frame.push_str(&format!("\r\x1b[{drawn_before}A"));
    }
    for line in lines {
        frame.push_str(line);
        frame.push_str("\x1b[K\n");
    }
    frame.push_str("\x1b[J\x1b[?7h\x1b[?2026l");
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_replaces_the_one_before() {
        let lines = ["a".to_owned(), "b".to_owned()];
        assert_eq!(frame(&lines, 0), "\x1b[?2026h\x1b[?7la\x1b[K\nb\x1b[K\n\x1b[J\x1b[?7h\x1b[?2026l");
        assert!(frame(&lines, 3).starts_with("\x1b[?2026h\x1b[?7l\r\x1b[3Aa"));
    }

    #[test]
    fn a_long_text_is_cut_to_the_height() {
        assert_eq!(fit("1\n2\n3", 3).len(), 3);
        let fitted = fit("1\n2\n3\n4", 3);
        assert_eq!(fitted, ["1", "2", "… and 2 more lines; make the window higher to see them"]);
    }
}
