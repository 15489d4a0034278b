//! Secrets written as plain text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json};

/// Turns `stringData` of a Secret into `data`, as the API server would: there only `data` is kept,
/// so only of `data` can be seen that somebody changed it. What the server would refuse is left for
/// it to refuse.
pub(crate) fn encode(manifest: &mut Json) {
    let is_secret = manifest.get("apiVersion").is_some_and(|version| version == "v1")
        && manifest.get("kind").is_some_and(|kind| kind == "Secret");
    let Some(secret) = manifest.as_object_mut().filter(|_| is_secret) else {
        return;
    };
    let Some(Json::Object(plain)) = secret.get("stringData") else {
        return;
    };
    let is_text = |value: &Json| value.is_string() || value.is_null();
    let is_map = secret.get("data").is_none_or(|data| data.is_object() || data.is_null());
    if !is_map || !plain.values().all(is_text) {
        return;
    }
    let encoded: Vec<(String, Json)> =
        plain.iter().filter_map(|(key, value)| Some((key.clone(), STANDARD.encode(value.as_str()?).into()))).collect();
    secret.remove("stringData");
    if encoded.is_empty() {
        return;
    }
    let data = secret.entry("data").or_insert(Json::Null);
    if data.is_null() {
        *data = Json::Object(Map::new());
    }
    if let Some(data) = data.as_object_mut() {
        data.extend(encoded);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn encoded(mut manifest: Json) -> Json {
        encode(&mut manifest);
        manifest
    }

    #[test]
    fn plain_text_becomes_data_and_wins() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "b2xk", "b": "a2VwdA=="},
            "stringData": {"a": "new", "c": "ü", "none": null}});
        let wanted = json!({"apiVersion": "v1", "kind": "Secret",
            "data": {"a": "bmV3", "b": "a2VwdA==", "c": "w7w="}});
        assert_eq!(encoded(secret), wanted);
        let bare = json!({"apiVersion": "v1", "kind": "Secret", "data": null, "stringData": {"a": ""}});
        assert_eq!(encoded(bare)["data"], json!({"a": ""}));
    }

    #[test]
    fn everything_else_is_left() {
        for manifest in [
            json!({"apiVersion": "v1", "kind": "ConfigMap", "stringData": {"a": "x"}}),
            json!({"apiVersion": "example.com/v1", "kind": "Secret", "stringData": {"a": "x"}}),
            json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"a": 1}}),
            json!({"apiVersion": "v1", "kind": "Secret", "stringData": ["a"]}),
            json!({"apiVersion": "v1", "kind": "Secret", "data": [], "stringData": {"a": "x"}}),
            json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "eA=="}}),
            json!("Secret"),
        ] {
            assert_eq!(encoded(manifest.clone()), manifest);
        }
    }
}
