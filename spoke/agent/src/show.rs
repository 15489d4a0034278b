//! What a running spoke told, for people: what is wrong first, and what to look at next.

use spoke_core::local::text::{self, flags, line, table};
use spoke_core::local::time::{span, utc};
use spoke_core::local::{Bundle, Explanation, Object, Owned, State, Status, Suspended, Trouble};

/// How the cluster stands.
pub(crate) fn status(status: &Status) -> String {
    let now = status.now_unix_millis;
    let mut out = format!("{}\n\n", headline(status));
    let mut head = vec![
        vec!["hub".to_owned(), hub(status)],
        vec![
            "assigned".to_owned(),
            format!("generation {} (incarnation {}, epoch {})", status.generation, status.incarnation, status.epoch),
        ],
        vec!["spoke".to_owned(), line(&status.version)],
    ];
    if let Some(trouble) = &status.ledger_trouble {
        head.push(vec!["ledger".to_owned(), format!("CAN'T BE WRITTEN: {}", troubled(trouble))]);
    }
    if !status.search_trouble.is_empty() {
        head.push(vec!["search".to_owned(), line(&status.search_trouble)]);
    }
    head.extend(status.suspended.iter().map(|one| vec!["suspended".to_owned(), left(one, now)]));
    head.push(vec!["state".to_owned(), text::count(status)]);
    out.push_str(&table(&head));
    if status.bundles.is_empty() {
        return out;
    }
    let mut bundles: Vec<&Bundle> = status.bundles.iter().collect();
    bundles.sort_by_key(|bundle| is_well(bundle));
    let titles = ["BUNDLE", "SYNC", "HEALTH", "FLAGS", "OBJECTS", "VARIANT", "SINCE"].map(str::to_owned);
    let mut rows = vec![titles.to_vec()];
    rows.extend(bundles.iter().map(|bundle| row(bundle, now)));
    out.push('\n');
    out.push_str(&table(&rows));
    out.push_str(&more(status.bundles_more));
    let ailing: Vec<&&Bundle> = bundles.iter().filter(|bundle| !bundle.problem.is_empty()).collect();
    if let Some(first) = ailing.first() {
        out.push('\n');
        for bundle in &ailing {
            let more = match bundle.problems_more {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            out.push_str(&format!("{}: {}{more}\n", bundle.bundle, line(&bundle.problem)));
        }
        out.push_str(&format!("\nMore: drover-spoke explain {}\n", first.bundle));
    }
    out
}

/// In one sentence.
fn headline(status: &Status) -> String {
    let cluster = line(&status.cluster);
    if !status.idle_because.is_empty() {
        return format!("{cluster}: NOTHING IS DONE HERE: {}", line(&status.idle_because));
    }
    if status.suspended.iter().any(|one| one.bundle.is_none()) {
        return format!("{cluster}: suspended: it is watched, and nothing is changed");
    }
    if status.hub.id.is_empty() {
        return format!("{cluster}: in no fleet: no hub has assigned anything here yet, or the cluster has left");
    }
    if status.hub.is_attached {
        return format!("{cluster}: kept as the hub says");
    }
    match status.bundles.iter().filter(|one| one.sync == "Lost").count() {
        0 => format!("{cluster}: kept as it was last assigned, for as long as the hub is away"),
        lost => format!(
            "{cluster}: NOT KEPT: the content of {lost} of {} bundles was lost from the ledger, and the hub is away",
            status.bundles.len() as u64 + status.bundles_more
        ),
    }
}

fn hub(status: &Status) -> String {
    let hub = &status.hub;
    let id = if hub.id.is_empty() { "not known yet".to_owned() } else { line(&hub.id) };
    let since = hub.since_unix_millis.map_or_else(String::new, |at| {
        format!(" for {} (since {})", span(status.now_unix_millis.saturating_sub(at) / 1_000), utc(at))
    });
    let state = if hub.is_attached { "attached" } else { "NOT REACHED" };
    let why = if hub.trouble.is_empty() { String::new() } else { format!(": {}", line(&hub.trouble)) };
    format!("{id}, {state}{since}{why}")
}

fn is_well(bundle: &Bundle) -> bool {
    let is_quiet = !bundle.drifted && bundle.suspended_until_unix_millis.is_none() && bundle.problem.is_empty();
    is_quiet && bundle.sync == "Applied" && bundle.health == "Healthy"
}

fn row(bundle: &Bundle, now: u64) -> Vec<String> {
    let since = match bundle.since_unix_millis {
        0 => String::new(),
        at => span(now.saturating_sub(at) / 1_000),
    };
    vec![
        bundle.bundle.clone(),
        bundle.sync.clone(),
        bundle.health.clone(),
        flags(bundle),
        bundle.objects.to_string(),
        bundle.variant.clone(),
        since,
    ]
}

/// What stops bundles, object by object.
pub(crate) fn explained(bundles: &[Explanation]) -> String {
    if bundles.is_empty() {
        return "Everything is as it should be.\n".to_owned();
    }
    bundles.iter().map(explanation).collect::<Vec<_>>().join("\n")
}

fn explanation(one: &Explanation) -> String {
    let bundle = &one.bundle;
    let flags = match flags(bundle).as_str() {
        "" => String::new(),
        flags => format!(", {flags}"),
    };
    let mut out = format!("{}: {}, {}{flags}\n", bundle.bundle, bundle.sync, bundle.health);
    for why in &one.stopped_by {
        out.push_str(&format!("  {}\n", line(why)));
    }
    if one.stopped_by.is_empty() && one.objects.is_empty() && !bundle.problem.is_empty() {
        out.push_str(&format!("  {}\n", line(&bundle.problem)));
    }
    if !one.objects.is_empty() {
        let mut rows = vec![["OBJECT", "STATE", "HEALTH", "WHY"].map(str::to_owned).to_vec()];
        for object in &one.objects {
            rows.push(vec![object.object.clone(), state(object.state).into(), object.health.clone(), why(object)]);
        }
        out.push_str(&table(&rows));
    }
    out + &more(one.objects_more)
}

fn state(state: State) -> &'static str {
    match state {
        State::Applied => "Applied",
        State::Busy => "Busy",
        State::Pending => "Pending",
        State::Drifted => "Drifted",
        State::Missing => "Missing",
        State::Foreign => "Foreign",
        State::Removing => "Removing",
    }
}

