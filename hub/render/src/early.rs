//! Variables that the rendering itself needs, bound before a program sees its input. Values go in
//! after parsing, so that none can become syntax.

use hub_core::release::early::{self, Listed};
use hub_core::yaml;
use proto_model::Variables;
use proto_model::bind::CLUSTER;
use proto_model::variant::Binds;
use serde_json::Value as Json;

/// The early variables of one rendering.
pub(crate) struct Early<'a> {
    variables: &'a Variables,
    listed: Listed,
}

impl<'a> Early<'a> {
    pub(crate) fn of(variables: &'a Variables) -> Self {
        let listed = |name: &String| match name.split_once('.') {
            Some((CLUSTER, _)) => CLUSTER.to_owned(),
            _ => name.clone(),
        };
        Self { variables, listed: variables.0.keys().map(|name| (listed(name), Binds::default())).collect() }
    }

    /// Whether a file may name one of them: most do not, and stay as they are, byte for byte.
    pub(crate) fn may_be_in(&self, bytes: &[u8]) -> bool {
        !self.listed.is_empty() && bytes.windows(2).any(|two| two == b"${")
    }

    /// Binds everything in a value.
    ///
    /// # Errors
    /// Where something is wrong, and what.
    pub(crate) fn json(&self, value: &Json) -> Result<Json, String> {
        early::bind(value, self.variables, &self.listed)
    }

    /// Binds everything in a text.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn text(&self, text: &str) -> Result<String, String> {
        early::bind_text(text, self.variables, &self.listed)
    }

    /// Binds the literals of a kustomization's generators.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn generators(&self, kustomization: &Json) -> Result<Json, String> {
        early::bind_generators(kustomization, self.variables, &self.listed)
    }

    /// Binds the values of a file of Helm values. JSON is YAML, so that is what comes out.
    ///
    /// # Errors
    /// Line, and what is wrong there.
    pub(crate) fn values_file(&self, bytes: &[u8]) -> Result<Vec<u8>, (u32, String)> {
        let documents = yaml::read(bytes).map_err(|error| (error.line, error.message))?;
        // Helm reads the first one.
        let Some(first) = documents.first() else { return Ok(bytes.to_vec()) };
        let bound = self.json(&first.root.to_json()).map_err(|why| {
            let pointer = why.split(": ").next().unwrap_or_default();
            let steps: Vec<String> =
                pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
            (first.root.line_at(steps.iter().map(String::as_str)), why)
        })?;
        Ok(bound.to_string().into_bytes())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use serde_json::json;

    fn variables(list: &[(&str, &str)]) -> Variables {
        let text = |value: &str| proto_model::Value::Text(value.to_owned());
        Variables(list.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect())
    }

    #[test]
    fn only_the_names_at_hand_are_bound() {
        let variables = variables(&[("n", "3"), ("cluster.name", "edge")]);
        let early = Early::of(&variables);
        let bound = early.json(&json!({"a": "${n|int}", "metadata": {"name": "x-${cluster.name}-${other}"}})).unwrap();
        assert_eq!(bound, json!({"a": 3, "metadata": {"name": "x-edge-${other}"}}));
        assert_eq!(early.text("a ${n} b").unwrap(), "a 3 b");
    }

    #[test]
    fn a_value_never_becomes_syntax() {
        let variables = variables(&[("n", "x\nadmin: true")]);
        let early = Early::of(&variables);
        let bound = early.values_file(b"a: ${n}\n").unwrap();
        assert_eq!(serde_json::from_slice::<Json>(&bound).unwrap(), json!({"a": "x\nadmin: true"}));
    }

    #[test]
    fn what_is_wrong_has_a_line() {
        let variables = variables(&[("n", "x")]);
        let (line, why) = Early::of(&variables).values_file(b"a:\n  b: 1\n  c: ${n|int}\n").unwrap_err();
        assert!(line == 3 && why.contains("/a/c"), "{line}: {why}");
    }
}
