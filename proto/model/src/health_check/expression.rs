//! CEL within bounds: what may be written, how deep it nests, and how many steps its loops take.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators};
use cel::common::types::CelBool;
use cel::parser::Parser;
use cel::{Context, Env, ExecutionError, IdedExpr, Value};
use serde_json::Value as Json;

use super::value;
use crate::limits;

/// The variable that an expression is over.
const OBJECT: &str = "object";
/// Called before each step of a loop; no text can name it.
const STEP: &str = "@step";
/// What `+` becomes, so that what it makes counts; no text can name it.
const ADD: &str = "@add";
/// Functions that may be called, beside operators and the macros `has`, `all`, `exists`,
/// `exists_one`, `map` and `filter`.
const FUNCTIONS: [&str; 11] =
    ["bool", "contains", "double", "dyn", "endsWith", "int", "size", "startsWith", "string", "type", "uint"];
/// Types that may be named.
const TYPES: [&str; 10] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A CEL expression over `object` that gives a boolean.
#[derive(Clone, Debug)]
pub struct Expression {
    root: IdedExpr,
    /// What was written, to tell its words from those of an object.
    text: String,
}

/// Why a text is no expression. It names what is written, never an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadExpression {
    /// Over [`limits::HEALTH_EXPRESSION_BYTES_MAX`].
    #[error("is {0} bytes, more than {max}; write it shorter", max = limits::HEALTH_EXPRESSION_BYTES_MAX)]
    TooLong(usize),
    /// Over [`limits::HEALTH_EXPRESSION_DEPTH_MAX`].
    #[error("nests deeper than {max} levels; write it flatter", max = limits::HEALTH_EXPRESSION_DEPTH_MAX)]
    TooDeep,
    /// It can't be read.
    #[error("is no CEL: {0}")]
    Syntax(String),
    /// It names what is not there.
    #[error("names {0:?}, and there is only `object`")]
    Unknown(String),
    /// It calls what is not there.
    #[error("calls {0:?}, which is not known here; known are {known}", known = FUNCTIONS.join(", "))]
    UnknownFunction(String),
    /// It makes a message, of which there are none.
    #[error("makes a {0:?}, and no such type is known here")]
    UnknownType(String),
    /// It can give no boolean.
    #[error("gives no boolean; compare it with something")]
    NoBoolean,
}