fn why(object: &Object) -> String {
    let mut parts = Vec::new();
    parts.extend(object.trouble.as_ref().map(troubled));
    parts.extend(object.contested.as_deref().map(line));
    let changer = object.changed_by.as_deref().filter(|_| object.contested.is_none());
    parts.extend(changer.map(|who| format!("was changed: field manager {} wrote last", line(who))));
    parts.extend(object.waits_for.as_deref().map(line));
    if parts.is_empty() && !object.reason.is_empty() {
        parts.push(line(&object.reason));
    }
    parts.join("; ")
}

fn troubled(trouble: &Trouble) -> String {
    let tries = match trouble.attempts {
        0 | 1 => String::new(),
        tries => format!("{tries} tries, "),
    };
    format!("{} ({tries}next in {})", line(&trouble.message), span(trouble.retry_secs))
}

/// What bundles own.
pub(crate) fn inventory(bundles: &[Owned]) -> String {
    let mut rows =
        vec![["BUNDLE", "OBJECT", "VERSION", "UID", "ORDER", "APPLIED", "HEALTH"].map(str::to_owned).to_vec()];
    for bundle in bundles {
        rows.extend(bundle.objects.iter().map(|one| {
            let order = if one.order == 0 { String::new() } else { one.order.to_string() };
            let uid = if one.uid.is_empty() { "not seen yet".to_owned() } else { one.uid.clone() };
            vec![
                bundle.bundle.clone(),
                one.object.clone(),
                one.version.clone(),
                uid,
                order,
                one.applied.clone(),
                one.health.clone(),
            ]
        }));
    }
    let left_out: u64 = bundles.iter().map(|bundle| bundle.objects_more).sum();
    table(&rows) + &more(left_out)
}

/// What is suspended.
pub(crate) fn suspended(all: &[Suspended]) -> String {
    if all.is_empty() {
        return "Nothing is suspended: the cluster is kept as assigned.\n".to_owned();
    }
    all.iter().map(|one| format!("suspended: {}\n", text::suspended(one))).collect()
}

fn left(one: &Suspended, now: u64) -> String {
    let left = span(one.until_unix_millis.saturating_sub(now) / 1_000);
    format!("{} ({left} left)", text::suspended(one))
}

fn more(count: u64) -> String {
    if count == 0 { String::new() } else { format!("and {count} more\n") }
}

