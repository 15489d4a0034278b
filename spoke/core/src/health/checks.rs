//! Health checks of one bundle, compiled.

use proto_model::health_check::{BadExpression, Expression};
use proto_model::report::cut;
use proto_model::{GroupKind, HealthCheck};
use serde_json::Value as Json;

use super::Assessment;
use crate::port::Depth;

/// The checks of one bundle: of those that select an object the first counts.
#[derive(Debug, Default)]
pub struct Checks {
    written: Vec<HealthCheck>,
    all: Vec<Check>,
}

/// One check, compiled.
#[derive(Debug)]
pub(super) struct Check {
    written: HealthCheck,
    healthy: Result<Expression, BadExpression>,
    degraded: Option<Result<Expression, BadExpression>>,
}

impl Checks {
    /// Compiles checks. One that does not compile keeps what it selects Progressing, and says why: the hub compiles
    /// them before it sends them, so that only a hub of another version can cause it.
    #[must_use]
    pub fn of(written: &[HealthCheck]) -> Self {
        let compile = |check: &HealthCheck| Check {
            written: check.clone(),
            healthy: Expression::compile(&check.healthy),
            degraded: check.degraded.as_deref().map(Expression::compile),
        };
        Self { written: written.to_vec(), all: written.iter().map(compile).collect() }
    }

    /// What they were compiled from.
    #[must_use]
    pub fn written(&self) -> &[HealthCheck] {
        &self.written
    }

    /// How much of a kind must be watched: whole objects where a check may be about them, too.
    #[must_use]
    pub fn depth(&self, kind: &GroupKind) -> Depth {
        if self.concern(kind) { Depth::Whole } else { super::depth(kind) }
    }

    /// Whether some check may be about objects of a kind.
    #[must_use]
    pub fn concern(&self, kind: &GroupKind) -> bool {
        self.written.iter().any(|check| check.concerns(kind))
    }

    /// The check that tells the health of an object.
    pub(super) fn of_object(&self, kind: &GroupKind, object: &Json) -> Option<&Check> {
        self.all.iter().find(|check| check.written.selects(kind, object))
    }
}

impl Check {
    /// What the check says. Whatever goes wrong is said, and counts as not there yet.
    pub(super) fn assess(&self, object: &Json) -> Assessment {
        let title = &self.written.title;
        let ask = |field: &str, expression: &Result<Expression, BadExpression>| match expression {
            Ok(expression) => expression.holds(object).map_err(|error| format!("{title}: `{field}`: {error}")),
            Err(error) => Err(format!("{title}: `{field}` {error}; upgrade the spoke")),
        };
        let degraded = self.degraded.as_ref().map_or(Ok(false), |one| ask("degraded", one));
        match (degraded, ask("healthy", &self.healthy)) {
            (Ok(true), _) => Assessment::degraded(cut(&format!("{title}: `degraded` holds"))),
            (Ok(false), Ok(true)) => Assessment::healthy(),
            (Ok(false), Ok(false)) => Assessment::progressing(cut(&format!("{title}: `healthy` does not hold yet"))),
            (Err(said), _) | (Ok(false), Err(said)) => Assessment::progressing(cut(&said)),
        }
    }
}
