//! What the hub makes of one commit, as text.

use std::fmt::Write;

use hub_cli::checkout::plan_text;
use hub_cli::output::table::Look;
use hub_core::catalog::{Allowance, Guard};
use hub_render::offline::Offline;
use proto_model::{Value, Variables};

/// Appends what the hub makes of one commit.
pub fn print(tree: &Offline, out: &mut String) {
    // Writing to a text has no way to fail.
    let _ = write(tree, out);
}

/// Appends what is wrong with one commit.
pub(crate) fn defects(tree: &Offline, out: &mut String) -> std::fmt::Result {
    for defect in tree.lint() {
        write!(out, "{defect}")?;
        match &defect.bundle {
            Some(bundle) => writeln!(out, " [holds {bundle}]")?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}

/// Writes what people read of a plan.
pub(crate) fn plan(before: &Offline, after: &Offline, out: &mut String) {
    let plan = hub_cli::checkout::plan::document(hub_render::offline::plan::plan(before, after), String::new(), None);
    let look = Look { width: None, has_colour: false, is_wide: false, now_unix_millis: 0 };
    out.push_str(&plan_text::text(&plan, look));
    out.push_str(&plan_text::summary(&plan));
    out.push_str("\n\n");
}

fn write(tree: &Offline, out: &mut String) -> std::fmt::Result {
    defects(tree, out)?;
    for cluster in tree.clusters() {
        let labels: Vec<String> = cluster.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        writeln!(out, "cluster {} {}", cluster.name, labels.join(","))?;
    }
    for (full, why) in &tree.goals().held {
        writeln!(out, "held {full}: {why}")?;
    }
    for full in tree.goals().bundles.keys() {
        bundle(full, tree, out)?;
    }
    writeln!(out)
}

fn bundle(full: &str, tree: &Offline, out: &mut String) -> std::fmt::Result {
    let (Some(goal), Some(recipe)) = (tree.goals().bundles.get(full), tree.recipe(full)) else {
        return writeln!(out, "bundle {full} has no recipe");
    };
    writeln!(out, "bundle {full} path={:?} guard={}", goal.path, guard(&goal.guard))?;
    // Plain maps always write.
    let settings = serde_json::to_string(&recipe.settings).unwrap_or_default();
    writeln!(out, "  settings {settings}")?;
    for check in goal.checked.values().flat_map(|checked| &checked.variant.settings.health) {
        writeln!(out, "  health {}", serde_json::to_string(check).unwrap_or_default())?;
    }
    for file in recipe.files() {
        writeln!(out, "  file {}", file.path)?;
    }
    for (content, numbers) in &goal.pairs {
        let names: Vec<&str> = tree
            .clusters()
            .iter()
            .filter(|cluster| numbers.contains(cluster.number))
            .map(|cluster| &*cluster.name)
            .collect();
        writeln!(out, "  in {} with {}", names.join(", "), variables(&content.variables))?;
        match tree.rendered(full, &content.variant).map_or(0, |rendered| rendered.variant.settings.apply_rules) {
            0 => {}
            rules => writeln!(out, "    for spokes that know apply rules {rules}")?,
        }
        let Some(first) = names.first() else { continue };
        match tree.render(full, first) {
            Ok(objects) => {
                for object in objects {
                    writeln!(out, "    {object}")?;
                }
            }
            Err(error) => writeln!(out, "    error: {error}")?,
        }
    }
    Ok(())
}

fn variables(variables: &Variables) -> String {
    let words = variables.0.iter().map(|(name, value)| match value {
        Value::Text(text) => format!("{name}={text:?}"),
        Value::Number(text) => format!("{name}={text}"),
        Value::Bool(value) => format!("{name}={value}"),
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { "no variables".into() } else { words.join(" ") }
}

fn guard(guard: &Guard) -> String {
    let allowance = |one: Allowance| match (one.percent, one.count) {
        (Some(percent), Some(count)) => format!("{percent}%,{count}"),
        (Some(percent), None) => format!("{percent}%"),
        (None, Some(count)) => count.to_string(),
        (None, None) => "any".into(),
    };
    let kinds: Vec<&str> = guard.protected_kinds.iter().map(String::as_str).collect();
    format!(
        "{} objects, {} clusters, {}",
        allowance(guard.max_deleted_objects),
        allowance(guard.max_emptied_clusters),
        kinds.join("+")
    )
}
