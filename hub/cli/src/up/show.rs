//! How a run is shown: a live table on a terminal, else a line for each event, for people or as JSON.

use std::collections::{BTreeSet, VecDeque};

use anyhow::{Context, Result};

use super::event::Event;
use super::table;
use crate::output::ranking::{self, Rank};
use crate::output::screen::Screen;
use crate::output::table::{Look, Tone, cut};
use crate::output::{self, Format};
use crate::view::Status;

/// Events below the table.
const EVENTS_SHOWN: usize = 6;
/// Lines around the table: a sentence, a gap above and one below.
const LINES_AROUND: usize = 3;

/// Where events and states go.
pub enum Show {
    /// A table that is redrawn, the last events below it.
    Live {
        /// Where it is drawn.
        screen: Screen,
        /// The last events.
        events: VecDeque<String>,
        /// What to try next, below everything.
        hint: Vec<String>,
    },
    /// A line for each event.
    Lines,
    /// A line of JSON for each event.
    Json,
    /// A document of YAML for each event.
    Yaml,
}

impl Show {
    /// What stdout and `-o` ask for.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let screen = Screen::of_stdout();
        match format {
            Format::Json => Self::Json,
            Format::Yaml => Self::Yaml,
            Format::Table | Format::Wide if screen.is_live() => {
                Self::Live { screen, events: VecDeque::new(), hint: Vec::new() }
            }
            Format::Table | Format::Wide => Self::Lines,
        }
    }

    /// Takes an event.
    ///
    /// # Errors
    /// Stdout is closed.
    pub fn event(&mut self, event: &Event) -> Result<()> {
        match self {
            Self::Json => {
                let line = serde_json::to_string(event).context("cannot write JSON")?;
                output::write(&(line + "\n"))
            }
            Self::Yaml => output::write(&format!("---\n{}", output::yaml(event)?)),
            _ if event.is_minor => Ok(()),
            Self::Lines => output::write(&(event.line() + "\n")),
            Self::Live { events, .. } => {
                if events.len() == EVENTS_SHOWN {
                    events.pop_front();
                }
                events.push_back(event.line());
                Ok(())
            }
        }
    }

    /// Draws the state, where states are drawn.
    ///
    /// # Errors
    /// Stdout is closed.
    pub fn state(&mut self, status: &Status, clusters: &BTreeSet<String>) -> Result<()> {
        let Self::Live { screen, events, hint } = self else { return Ok(()) };
        let (width, height) = screen.size();
        let look = Look { width: Some(width), ..Look::of_stdout() };
        screen.draw(&frame(status, clusters, events, hint, height, look))
    }

    /// Keeps lines in sight that say what to try next, where a state is drawn over what was told.
    pub fn keep_in_sight(&mut self, lines: Vec<String>) {
        if let Self::Live { hint, .. } = self {
            *hint = lines;
        }
    }

    /// Writes something that stays.
    ///
    /// # Errors
    /// Stdout is closed.
    pub fn tell(&mut self, text: &str) -> Result<()> {
        match self {
            Self::Live { screen, .. } => screen.print(&format!("{text}\n")),
            Self::Lines | Self::Json | Self::Yaml => {
                output::tell(text);
                Ok(())
            }
        }
    }
}

/// A sentence, the table, the last events, and what to try next. Pure.
#[must_use]
pub fn frame(
    status: &Status,
    clusters: &BTreeSet<String>,
    events: &VecDeque<String>,
    hint: &[String],
    height: usize,
    look: Look,
) -> String {
    let mut text = sentence(status, clusters) + "\n\n";
    // In a low window the last events go first: the table and what to try next matter more.
    let room_for_events = height.saturating_sub(LINES_AROUND + 1 + clusters.len() + hint.len());
    let events = || events.iter().skip(events.len().saturating_sub(room_for_events));
    let room = height.saturating_sub(LINES_AROUND + events().len() + hint.len());
    for line in table::lines(status, clusters, room, look) {
        text.push_str(&line);
        text.push('\n');
    }
    text.push('\n');
    for event in events() {
        let line = cut(event, look.width.unwrap_or(usize::MAX));
        text.push_str(&Tone::Faint.paint(&line, look.has_colour));
        text.push('\n');
    }
    for line in hint {
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn sentence(status: &Status, clusters: &BTreeSet<String>) -> String {
    let ours = || status.clusters.iter().filter(|cluster| clusters.contains(&cluster.cluster));
    let connected = ours().filter(|cluster| cluster.connected).count();
    let ranks: Vec<Rank> = ours()
        .flat_map(|cluster| cluster.bundles.iter().map(|bundle| ranking::of_bundle(bundle, cluster.connected)))
        .collect();
    let fine = ranks.iter().filter(|rank| **rank == Rank::Fine).count();
    format!(
        "{connected} of {} clusters connected, {fine} of {} bundles Applied and Healthy",
        clusters.len(),
        ranks.len()
    )
}