/// Why an expression gave nothing. It names words of the expression, never content of an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// Over [`limits::HEALTH_STEPS_MAX`].
    #[error("takes more than {max} steps", max = limits::HEALTH_STEPS_MAX)]
    TooManySteps,
    /// Over [`limits::HEALTH_MADE_BYTES_MAX`].
    #[error("puts together more than {max} bytes of texts and lists", max = limits::HEALTH_MADE_BYTES_MAX)]
    TooMuchMade,
    /// It gave something else.
    #[error("gave no boolean")]
    NoBoolean,
    /// A field that the expression names is not there.
    #[error("there is no field {0:?}")]
    NoField(String),
    /// A value is of another type than the expression takes it for, or out of bounds.
    #[error("{0}")]
    Misfit(&'static str),
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// Why it can't be one.
    pub fn compile(text: &str) -> Result<Self, BadExpression> {
        if text.len() > limits::HEALTH_EXPRESSION_BYTES_MAX {
            return Err(BadExpression::TooLong(text.len()));
        }
        check_nesting(text)?;
        // The parser is another's, and what it reads is anybody's.
        let parsed = std::panic::catch_unwind(|| {
            Parser::default().max_recursion_depth(limits::HEALTH_EXPRESSION_DEPTH_MAX as u16).parse(text)
        });
        let mut root = match parsed {
            Ok(Ok(root)) => root,
            Ok(Err(errors)) => {
                let first = errors.errors.first().map(|error| format!("column {}: {}", error.pos.1 + 1, error.msg));
                return Err(BadExpression::Syntax(first.unwrap_or_else(|| "it can't be read".into())));
            }
            Err(_) => return Err(BadExpression::Syntax("it can't be read".into())),
        };
        prepare(&mut root, limits::HEALTH_EXPRESSION_DEPTH_MAX, &mut vec![OBJECT.to_owned()])?;
        match &root.expr {
            Expr::List(_) | Expr::Map(_) => return Err(BadExpression::NoBoolean),
            Expr::Literal(literal) if !matches!(literal, LiteralValue::Boolean(_)) => {
                return Err(BadExpression::NoBoolean);
            }
            _ => {}
        }
        Ok(Self { root, text: text.to_owned() })
    }

    /// Whether it holds of an object.
    ///
    /// # Errors
    /// It gives nothing for this object, or takes too long.
    pub fn holds(&self, object: &Json) -> Result<bool, EvaluationError> {
        // A step may look at all of the object, so that a large one leaves fewer of them.
        let steps = (limits::HEALTH_WORK_BYTES_MAX / value::bytes(object).max(1)).min(limits::HEALTH_STEPS_MAX);
        let left = Arc::new(AtomicUsize::new(steps));
        let made = Arc::new(AtomicUsize::new(limits::HEALTH_MADE_BYTES_MAX));
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        let steps = Arc::clone(&left);
        let step =
            move || take(&steps, 1).ok_or_else(|| ExecutionError::function_error(STEP, "too many")).map(|()| true);
        let (room, steps) = (Arc::clone(&made), Arc::clone(&left));
        let add = move |one: Value, other: Value| {
            if take(&room, length(&one) + length(&other)).is_none() {
                // Whatever passes over this error, the next step does not.
                room.store(0, Ordering::Relaxed);
                steps.store(0, Ordering::Relaxed);
                return Err(ExecutionError::function_error(ADD, "too much"));
            }
            one + other
        };
        // The names are nobody else's.
        let _ = context.add_function(STEP, step);
        let _ = context.add_function(ADD, add);
        context.add_variable_as_val(OBJECT, value::of(object));
        let given = Value::resolve_val(&self.root, &context);
        // Operators may pass over an error; this one is never passed over.
        if made.load(Ordering::Relaxed) == 0 {
            return Err(EvaluationError::TooMuchMade);
        }
        if left.load(Ordering::Relaxed) == 0 {
            return Err(EvaluationError::TooManySteps);
        }
        match given {
            Ok(value) => value.downcast_ref::<CelBool>().map(|value| *value.inner()).ok_or(EvaluationError::NoBoolean),
            Err(error) => Err(self.explain(&error)),
        }
    }

    /// The error in words that tell nothing of the object.
    fn explain(&self, error: &ExecutionError) -> EvaluationError {
        match error {
            ExecutionError::NoSuchKey(key) if self.text.contains(key.as_str()) => {
                EvaluationError::NoField(key.as_ref().clone())
            }
            ExecutionError::NoSuchKey(_) => EvaluationError::Misfit("a key is not there"),
            ExecutionError::IndexOutOfBounds(_) => EvaluationError::Misfit("an index is out of bounds"),
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                EvaluationError::Misfit("something is divided by zero")
            }
            ExecutionError::Overflow(..) => EvaluationError::Misfit("a number does not fit"),
            _ => EvaluationError::Misfit("a value is of another type than it is taken for"),
        }
    }
}

/// Takes so much of what is left; `None` where less is.
fn take(left: &AtomicUsize, wanted: usize) -> Option<()> {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(wanted)).ok().map(drop)
}

/// What of a value `+` copies, in bytes; nothing of a number.
fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.iter().map(|item| size_of::<Value>() + length(item)).sum(),
        Value::Map(map) => map.map.values().map(|item| 2 * size_of::<Value>() + length(item)).sum(),
        _ => 0,
    }
}

