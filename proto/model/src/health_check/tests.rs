//! What an expression may say, what it gives, and that none can crash or hang.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::json;

use super::*;
use crate::limits;

fn ready(status: &str) -> Json {
    json!({
        "apiVersion": "example.com/v1", "kind": "Database",
        "metadata": {"name": "main", "labels": {"tier": "edge"}},
        "spec": {"replicas": 3},
        "status": {"readyReplicas": 2, "phase": "Running", "load": 0.5, "conditions": [
            {"type": "Synced", "status": "True"}, {"type": "Ready", "status": status},
        ]},
    })
}

#[track_caller]
fn holds(text: &str) -> Result<bool, EvaluationError> {
    Expression::compile(text).unwrap().holds(&ready("True"))
}

#[test]
fn expressions_hold_or_not() {
    for text in [
        "true",
        "object.status.conditions.exists(c, c.type == 'Ready' && c.status == 'True')",
        "object.status.conditions.filter(e, e.type == 'Ready').all(e, e.status == 'True')",
        "object.status.conditions.map(e, e.type) == ['Synced', 'Ready']",
        "object.status.conditions.map(e, e.status == 'True', e.type).size() == 2",
        "object.status.conditions.exists_one(e, e.type == 'Ready')",
        "object.spec.replicas - object.status.readyReplicas <= 1",
        "has(object.status) && !has(object.status.error)",
        "object.status.phase in ['Running', 'Ready']",
        "object.status.phase.startsWith('Run') && object.status.phase.contains('nn')",
        "size(object.metadata.labels) == 1 && object.metadata.labels['tier'] == 'edge'",
        "object.status.load < 1.0 && type(object.spec.replicas) == int",
        "has(object.status.observed) ? object.status.observed == 2 : true",
        "int('3') == object.spec.replicas && string(object.spec.replicas) == '3'",
        "object.status.conditions[1].type.endsWith('y')",
        "object.status.readyReplicas + 1 >= object.spec.replicas",
    ] {
        assert_eq!(holds(text), Ok(true), "{text}");
        assert_eq!(holds(&format!("!({text})")), Ok(false), "{text}");
    }
}

#[test]
fn what_is_no_expression_is_told_when_it_is_read() {
    for (text, said) in [
        ("", "is no CEL"),
        ("object.status.", "is no CEL: column"),
        ("objct.status", "names \"objct\", and there is only `object`"),
        ("object.x.all(y, z)", "names \"z\""),
        ("now() > 1", "calls \"now\", which is not known here; known are bool, contains"),
        ("object.name.matches('a+')", "calls \"matches\""),
        ("optional.of(1) == 1", "names \"optional\"|calls \"optional.of\"|calls \"of\""),
        ("google.protobuf.Duration{}", "no such type"),
        ("'yes'", "gives no boolean"),
        ("[true]", "gives no boolean"),
    ] {
        let error = Expression::compile(text).unwrap_err().to_string();
        assert!(said.split('|').any(|said| error.contains(said)), "{text}: {error}");
    }
    let long = format!("'{}' == ''", "x".repeat(limits::HEALTH_EXPRESSION_BYTES_MAX));
    assert!(matches!(Expression::compile(&long), Err(BadExpression::TooLong(_))));
}

#[test]
fn errors_name_fields_and_never_content() {
    assert_eq!(holds("object.status.error == ''").unwrap_err().to_string(), "there is no field \"error\"");
    // The key comes from the object.
    assert_eq!(holds("object.spec[object.status.phase] == 1").unwrap_err().to_string(), "a key is not there");
    assert_eq!(holds("object.status.phase"), Err(EvaluationError::NoBoolean));
    for text in ["object.status.phase > 3", "object.status.phase.all(x, true)", "object.status.conditions[9] == 1"] {
        let said = holds(text).unwrap_err().to_string();
        assert!(!said.contains("Running"), "{text}: {said}");
    }
}

