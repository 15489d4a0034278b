//! A plan for people: in a terminal, and as a comment on a pull request.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value as Json;

use crate::fleet::status::defect_line;
use crate::output::count;
use crate::output::plan::{Change, Field, GuardHold, Object, Plan};
use crate::output::table::{Look, Tone};

/// Clusters that are named; the rest are counted. `-o json` has all.
const CLUSTERS_SHOWN: usize = 5;
/// Characters of a value that are shown.
const VALUE_CHARS_SHOWN: usize = 100;
/// Lines of a longer text that are shown around what differs.
const CONTEXT_LINES: usize = 2;

/// The plan in a terminal. Writing to a text has no way to fail.
#[must_use]
pub fn text(plan: &Plan, look: Look) -> String {
    let paint = |tone: Tone, text: &str| tone.paint(text, look.has_colour).to_string();
    let mut out = String::new();
    for defect in &plan.defects {
        let message = format!("{}: {}", paint(Tone::Bad, "defect"), defect.message);
        out += &(defect_line(&defect.file, defect.line, &message) + "\n");
    }
    for one in &plan.held {
        let _ = writeln!(out, "{} stays as it is: {}", paint(Tone::Heading, &one.bundle), one.why);
    }
    for change in &plan.changes {
        let _ = writeln!(out, "{} in {}", paint(Tone::Heading, &change.bundle), clusters(&change.clusters));
        for object in &change.objects {
            let (sign, tone) = sign(object);
            let _ = writeln!(out, "  {} {}{}", paint(tone, sign), object.object, fate(object));
            for line in object.fields.iter().flat_map(field_lines) {
                let tone = match line.chars().next() {
                    Some('+') => Tone::Good,
                    Some('-') => Tone::Bad,
                    _ => Tone::Plain,
                };
                let _ = writeln!(out, "      {}", paint(tone, &line));
            }
        }
    }
    for hold in &plan.holds {
        let _ = writeln!(out, "{} {}", paint(Tone::Bad, "guard:"), hold_words(hold));
    }
    for (names, words) in [
        (&plan.clusters_added, "declared now"),
        (&plan.clusters_removed, "no longer declared: what runs there stays until `drover cluster remove`"),
    ] {
        if !names.is_empty() {
            let _ = writeln!(out, "{}: {words}", clusters(names));
        }
    }
    out
}

/// The plan as a comment on a pull request.
#[must_use]
pub fn markdown(plan: &Plan) -> String {
    let mut out = format!("### Drover plan\n\n{}\n", summary(plan));
    if !plan.defects.is_empty() {
        out += "\n**Defects**\n\n";
        for defect in &plan.defects {
            let _ = writeln!(out, "- `{}`", defect_line(&defect.file, defect.line, &defect.message).replace('`', "'"));
        }
    }
    for one in &plan.held {
        let _ = writeln!(out, "\n> **{}** stays as it is: {}", one.bundle, one.why);
    }
    for hold in &plan.holds {
        let _ = writeln!(out, "\n> **Guard:** {}", hold_words(hold));
    }
    for change in &plan.changes {
        let _ = writeln!(out, "\n**{}** in {}\n\n```diff", change.bundle, clusters(&change.clusters));
        for object in &change.objects {
            let _ = writeln!(out, "{} {}{}", sign(object).0, object.object, fate(object));
            for line in object.fields.iter().flat_map(field_lines) {
                // Three backticks in a value would end the block.
                let line = line.replace("```", "~~~");
                let _ = match line.strip_prefix(['+', '-']) {
                    Some(rest) => writeln!(out, "{}    {rest}", &line[..1]),
                    None => writeln!(out, "     {line}"),
                };
            }
        }
        out += "```\n";
    }
    out
}

