//! Dependencies that go in a circle, in time that grows with the number of bundles and
//! dependencies and no faster: a repository may hold thousands of either.

use std::collections::{BTreeMap, VecDeque};

use super::spec::BundleSpec;
use super::{Declared, full_name};

/// Bundles of one tangle up to which each is shown a circle through itself; in a larger one all are
/// shown the same.
const OWN_CIRCLE_MAX: usize = 50;
/// Bundles of a circle that are named.
const NAMED_MAX: usize = 12;

/// The bundles that lie on a circle of dependencies, each with a circle.
pub(super) fn circles(bundles: &BTreeMap<String, Declared<BundleSpec>>) -> BTreeMap<String, String> {
    let graph = Graph::of(bundles);
    let mut found = BTreeMap::new();
    for tangle in graph.tangles() {
        let shared =
            (tangle.len() > OWN_CIRCLE_MAX).then(|| tangle.first().and_then(|one| graph.circle(*one))).flatten();
        for one in tangle {
            let circle = shared.clone().or_else(|| graph.circle(one));
            found.extend(circle.map(|circle| (graph.name(one).to_owned(), circle)));
        }
    }
    found
}

/// Bundles as numbers, and the numbers that each depends on.
struct Graph<'a> {
    names: Vec<&'a str>,
    edges: Vec<Vec<usize>>,
}

impl<'a> Graph<'a> {
    fn of(bundles: &'a BTreeMap<String, Declared<BundleSpec>>) -> Self {
        let numbers: BTreeMap<&str, usize> = bundles.keys().map(String::as_str).zip(0..).collect();
        let edges = bundles.values().map(|item| {
            let on = item.spec.depends_on.iter().map(|on| full_name(&item.source, &on.bundle));
            on.filter_map(|on| numbers.get(&*on).copied()).collect()
        });
        Self { names: bundles.keys().map(String::as_str).collect(), edges: edges.collect() }
    }

    fn name(&self, one: usize) -> &'a str {
        self.names.get(one).copied().unwrap_or_default()
    }

    fn on(&self, one: usize) -> &[usize] {
        self.edges.get(one).map_or(&[], Vec::as_slice)
    }

    /// The sets of bundles that all lead to each other, larger than one bundle, or one that leads
    /// to itself: everything on a circle, and nothing else. After Kosaraju, without recursion.
    fn tangles(&self) -> Vec<Vec<usize>> {
        let mut users = vec![Vec::new(); self.edges.len()];
        for (one, on) in self.edges.iter().enumerate() {
            for next in on {
                if let Some(users) = users.get_mut(*next) {
                    users.push(one);
                }
            }
        }
        let mut seen = vec![false; self.edges.len()];
        let mut done = Vec::with_capacity(self.edges.len());
        for start in 0..self.edges.len() {
            visit(start, &self.edges, &mut seen, &mut done);
        }
        let mut seen = vec![false; self.edges.len()];
        let mut tangles = Vec::new();
        for start in done.into_iter().rev() {
            let mut tangle = Vec::new();
            visit(start, &users, &mut seen, &mut tangle);
            if tangle.len() > 1 || self.on(start).contains(&start) && !tangle.is_empty() {
                tangle.sort_unstable();
                tangles.push(tangle);
            }
        }
        tangles
    }

    /// A shortest way from a bundle back to itself.
    fn circle(&self, start: usize) -> Option<String> {
        let mut from: BTreeMap<usize, usize> = BTreeMap::new();
        let mut next = VecDeque::from([start]);
        while let Some(one) = next.pop_front() {
            for on in self.on(one) {
                if *on == start {
                    let mut way = vec![one];
                    while let Some(before) = way.last().and_then(|last| from.get(last)) {
                        way.push(*before);
                    }
                    way.reverse();
                    return Some(self.words(&way));
                }
                if !from.contains_key(on) {
                    from.insert(*on, one);
                    next.push_back(*on);
                }
            }
        }
        None
    }

    fn words(&self, way: &[usize]) -> String {
        let mut words: Vec<String> = way.iter().take(NAMED_MAX).map(|one| self.name(*one).to_owned()).collect();
        if let Some(more @ 1..) = way.len().checked_sub(NAMED_MAX) {
            words.push(format!("{more} more"));
        }
        words.extend(way.first().map(|first| self.name(*first).to_owned()));
        words.join(" → ")
    }
}

/// Goes as deep as it gets from a start; adds what was not seen before, in the order in which
/// nothing was left to visit from it.
fn visit(start: usize, edges: &[Vec<usize>], seen: &mut [bool], done: &mut Vec<usize>) {
    let mut first_visit = |one: usize| seen.get_mut(one).is_some_and(|seen| !std::mem::replace(seen, true));
    if !first_visit(start) {
        return;
    }
    let mut way = vec![(start, 0)];
    while let Some((one, at)) = way.last_mut() {
        match edges.get(*one).and_then(|on| on.get(*at)) {
            Some(next) => {
                *at += 1;
                if first_visit(*next) {
                    way.push((*next, 0));
                }
            }
            None => {
                done.push(*one);
                way.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[&[usize]]) -> Graph<'static> {
        const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
        Graph { names: NAMES[..edges.len()].to_vec(), edges: edges.iter().map(|on| on.to_vec()).collect() }
    }

    #[test]
    fn what_leads_to_a_circle_is_not_on_it() {
        // a → b → c → b, d → a, e ↔ f.
        let graph = graph(&[&[1], &[2], &[1], &[0], &[5], &[4]]);
        let mut tangles = graph.tangles();
        tangles.sort();
        assert_eq!(tangles, [vec![1, 2], vec![4, 5]]);
        assert_eq!(graph.circle(1).as_deref(), Some("b → c → b"));
        assert_eq!(graph.circle(5).as_deref(), Some("f → e → f"));
        assert_eq!(graph.circle(0), None);
    }

    #[test]
    fn the_shortest_circle_is_shown_and_a_long_one_is_cut() {
        // a → b → c → d → a, and c → a.
        let short = graph(&[&[1], &[2], &[3, 0], &[0]]);
        assert_eq!(short.circle(0).as_deref(), Some("a → b → c → a"));
        let long = Graph { names: vec!["x"; 1_000], edges: (0..1_000).map(|one| vec![(one + 1) % 1_000]).collect() };
        assert_eq!(long.tangles().len(), 1);
        let words = long.circle(0).unwrap_or_default();
        assert!(words.contains("988 more") && words.len() < 200, "{words}");
    }
}