#[test]
fn loops_end_at_a_stated_limit() {
    let items = format!("[{}]", vec!["1"; 80].join(","));
    let nested = |inner: &str, each: &str| {
        (0..2).fold(inner.to_owned(), |inner, n| each.replace('#', &n.to_string()).replace("INNER", &inner))
    };
    for each in [
        format!("{items}.all(x#, INNER)"),
        format!("!{items}.exists(x#, !(INNER))"),
        format!("{items}.map(x#, INNER).size() > 0"),
        format!("{items}.filter(x#, INNER).size() > 0"),
        format!("!{items}.exists_one(x#, INNER)"),
        format!("{items}.map(x#, INNER, 1).size() > 0"),
    ] {
        let text = nested("true", &each);
        assert_eq!(Expression::compile(&text).unwrap().holds(&json!({})), Err(EvaluationError::TooManySteps), "{text}");
        // Nor may an operator pass over that.
        let text = format!("{text} || true");
        assert_eq!(Expression::compile(&text).unwrap().holds(&json!({})), Err(EvaluationError::TooManySteps));
    }
    let long = json!({"items": vec![1; limits::HEALTH_STEPS_MAX - 1]});
    let holds = |text: &str, object| Expression::compile(text).unwrap().holds(object);
    assert_eq!(holds("object.items.all(x, x == 1)", &long), Ok(true));
    let too_long = json!({"items": vec![1; limits::HEALTH_STEPS_MAX + 1]});
    assert_eq!(holds("object.items.all(x, x == 1)", &too_long), Err(EvaluationError::TooManySteps));
    // Each step may look at the whole object, so that a large one leaves fewer.
    let large = json!({"items": vec![1; 1_000], "text": "x".repeat(1_000_000)});
    let compared = "object.items.all(x, object.text != 'y')";
    assert_eq!(holds(compared, &large), Err(EvaluationError::TooManySteps));
    assert_eq!(holds("object.items.all(x, x == 1)", &json!({"items": vec![1; 1_000]})), Ok(true));
}

#[test]
fn what_is_put_together_ends_at_a_stated_limit() {
    let large = json!({"keys": vec![1; 100], "text": "x".repeat(limits::HEALTH_MADE_BYTES_MAX / 8)});
    let holds = |text: &str| Expression::compile(text).unwrap().holds(&large);
    assert_eq!(holds("size(object.text + 'y') > 1 && object.keys.map(k, k + 1).size() == 100"), Ok(true));
    assert_eq!(holds("[1] + [2] == [1, 2] && 1 + 2 == 3 && 'a' + 'b' == 'ab' && 1.0 + 0.5 == 1.5"), Ok(true));
    for text in [
        "object.keys.map(k, object.text + object.text).size() > 0",
        "size(object.text + object.text + object.text + object.text + object.text) > 0",
        "object.keys.map(k, object.keys.map(i, object.text) + object.keys.map(i, object.text)).size() > 0",
    ] {
        assert_eq!(holds(text), Err(EvaluationError::TooMuchMade), "{text}");
        assert_eq!(holds(&format!("{text} || true")), Err(EvaluationError::TooMuchMade), "{text}");
    }
}