/// The plan in one line.
#[must_use]
pub fn summary(plan: &Plan) -> String {
    let defects = count(plan.defects.len() as u64, "new defect");
    if plan.changes.is_empty() {
        return format!("nothing would change; {defects}");
    }
    let objects = |change: &str| {
        let of = |one: &Change| one.objects.iter().filter(|one| one.change == change).count();
        plan.changes.iter().map(|one| of(one) * one.clusters.len()).sum::<usize>()
    };
    let bundles: BTreeSet<&String> = plan.changes.iter().map(|one| &one.bundle).collect();
    let names: BTreeSet<&String> = plan.changes.iter().flat_map(|one| &one.clusters).collect();
    let (bundles, clusters) = (count(bundles.len() as u64, "bundle"), count(names.len() as u64, "cluster"));
    let others = [("kept", "to keep"), ("handedOver", "to hand over")];
    let others = others.map(|(change, words)| match objects(change) {
        0 => String::new(),
        some => format!(", {some} {words}"),
    });
    format!(
        "{bundles} in {clusters}: {} to add, {} to change, {} to remove{} (objects, counted in each cluster); {defects}",
        objects("added"),
        objects("changed"),
        objects("removed"),
        others.concat()
    )
}

fn sign(object: &Object) -> (&'static str, Tone) {
    match &*object.change {
        "added" => ("+", Tone::Good),
        "removed" => ("-", Tone::Bad),
        // Nothing of it changes.
        "kept" | "handedOver" => (" ", Tone::Plain),
        _ => ("!", Tone::Busy),
    }
}

/// What becomes of an object beside what its sign says.
fn fate(object: &Object) -> String {
    match (&*object.change, &object.other) {
        ("added", Some(other)) => format!(" (taken over from {other})"),
        ("handedOver", Some(other)) => format!(" (goes over to {other})"),
        ("kept", _) => " (stays, owned by nobody)".into(),
        ("removed", _) if object.confirm => " (once somebody says so)".into(),
        _ => String::new(),
    }
}

/// A field and its values; of a longer text only the lines that differ.
fn field_lines(field: &Field) -> Vec<String> {
    let path = &field.path;
    if let (Some(Json::String(before)), Some(Json::String(after))) = (&field.before, &field.after)
        && (before.contains('\n') || after.contains('\n'))
    {
        let diff = similar::TextDiff::from_lines(before.as_str(), after.as_str());
        let mut lines = vec![path.clone()];
        for group in diff.grouped_ops(CONTEXT_LINES) {
            for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
                lines.push(format!("{} {}", change.tag(), plain(change.value().trim_end_matches('\n'))));
            }
        }
        return lines;
    }
    match (&field.before, &field.after) {
        (Some(before), Some(after)) => vec![format!("{path}: {} → {}", value(before), value(after))],
        (None, Some(after)) => vec![format!("+ {path}: {}", value(after))],
        (Some(before), None) => vec![format!("- {path}: {}", value(before))],
        (None, None) => vec![path.clone()],
    }
}

fn value(value: &Json) -> String {
    match value {
        Json::String(text) => plain(text),
        other => plain(&other.to_string()),
    }
}

/// A value without what would confuse a terminal, and cut.
fn plain(text: &str) -> String {
    let clean = |letter: char| if letter.is_control() { ' ' } else { letter };
    let mut shown: String = text.chars().take(VALUE_CHARS_SHOWN).map(clean).collect();
    if text.chars().nth(VALUE_CHARS_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

fn clusters(names: &[String]) -> String {
    let shown = names.iter().take(CLUSTERS_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let number = count(names.len() as u64, "cluster");
    match names.len().saturating_sub(CLUSTERS_SHOWN) {
        0 => format!("{number}: {shown}"),
        more => format!("{number}: {shown} and {more} more"),
    }
}

fn hold_words(hold: &GuardHold) -> String {
    let GuardHold { bundle, clusters: names, objects, empties } = hold;
    let all = if *empties { ", all that it has there" } else { "" };
    let (objects, names) = (count(*objects as u64, "object"), clusters(names));
    format!(
        "{bundle} would wait for `drover rollout approve {bundle} --deletions`: {objects} would go{all}, in {names}"
    )
}
