//! The index answers as the naive evaluation does, after any history of changes.

use proptest::prelude::*;

use super::*;

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map("[abc]", "[xyz]", 0..4)
}

fn selector() -> impl Strategy<Value = Selector> {
    let operator =
        prop_oneof![Just(Operator::In), Just(Operator::NotIn), Just(Operator::Exists), Just(Operator::DoesNotExist)];
    let expression = ("[abcd]", operator, prop::collection::vec("[wxyz]", 0..3))
        .prop_map(|(key, operator, values)| Expression { key, operator, values });
    (prop::collection::btree_map("[abcd]", "[wxyz]", 0..2), prop::collection::vec(expression, 0..3))
        .prop_map(|(match_labels, match_expressions)| Selector { match_labels, match_expressions })
}

proptest! {
    #[test]
    fn the_index_equals_the_naive_evaluation(
        clusters in prop::collection::vec(labels(), 0..30),
        gone in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        selector in selector(),
    ) {
        let mut left: BTreeMap<u32, _> = (0..).zip(clusters).collect();
        let mut index: Index = left.iter().map(|(number, labels)| (*number, labels)).collect();
        for pick in gone {
            if left.is_empty() {
                break;
            }
            let number = *left.keys().nth(pick.index(left.len())).unwrap_or(&0);
            if let Some(labels) = left.remove(&number) {
                index.remove(number, &labels);
            }
        }
        let naive: RoaringBitmap = left
            .iter()
            .filter(|(_, labels)| selector.matches(labels))
            .map(|(number, _)| *number)
            .collect();
        prop_assert_eq!(index.select(&selector), naive);
        // Nothing of what was removed is left behind.
        prop_assert_eq!(index, left.iter().map(|(number, labels)| (*number, labels)).collect());
    }
}

#[test]
fn semantics_are_those_of_kubernetes() {
    let labels: BTreeMap<String, String> = [("tier".to_owned(), "edge".to_owned())].into();
    let one = |key: &str, operator, values: &[&str]| Selector {
        match_expressions: vec![Expression {
            key: key.into(),
            operator,
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        }],
        ..Selector::default()
    };
    assert!(Selector::default().matches(&labels));
    assert!(one("tier", Operator::In, &["core", "edge"]).matches(&labels));
    assert!(!one("tier", Operator::NotIn, &["edge"]).matches(&labels));
    assert!(one("zone", Operator::NotIn, &["a"]).matches(&labels), "NotIn matches what is absent");
    assert!(one("zone", Operator::DoesNotExist, &[]).matches(&labels));
    assert!(one("tier", Operator::In, &[]).check().is_err());
    assert!(one("tier", Operator::Exists, &["x"]).check().is_err());
    assert!(one("a b", Operator::Exists, &[]).check().is_err());
    assert!(one("example.com/tier", Operator::In, &["edge_1.x"]).check().is_ok());
}
