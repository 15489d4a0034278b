//! From what an API server answers to why a request failed.

use proto_model::limits;
use serde_json::Value as Json;
use spoke_core::port::{Failure, Reason};

use crate::text;

/// What a request is about, for messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    /// As RBAC names it: `get`, `list`, `patch`, …
    pub(crate) verb: &'static str,
    /// `deployments.apps`.
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Subject {
    fn shown(&self) -> String {
        let place = match (self.namespace.is_empty(), self.name.is_empty()) {
            (true, _) => self.name.clone(),
            (false, true) => format!("in {}", self.namespace),
            (false, false) => format!("{}/{}", self.namespace, self.name),
        };
        format!("{} {} {place}", self.verb, self.resource).trim_end().to_owned()
    }
}

/// An answer that is no success.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Refusal {
    /// HTTP status code.
    pub(crate) code: u16,
    /// The `Status` in the body; `Null` where there is none.
    pub(crate) status: Json,
    /// `Retry-After` of the answer, in seconds.
    pub(crate) retry_after_secs: Option<u64>,
}

impl Refusal {
    fn message(&self) -> &str {
        self.status["message"].as_str().unwrap_or_default()
    }

    fn causes(&self) -> impl Iterator<Item = &Json> {
        self.status["details"]["causes"].as_array().into_iter().flatten()
    }

    /// Whether the thing that was named is missing, rather than its kind or namespace.
    pub(crate) fn is_missing_object(&self, subject: &Subject) -> bool {
        let details = &self.status["details"];
        let group = details["group"].as_str().unwrap_or_default();
        let plural = details["kind"].as_str().unwrap_or_default();
        let named = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        self.code == 404
            && details["name"] == subject.name.as_str()
            && !subject.name.is_empty()
            && named == subject.resource
    }
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Error {
    /// The server answered.
    Refused(Refusal),
    /// It did not, or not with anything that can be read.
    Failed(Failure),
}

impl Error {
    /// As the port has it.
    pub(crate) fn failure(self, subject: &Subject) -> Failure {
        match self {
            Self::Refused(refusal) => failure(subject, &refusal),
            Self::Failed(mut failure) => {
                failure.message = text::cut(format!("{}: {}", subject.shown(), failure.message));
                failure
            }
        }
    }

    /// Whether the thing that was named is missing.
    pub(crate) fn is_missing_object(&self, subject: &Subject) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.is_missing_object(subject))
    }

    /// Whether the server answered with this code.
    pub(crate) fn is_code(&self, code: u16) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == code)
    }
}

/// Maps an answer.
pub(crate) fn failure(subject: &Subject, refusal: &Refusal) -> Failure {
    let reason = reason(subject, refusal);
    let secs = refusal.status["details"]["retryAfterSeconds"].as_u64();
    let secs = refusal.retry_after_secs.or(secs.filter(|secs| *secs > 0));
    Failure {
        reason,
        message: text::cut(format!("{}: {}", subject.shown(), text::in_one_line(&said(subject, refusal)))),
        retry_after_millis: secs.map(|secs| secs.saturating_mul(1000).min(limits::RETRY_AFTER_MILLIS_MAX)),
    }
}

fn reason(subject: &Subject, refusal: &Refusal) -> Reason {
    let message = refusal.message();
    let has = |part: &str| message.contains(part);
    if refusal.causes().any(|cause| cause["reason"] == "NamespaceTerminating") {
        return Reason::Terminating;
    }
    match refusal.code {
        401 => Reason::Unauthorized,
        403 if has("exceeded quota") || has("status unknown for quota") => Reason::Quota,
        403 => Reason::Forbidden,
        404 if is_namespace_missing(subject, refusal) => Reason::NoSuchNamespace,
        404 => Reason::NoSuchKind,
        // A definition that is going away takes no new objects.
        405 if has("terminating") => Reason::Terminating,
        409 | 412 => Reason::Conflict,
        429 => Reason::Throttled,
        // A webhook that can't be asked without side effects says nothing about the object.
        400 if has("does not support dry run") => Reason::Webhook,
        500.. if has("failed calling webhook") || has("failed calling admission webhook") => Reason::Webhook,
        // The server can't read the manifest at all, and says so as an error of its own.
        500 if has("failed to create typed patch object") || has("failed to convert new object") => Reason::Invalid,
        408 | 410 | 500.. => Reason::Server,
        400.. => Reason::Invalid,
        _ => Reason::Server,
    }
}

fn is_namespace_missing(subject: &Subject, refusal: &Refusal) -> bool {
    let details = &refusal.status["details"];
    !subject.namespace.is_empty() && details["kind"] == "namespaces" && details["name"] == subject.namespace.as_str()
}

/// What the server said, without object content.
fn said(subject: &Subject, refusal: &Refusal) -> String {
    let secret = subject.resource == "secrets";
    let causes: Vec<String> = refusal
        .causes()
        .filter_map(|cause| {
            let field = cause["field"].as_str().filter(|field| !field.is_empty())?;
            let message = cause["message"].as_str().unwrap_or_default();
            let message = text::without_value(message);
            // Keys of a Secret's data are no secret, details of its values may be.
            let shown = if secret { message.split(": ").next().unwrap_or_default() } else { &message };
            Some(format!("{field}: {shown}"))
        })
        .collect();
    if refusal.code == 422 && !causes.is_empty() {
        return causes.join("; ");
    }
    // This one names a field, and its value only after what is cut off.
    let typed = refusal.message().starts_with("failed to create typed patch object");
    // Without the place in the value, which this would end with.
    if secret && refusal.message().contains("illegal base64 data") {
        return "data: illegal base64 data; encode it, or put the text under stringData".into();
    }
    if secret && !typed && matches!(refusal.code, 400 | 422 | 500) {
        return format!("refused with status {}", refusal.code);
    }
    match text::without_excerpt(refusal.message()) {
        "" => format!("answered with status {}", refusal.code),
        message => message.to_owned(),
    }
}

