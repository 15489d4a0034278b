//! Tables for people: columns as wide as they need, colours and cuts only where a terminal wants them.

use std::io::{self, IsTerminal};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Between two columns.
const GAP: &str = "  ";
/// A cut text ends with this.
pub const CUT: char = '…';
/// What a column keeps when the terminal is narrow, in characters.
const COLUMN_WIDTH_MIN: usize = 6;

/// How the place looks that a table is written to, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Characters a line may have; `None`: as many as it needs.
    pub width: Option<usize>,
    /// Whether colours may be used.
    pub has_colour: bool,
    /// Whether more columns are wanted.
    pub is_wide: bool,
    /// Now, in milliseconds since 1970, for relative times.
    pub now_unix_millis: u64,
}

impl Look {
    /// What stdout is: a terminal with a width and colours (unless `NO_COLOR` is set), or a file.
    #[must_use]
    pub fn of_stdout() -> Self {
        let is_terminal = io::stdout().is_terminal();
        let has_colour = is_terminal
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let width = terminal_size::terminal_size_of(io::stdout())
            .map(|(width, _)| usize::from(width.0))
            .filter(|width| is_terminal && *width > 0);
        Self { width, has_colour, is_wide: false, now_unix_millis: super::time::now_unix_millis() }
    }
}

/// What a text means, and so its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Not yet as it should be.
    Busy,
    /// In trouble.
    Bad,
    /// Of less importance.
    Faint,
    /// A heading.
    Heading,
}

impl Tone {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Busy => Some("33"),
            Self::Bad => Some("31"),
            Self::Faint => Some("2"),
            Self::Heading => Some("1"),
        }
    }

    /// The text in this tone's colour.
    #[must_use]
    pub fn paint(self, text: &str, has_colour: bool) -> String {
        match self.code() {
            Some(code) if has_colour && !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }
}

/// One cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A text with a tone. Control characters, which a foreign message may hold, become blanks.
    #[must_use]
    pub fn new(text: impl AsRef<str>, tone: Tone) -> Self {
        let clean = |letter: char| if letter.is_control() { ' ' } else { letter };
        Self { text: text.as_ref().chars().map(clean).collect(), tone }
    }

    /// A text, or a dash where there is none.
    #[must_use]
    pub fn or_dash(text: Option<&str>) -> Self {
        match text {
            Some(text) if !text.is_empty() => Self::from(text),
            _ => Self::new("-", Tone::Faint),
        }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// Rows below a heading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    heading: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these column names.
    #[must_use]
    pub fn new(heading: &[&str]) -> Self {
        let heading = heading.iter().map(|name| Cell::new(name, Tone::Heading)).collect();
        Self { heading, rows: Vec::new() }
    }

    /// Adds a row, which has a cell for each column.
    pub fn push(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// The lines of the table, the heading first.
    #[must_use]
    pub fn lines(&self, look: Look) -> Vec<String> {
        let widths = self.widths(look.width);
        std::iter::once(&self.heading).chain(&self.rows).map(|row| line(row, &widths, look.has_colour)).collect()
    }

    /// The table as text, every line with its end.
    #[must_use]
    pub fn text(&self, look: Look) -> String {
        self.lines(look).into_iter().map(|line| line + "\n").collect()
    }

    /// Every column as wide as its widest cell; too wide in all, the widest column gives way.
    fn widths(&self, width_max: Option<usize>) -> Vec<usize> {
        let mut widths = vec![0; self.heading.len()];
        for row in std::iter::once(&self.heading).chain(&self.rows) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        let Some(width_max) = width_max else { return widths };
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > width_max {
            match widths.iter_mut().max() {
                Some(widest) if *widest > COLUMN_WIDTH_MIN => *widest -= 1,
                _ => break,
            }
        }
        widths
    }
}

fn line(row: &[Cell], widths: &[usize], has_colour: bool) -> String {
    let mut line = String::new();
    for (number, (cell, width)) in row.iter().zip(widths).enumerate() {
        if number > 0 {
            line.push_str(GAP);
        }
        let text = cut(&cell.text, *width);
        let blanks = width.saturating_sub(text.width());
        line.push_str(&cell.tone.paint(&text, has_colour));
        if number + 1 < row.len() {
            line.push_str(&" ".repeat(blanks));
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// The text, cut to a width in characters of a terminal.
#[must_use]
pub fn cut(text: &str, width_max: usize) -> String {
    if text.width() <= width_max {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut width = 0;
    for letter in text.chars() {
        width += letter.width().unwrap_or(0);
        if width + 1 > width_max {
            break;
        }
        cut.push(letter);
    }
    cut.push(CUT);
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Look = Look { width: None, has_colour: false, is_wide: false, now_unix_millis: 0 };

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "STATE", "WHY"]);
        table.push(vec!["a".into(), Cell::new("Healthy", Tone::Good), Cell::or_dash(None)]);
        table.push(vec!["long-name".into(), "Failed".into(), "it has\nno\x1b[31m such kind".into()]);
        table
    }

    #[test]
    fn columns_line_up_and_control_characters_go() {
        let expected = "NAME       STATE    WHY\n\
                        a          Healthy  -\n\
                        long-name  Failed   it has no [31m such kind\n";
        assert_eq!(table().text(LOOK), expected);
    }

    #[test]
    fn the_widest_column_gives_way_to_a_narrow_terminal() {
        let lines = table().lines(Look { width: Some(32), ..LOOK });
        assert_eq!(lines[2], "long-name  Failed   it has no […");
        assert!(lines.iter().all(|line| line.width() <= 32));
    }

    #[test]
    fn colours_take_no_width() {
        let lines = table().lines(Look { has_colour: true, ..LOOK });
        assert_eq!(lines[1], "a          \x1b[32mHealthy\x1b[0m  \x1b[2m-\x1b[0m");
    }
}