/// Counts brackets before anything recursive sees the text.
fn check_nesting(text: &str) -> Result<(), BadExpression> {
    let mut depth = 0_usize;
    for one in text.bytes() {
        match one {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limits::HEALTH_EXPRESSION_DEPTH_MAX {
            return Err(BadExpression::TooDeep);
        }
    }
    Ok(())
}

/// Checks an expression and has its loops count their steps. `names`: variables in scope.
fn prepare(node: &mut IdedExpr, depth: usize, names: &mut Vec<String>) -> Result<(), BadExpression> {
    let depth = depth.checked_sub(1).ok_or(BadExpression::TooDeep)?;
    match &mut node.expr {
        Expr::Unspecified | Expr::Literal(_) => Ok(()),
        Expr::Ident(name) => {
            let name = name.trim_start_matches('.');
            let is_known = names.iter().any(|known| known == name) || TYPES.contains(&name);
            if is_known { Ok(()) } else { Err(BadExpression::Unknown(name.to_owned())) }
        }
        Expr::Select(select) => prepare(&mut select.operand, depth, names),
        Expr::Call(call) => prepare_call(call, depth, names),
        Expr::List(list) => list.elements.iter_mut().try_for_each(|one| prepare(one, depth, names)),
        Expr::Map(map) => map.entries.iter_mut().try_for_each(|entry| match &mut entry.expr {
            EntryExpr::MapEntry(entry) => {
                prepare(&mut entry.key, depth, names)?;
                prepare(&mut entry.value, depth, names)
            }
            EntryExpr::StructField(_) => Err(BadExpression::UnknownType(String::new())),
        }),
        Expr::Struct(made) => Err(BadExpression::UnknownType(made.type_name.clone())),
        Expr::Comprehension(one) => prepare_loop(one, depth, names),
    }
}

fn prepare_call(call: &mut CallExpr, depth: usize, names: &mut Vec<String>) -> Result<(), BadExpression> {
    let is_operator = call.func_name.contains(|one: char| !one.is_ascii_alphanumeric() && !matches!(one, '_' | '.'));
    if !is_operator && !FUNCTIONS.contains(&call.func_name.as_str()) {
        return Err(BadExpression::UnknownFunction(call.func_name.clone()));
    }
    if let Some(target) = &mut call.target {
        prepare(target, depth, names)?;
    }
    call.args.iter_mut().try_for_each(|one| prepare(one, depth, names))?;
    // A loop's own list is appended to in place.
    let is_loops = |node: &IdedExpr| matches!(&node.expr, Expr::Ident(name) if name.starts_with('@'));
    if call.func_name == operators::ADD && !call.args.first().is_some_and(is_loops) {
        call.func_name = ADD.to_owned();
    }
    Ok(())
}

fn prepare_loop(one: &mut ComprehensionExpr, depth: usize, names: &mut Vec<String>) -> Result<(), BadExpression> {
    prepare(&mut one.iter_range, depth, names)?;
    prepare(&mut one.accu_init, depth, names)?;
    let outside = names.len();
    names.extend([one.iter_var.clone(), one.accu_var.clone()]);
    names.extend(one.iter_var2.clone());
    prepare(&mut one.loop_cond, depth, names)?;
    prepare(&mut one.loop_step, depth, names)?;
    prepare(&mut one.result, depth, names)?;
    names.truncate(outside);
    // `map` and `filter` append in place as long as their condition stays the literal that it is:
    // what they append, or their guard, counts instead.
    let appended = appended(&mut one.loop_step).filter(|_| matches!(one.loop_cond.expr, Expr::Literal(_)));
    let counted = appended.unwrap_or(&mut one.loop_cond);
    count(counted);
    Ok(())
}

/// The part of a loop that is worked out at each step where a loop appends to a list.
fn appended(step: &mut IdedExpr) -> Option<&mut IdedExpr> {
    let Expr::Call(call) = &mut step.expr else { return None };
    if call.func_name == operators::CONDITIONAL {
        let appends = call.args.get(1).is_some_and(|then| match &then.expr {
            Expr::Call(then) => then.func_name == operators::ADD && is_list(then.args.get(1)),
            _ => false,
        });
        return call.args.first_mut().filter(|_| appends);
    }
    if call.func_name != operators::ADD {
        return None;
    }
    match &mut call.args.get_mut(1)?.expr {
        Expr::List(list) => list.elements.first_mut(),
        _ => None,
    }
}

fn is_list(node: Option<&IdedExpr>) -> bool {
    node.is_some_and(|node| matches!(node.expr, Expr::List(_)))
}

/// `x` becomes `@step() ? x : x's nothing`: the condition is never false, and an error of it ends
/// the loop.
fn count(node: &mut IdedExpr) {
    let inner = std::mem::take(node);
    let id = inner.id;
    let call = |func_name: &str, args| Expr::Call(CallExpr { func_name: func_name.to_owned(), target: None, args });
    let step = IdedExpr { id, expr: call(STEP, Vec::new()) };
    let nothing = IdedExpr { id, expr: Expr::Literal(LiteralValue::Null) };
    *node = IdedExpr { id, expr: call(operators::CONDITIONAL, vec![step, inner, nothing]) };
}