/// No answer.
pub(crate) fn unreachable(why: &dyn std::fmt::Display) -> Error {
    Error::Failed(Failure {
        reason: Reason::Unreachable,
        message: format!("the API server does not answer: {why}"),
        retry_after_millis: None,
    })
}

/// A failure of our own making.
pub(crate) fn plain(reason: Reason, message: impl Into<String>) -> Failure {
    Failure { reason, message: text::cut(message.into()), retry_after_millis: None }
}

/// Maps an error of kube's client.
pub(crate) fn of_client(error: &kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => Error::Refused(Refusal {
            code: status.code,
            status: serde_json::to_value(status.as_ref()).unwrap_or_default(),
            retry_after_secs: None,
        }),
        kube::Error::SerdeError(_) => Error::Failed(plain(Reason::Server, "the API server's answer can't be read")),
        other => unreachable(&Chain(other)),
    }
}

/// An error with its causes, which say what the outermost leaves out.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        let mut last = self.0.to_string();
        while let Some(error) = next {
            let text = error.to_string();
            if !last.contains(&text) {
                write!(f, ": {text}")?;
            }
            last = text;
            next = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn subject() -> Subject {
        Subject { verb: "patch", resource: "configmaps".into(), namespace: "shop".into(), name: "x".into() }
    }

    fn of(code: u16, status: Json) -> Failure {
        failure(&subject(), &Refusal { code, status, retry_after_secs: None })
    }

    #[test]
    fn answers_map_to_reasons() {
        let namespace =
            json!({"message": "namespaces \"shop\" not found", "details": {"kind": "namespaces", "name": "shop"}});
        let gone = json!({"message": "the server could not find the requested resource", "details": {}});
        let terminating = json!({"message": "forbidden", "details": {"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]}});
        for (code, status, wanted) in [
            (404, namespace, Reason::NoSuchNamespace),
            (404, gone, Reason::NoSuchKind),
            (404, Json::Null, Reason::NoSuchKind),
            (403, terminating, Reason::Terminating),
            (403, json!({"message": "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1"}), Reason::Quota),
            (403, json!({"message": "User \"u\" cannot patch"}), Reason::Forbidden),
            (409, json!({"message": "Precondition failed"}), Reason::Conflict),
            (422, json!({"message": "invalid"}), Reason::Invalid),
            (400, json!({"message": "bad"}), Reason::Invalid),
            (400, json!({"message": "admission webhook \"w\" does not support dry run"}), Reason::Webhook),
            (
                500,
                json!({"message": "Internal error occurred: failed calling webhook \"w\": timeout"}),
                Reason::Webhook,
            ),
            (
                500,
                json!({"message": "failed to create typed patch object (a/b; v1, Kind=C): .x: field not declared in schema"}),
                Reason::Invalid,
            ),
            (
                500,
                json!({"message": "failed to convert new object (a/b; /v1, Kind=C) to proper version: illegal base64 data at input byte 4"}),
                Reason::Invalid,
            ),
            (500, json!({"message": "etcdserver: request timed out"}), Reason::Server),
            (503, Json::Null, Reason::Server),
            (401, Json::Null, Reason::Unauthorized),
            (429, Json::Null, Reason::Throttled),
        ] {
            assert_eq!(of(code, status.clone()).reason, wanted, "{code} {status}");
        }
    }

    #[test]
    fn a_missing_object_is_told_from_its_missing_namespace() {
        let status = json!({"details": {"kind": "configmaps", "name": "x"}});
        assert!(Refusal { code: 404, status, retry_after_secs: None }.is_missing_object(&subject()));
        let status = json!({"details": {"kind": "namespaces", "name": "shop"}});
        assert!(!Refusal { code: 404, status, retry_after_secs: None }.is_missing_object(&subject()));
    }

    #[test]
    fn fields_are_named_and_values_are_not() {
        let causes = json!({"message": "ConfigMap \"x\" is invalid: data[a]: Invalid value: \"s3cret\": bad", "details": {"causes": [
            {"reason": "FieldValueInvalid", "field": "data[a]", "message": "Invalid value: \"s3cret\": bad"}]}});
        assert_eq!(of(422, causes).message, "patch configmaps shop/x: data[a]: Invalid value: bad");
        let plain = json!({"message": "Secret in version \"v1\" cannot be handled: s3cret"});
        let secret = Subject { resource: "secrets".into(), ..subject() };
        let failure = failure(&secret, &Refusal { code: 400, status: plain, retry_after_secs: None });
        assert_eq!(failure.message, "patch secrets shop/x: refused with status 400");
    }

    #[test]
    fn a_wait_that_was_asked_for_is_kept_and_bounded() {
        let refusal = Refusal { code: 429, status: Json::Null, retry_after_secs: Some(2) };
        assert_eq!(failure(&subject(), &refusal).retry_after_millis, Some(2_000));
        let refusal = Refusal { retry_after_secs: Some(u64::MAX), ..refusal };
        assert_eq!(failure(&subject(), &refusal).retry_after_millis, Some(limits::RETRY_AFTER_MILLIS_MAX));
    }
}