#[test]
fn nesting_of_any_kind_ends_at_a_stated_limit() {
    let many = limits::HEALTH_EXPRESSION_BYTES_MAX;
    let deepest = limits::HEALTH_EXPRESSION_DEPTH_MAX;
    let of = |n: usize| {
        [
            (0..n).fold("true".to_owned(), |inner, n| format!("[1,2].all(x{n}, {inner})")),
            format!("{}true{}", "(".repeat(n), ")".repeat(n)),
            format!("{}1 == 1", "1+".repeat(n)),
            format!("{}1{} == 1", "[".repeat(n), "]".repeat(n)),
            format!("{}1{} == 1", "{1:".repeat(n), "}".repeat(n)),
            format!("{}true{}", "(true ? ".repeat(n), " : true)".repeat(n)),
            format!("{}true{}", "!(".repeat(n), ")".repeat(n)),
            format!("{}1{} == 1", "int(".repeat(n), ")".repeat(n)),
        ]
    };
    let deep: Vec<String> = (1..=deepest).flat_map(of).collect();
    let texts = [
        format!("{}true{}", "(".repeat(many / 2 - 4), ")".repeat(many / 2 - 4)),
        format!("{}true", "!".repeat(many - 4)),
        format!("{}1 == 1", "-".repeat(many - 8)),
        format!("{}{}", "[".repeat(many / 2), "]".repeat(many / 2)),
        "(".repeat(many),
        format!("object{}", ".a".repeat(many / 2 - 4)),
        format!("object{}", "[0]".repeat(many / 3 - 4)),
        format!("1{} == 1", "+1".repeat(many / 2 - 4)),
        format!("true{}", " ? true : true".repeat(many / 14 - 1)),
        format!("true{}", " ? 1 ".repeat(many / 5 - 1)),
        format!("true{}", "&&true".repeat(many / 6 - 1)),
        format!("true{}", "==true".repeat(many / 6 - 1)),
        format!("object.a{}", ".all(x,true)".repeat(many / 12 - 1)),
        format!("{}1{}", "{1:".repeat(many / 4), "}".repeat(many / 4)),
        "a,".repeat(many / 2),
        "\u{fffd}".repeat(many / 3),
        "'".repeat(many),
        "\"\\".repeat(many / 2),
        "0x".repeat(many / 2),
        "`".repeat(many),
    ];
    // On three quarters of the stack of a runtime's threads.
    let small = std::thread::Builder::new().stack_size(1536 * 1024);
    let run = small.spawn(move || {
        for text in deep.into_iter().chain(texts) {
            if let Ok(expression) = Expression::compile(&text) {
                let _ = expression.holds(&json!({"a": [1]}));
            }
        }
    });
    assert!(run.unwrap().join().is_ok());
}

#[test]
fn a_check_selects_by_version_kind_name_and_labels() {
    let rule = |key: &str, is| LabelRule { key: key.into(), is };
    let check = HealthCheck {
        api_version: "example.com/v1".into(),
        kind: "Database".into(),
        names: vec!["other".into(), "m*n".into()],
        labels: vec![
            rule("tier", LabelTest::In(vec!["edge".into()])),
            rule("tier", LabelTest::NotIn(vec!["core".into()])),
            rule("tier", LabelTest::Exists),
            rule("old", LabelTest::DoesNotExist),
        ],
        ..HealthCheck::default()
    };
    let with = |pointer: &str, value: &str| {
        let mut object = ready("True");
        *object.pointer_mut(pointer).unwrap() = value.into();
        object
    };
    let kind = GroupKind::of("example.com/v9", "Database");
    let selects = |object: &Json| check.selects(&kind, object);
    assert!(selects(&ready("True")) && check.may_select(&ready("True")));
    assert!(selects(&with("/apiVersion", "example.com/v2")), "a cluster shows objects at any version");
    assert!(!check.may_select(&with("/apiVersion", "example.com/v2")));
    assert!(!check.may_select(&with("/kind", "Table")));
    assert!(!check.selects(&GroupKind::of("example.com/v1", "Table"), &ready("True")));
    assert!(!selects(&with("/metadata/name", "x")) && !check.may_select(&with("/metadata/name", "x")));
    assert!(!selects(&with("/metadata/labels/tier", "core")));
    assert!(
        !selects(&with("/metadata/name", "x-${tenant}")) && check.may_select(&with("/metadata/name", "x-${tenant}"))
    );
    assert!(check.may_select(&with("/metadata/labels/tier", "${tier}")));
}

#[test]
fn globs() {
    for (glob, name, is) in [
        ("*", "", true),
        ("a*", "a", true),
        ("*a", "bba", true),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("a*b*c", "axxbyyc", true),
        ("a*b*c", "axxbyy", false),
        ("", "", true),
        ("", "a", false),
        ("**", "a", true),
    ] {
        assert_eq!(glob_matches(glob, name), is, "{glob} {name}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_read(text in "[a-c.()\\[\\]{}'?:&|!+<=,0-9 \\n\"\\\\-]{0,60}") {
        if let Ok(expression) = Expression::compile(&text) {
            let _ = expression.holds(&serde_json::json!({"a": 1}));
        }
    }
}