#[cfg(test)]
mod tests {
    use spoke_core::local::HubLink;

    use super::*;

    const HOUR: u64 = 3_600_000;

    fn bundle(name: &str, health: &str, problem: &str) -> Bundle {
        Bundle {
            bundle: name.into(),
            sync: "Applied".into(),
            health: health.into(),
            objects: 2,
            variant: "0011223344".into(),
            since_unix_millis: HOUR,
            problem: problem.into(),
            ..Bundle::default()
        }
    }

    fn lost() -> Status {
        Status {
            cluster: "edge-1".into(),
            version: "1.2.3".into(),
            now_unix_millis: 3 * HOUR,
            generation: 7,
            incarnation: 1,
            epoch: 1,
            hub: HubLink {
                id: "h".into(),
                is_attached: false,
                since_unix_millis: Some(HOUR),
                trouble: "hub:8443: connection refused".into(),
            },
            bundles: vec![bundle("main/api", "Healthy", ""), bundle("main/web", "Degraded", "Pod shop/x crashes")],
            ..Status::default()
        }
    }

    #[test]
    fn at_three_in_the_morning_it_says_what_is_wrong_and_what_is_kept() {
        assert_eq!(
            status(&lost()),
            "edge-1: kept as it was last assigned, for as long as the hub is away\n\
             \n\
             hub        h, NOT REACHED for 2h (since 1970-01-01T01:00:00Z): hub:8443: connection refused\n\
             assigned   generation 7 (incarnation 1, epoch 1)\n\
             spoke      1.2.3\n\
             state      2 bundles: 1 Applied and Healthy, 1 Degraded\n\
             \n\
             BUNDLE     SYNC      HEALTH     FLAGS   OBJECTS   VARIANT      SINCE\n\
             main/web   Applied   Degraded           2         0011223344   2h\n\
             main/api   Applied   Healthy            2         0011223344   2h\n\
             \n\
             main/web: Pod shop/x crashes\n\
             \n\
             More: drover-spoke explain main/web\n"
        );
    }

    #[test]
    fn a_spoke_that_does_nothing_says_so_first() {
        let idle = Status { idle_because: "another spoke holds the lease".into(), ..lost() };
        assert!(status(&idle).starts_with("edge-1: NOTHING IS DONE HERE: another spoke holds the lease\n"));
        let (reason, by) = ("night\u{1b}[2J".to_owned(), "me".to_owned());
        let one = Suspended { bundle: None, until_unix_millis: 4 * HOUR, reason, by, at_hub: false };
        let suspended = status(&Status { suspended: vec![one], ..lost() });
        assert!(suspended.starts_with("edge-1: suspended: it is watched, and nothing is changed\n"));
        let line = "the whole cluster until 1970-01-01T04:00:00Z by me: night [2J (1h left)";
        assert!(suspended.contains(line), "{suspended}");
    }

    #[test]
    fn an_explanation_gives_each_object_its_reason() {
        let object = Object {
            object: "Deployment.apps shop/web".into(),
            state: State::Pending,
            health: "Progressing".into(),
            reason: "is missing".into(),
            changed_by: Some("kubectl-edit".into()),
            contested: None,
            trouble: Some(Trouble { message: "webhook away".into(), is_final: false, attempts: 3, retry_secs: 61 }),
            waits_for: None,
        };
        let waiting = Object {
            object: "Job.batch shop/j".into(),
            changed_by: None,
            trouble: None,
            waits_for: Some("Deployment.apps shop/web comes first".into()),
            ..object.clone()
        };
        let one = Explanation {
            bundle: bundle("main/web", "Progressing", "x"),
            stopped_by: vec!["waits for bundle main/db (healthy)".into()],
            objects: vec![object, waiting],
            objects_more: 2,
        };
        assert_eq!(
            explained(&[one]),
            "main/web: Applied, Progressing\n  waits for bundle main/db (healthy)\n\
             OBJECT                     STATE     HEALTH        WHY\n\
             Deployment.apps shop/web   Pending   Progressing   webhook away (3 tries, next in 1m 1s); was changed: field \
             manager kubectl-edit wrote last\n\
             Job.batch shop/j           Pending   Progressing   Deployment.apps shop/web comes first\n\
             and 2 more\n"
        );
        assert_eq!(explained(&[]), "Everything is as it should be.\n");
    }
}
