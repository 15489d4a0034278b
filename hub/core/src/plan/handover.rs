//! Moves that hand objects over to another bundle: which of them wait, and which go together.

use std::collections::BTreeMap;

use proto_model::limits;

use super::Draft;

/// A move, by its draft and cluster, that waits for others to be there.
type Giver = (usize, u32);

/// Lets moves wait for bundles that take objects over and neither are there nor move with them.
pub(super) fn wait(drafts: &mut [Draft<'_>]) {
    let by_name: BTreeMap<&str, usize> = drafts.iter().enumerate().map(|(at, draft)| (draft.name, at)).collect();
    let mut open = givers(drafts);
    // Each that waits may be the one that another waits for.
    loop {
        let comes = |to: &String, cluster: u32| {
            by_name.get(to.as_str()).and_then(|at| drafts.get(*at)).is_some_and(|draft| draft.is_free(cluster))
        };
        let (fine, late): (Vec<Giver>, Vec<Giver>) = open.into_iter().partition(|(at, cluster)| {
            let loss = drafts.get(*at).and_then(|draft| draft.losses.get(cluster));
            loss.is_none_or(|loss| loss.waits.iter().all(|to| comes(to, *cluster)))
        });
        if late.is_empty() {
            return;
        }
        late_are(drafts, &late);
        open = fine;
    }
}

/// The drafts by those that go into one entry, each in one group.
pub(super) fn groups(drafts: &mut [Draft<'_>]) -> Vec<Vec<usize>> {
    loop {
        let groups = linked(drafts);
        let Some(crowd) = groups.iter().find(|group| group.len() > limits::MOVES_TOGETHER_MAX) else {
            return groups;
        };
        // Those that take come first, then, and those that give after them.
        let late: Vec<Giver> = givers(drafts).into_iter().filter(|(at, _)| crowd.contains(at)).collect();
        late_are(drafts, &late);
        wait(drafts);
    }
}

fn linked(drafts: &[Draft<'_>]) -> Vec<Vec<usize>> {
    let by_name: BTreeMap<&str, usize> = drafts.iter().enumerate().map(|(at, draft)| (draft.name, at)).collect();
    let mut group_of: Vec<usize> = (0..drafts.len()).collect();
    for (at, cluster) in givers(drafts) {
        let waits =
            drafts.get(at).and_then(|draft| draft.losses.get(&cluster)).into_iter().flat_map(|loss| &loss.waits);
        for other in waits.filter_map(|to| by_name.get(to.as_str())) {
            let (Some(one), Some(two)) = (group_of.get(at).copied(), group_of.get(*other).copied()) else { continue };
            if one != two {
                group_of.iter_mut().filter(|group| **group == one.max(two)).for_each(|group| *group = one.min(two));
            }
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, group) in group_of.into_iter().enumerate() {
        groups.entry(group).or_default().push(at);
    }
    groups.into_values().collect()
}

/// The moves that would go now and hand something over to a bundle that is not there yet.
fn givers(drafts: &[Draft<'_>]) -> Vec<Giver> {
    let all = drafts.iter().enumerate();
    let givers = all.flat_map(|(at, draft)| {
        let giving = draft.free().filter(|(_, loss)| !loss.waits.is_empty());
        giving.map(move |(cluster, _)| (at, cluster))
    });
    givers.collect()
}

fn late_are(drafts: &mut [Draft<'_>], late: &[Giver]) {
    for (at, cluster) in late {
        if let Some(draft) = drafts.get_mut(*at) {
            draft.late.insert(*cluster);
        }
    }
}
