//! Evaluates a template that has been checked.

use std::fmt::Write;

use minijinja::machinery::ast::{BinOpKind, CallArg, CompareOpKind, Expr, Stmt, UnaryOpKind};
use minijinja::value::Kwargs;
use minijinja::{Environment, State, UndefinedBehavior, Value};

use super::allowance::{Allowance, ITEM, Problem, weight};
use super::numbers::{arithmetic, negative};
use super::{Text, filters};

/// The meaning of a name that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undefined {
    /// To use it is a problem.
    IsAProblem,
    /// It is empty.
    IsEmpty,
}

/// Writes what the template gives to `out`. A text that is full is no problem. With the problem comes its
/// line.
pub(crate) fn evaluate(
    template: &Stmt<'_>,
    values: &Value,
    undefined: Undefined,
    out: &mut Text,
) -> Result<(), (Problem, usize)> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(match undefined {
        Undefined::IsAProblem => UndefinedBehavior::Strict,
        Undefined::IsEmpty => UndefinedBehavior::Chainable,
    });
    let allowance = Allowance::whole();
    let state = environment.empty_state();
    let mut evaluation = Evaluation { values, undefined, state, own: Vec::new(), allowance, out, line: 0 };
    match evaluation.statement(template) {
        Ok(()) | Err(Problem::Full) => Ok(()),
        Err(problem) => Err((problem, evaluation.line)),
    }
}

struct Evaluation<'t, 'e> {
    values: &'t Value,
    undefined: Undefined,
    state: State<'e, 'e>,
    /// Names of the loops that are open.
    own: Vec<(&'t str, Value)>,
    allowance: Allowance,
    out: &'t mut Text,
    /// Of the statement that is being evaluated.
    line: usize,
}

impl<'t> Evaluation<'t, '_> {
    fn statements(&mut self, statements: &'t [Stmt<'t>]) -> Result<(), Problem> {
        statements.iter().try_for_each(|statement| self.statement(statement))
    }

    fn statement(&mut self, statement: &'t Stmt<'t>) -> Result<(), Problem> {
        self.allowance.step()?;
        match statement {
            Stmt::Template(template) => self.statements(&template.children),
            Stmt::EmitRaw(raw) => self.out.write_str(raw.raw).map_err(|_| Problem::Full),
            Stmt::EmitExpr(emit) => {
                self.line = usize::from(emit.span().start_line);
                let value = self.value(&emit.expr)?;
                self.defined(&value)?;
                write!(self.out, "{value}").map_err(|_| Problem::Full)
            }
            Stmt::IfCond(condition) => {
                self.line = usize::from(condition.span().start_line);
                let body =
                    if self.holds(&condition.expr)? { &condition.true_body } else { &condition.false_body };
                self.statements(body)
            }
            Stmt::ForLoop(each) => {
                self.line = usize::from(each.span().start_line);
                self.each(each)
            }
            _ => Err(Problem::Failed("a tag that is not available".to_owned())),
        }
    }

    fn each(&mut self, each: &'t minijinja::machinery::ast::ForLoop<'t>) -> Result<(), Problem> {
        let list = self.value(&each.iter)?;
        self.defined(&list)?;
        self.allowance.look_at(&list)?;
        if list.is_undefined() {
            return self.statements(&each.else_body);
        }
        let outside = self.own.len();
        let mut items = Vec::new();
        for item in list.try_iter()? {
            self.allowance.step()?;
            self.assign(&each.target, item.clone())?;
            let wanted = each.filter_expr.as_ref().map_or(Ok(true), |filter| self.holds(filter))?;
            self.own.truncate(outside);
            if wanted {
                items.push(item);
            }
        }
        let length = items.len();
        if length == 0 {
            return self.statements(&each.else_body);
        }
        for (index, item) in items.into_iter().enumerate() {
            self.assign(&each.target, item)?;
            self.own.push(("loop", position(index, length)));
            self.statements(&each.body)?;
            self.own.truncate(outside);
        }
        Ok(())
    }

    /// Gives an item of a loop its name, or its parts theirs.
    fn assign(&mut self, target: &'t Expr<'t>, item: Value) -> Result<(), Problem> {
        let names = match target {
            Expr::Var(variable) => {
                self.own.push((variable.id, item));
                return Ok(());
            }
            Expr::List(list) => &list.items,
            Expr::Tuple(tuple) => &tuple.items,
            _ => return Err(Problem::Failed("a loop needs a name".to_owned())),
        };
        let parts: Vec<Value> = item.try_iter()?.take(names.len() + 1).collect();
        if parts.len() != names.len() {
            return Err(Problem::Failed(format!(
                "a loop has {} names for items of another length",
                names.len()
            )));
        }
        names.iter().zip(parts).try_for_each(|(name, part)| self.assign(name, part))
    }

    fn defined(&self, value: &Value) -> Result<(), Problem> {
        if value.is_undefined() && self.undefined == Undefined::IsAProblem {
            return Err(Problem::Undefined("a name that is not there".to_owned()));
        }
        Ok(())
    }

    fn holds(&mut self, expression: &'t Expr<'t>) -> Result<bool, Problem> {
        let value = self.value(expression)?;
        self.defined(&value)?;
        Ok(value.is_true())
    }

    fn value(&mut self, expression: &'t Expr<'t>) -> Result<Value, Problem> {
        self.allowance.step()?;
        match expression {
            Expr::Const(constant) => Ok(constant.value.clone()),
            Expr::Var(variable) => {
                let own = self.own.iter().rev().find(|(name, _)| *name == variable.id);
                Ok(match own {
                    Some((_, value)) => value.clone(),
                    None => self.values.get_attr(variable.id)?,
                })
            }
            Expr::GetAttr(attribute) => {
                let value = self.value(&attribute.expr)?;
                self.defined(&value)?;
                Ok(if value.is_undefined() { value } else { value.get_attr(attribute.name)? })
            }
            Expr::GetItem(item) => {
                let value = self.value(&item.expr)?;
                self.defined(&value)?;
                let key = self.value(&item.subscript_expr)?;
                Ok(if value.is_undefined() { value } else { value.get_item(&key)? })
            }
            Expr::UnaryOp(unary) => match unary.op {
                UnaryOpKind::Not => Ok(Value::from(!self.holds(&unary.expr)?)),
                UnaryOpKind::Neg => {
                    let value = self.value(&unary.expr)?;
                    self.defined(&value)?;
                    negative(&value).map_err(Problem::Failed)
                }
            },
            Expr::BinOp(binary) => self.binary(binary),
            Expr::Compare(compare) => {
                let mut left = self.value(&compare.expr)?;
                for op in &compare.ops {
                    let right = self.value(&op.expr)?;
                    if !self.compare(op.op, &left, &right)? {
                        return Ok(Value::from(false));
                    }
                    left = right;
                }
                Ok(Value::from(true))
            }
            Expr::IfExpr(choice) => {
                if self.holds(&choice.test_expr)? {
                    self.value(&choice.true_expr)
                } else {
                    choice.false_expr.as_ref().map_or(Ok(Value::from("")), |other| self.value(other))
                }
            }
            Expr::Filter(filter) => {
                let Some(value) = &filter.expr else {
                    return Err(Problem::Failed("a filter without a value".to_owned()));
                };
                let value = self.value(value)?;
                let args = self.arguments(value, &filter.args)?;
                filters::apply(filter.name, &args, &mut self.state, &mut self.allowance)
            }
            Expr::Test(test) => {
                let value = self.value(&test.expr)?;
                let args = self.arguments(value, &test.args)?;
                filters::test(test.name, &args, &mut self.state, &mut self.allowance).map(Value::from)
            }
            Expr::Slice(slice) => self.slice(slice),
            Expr::List(list) => self.list(&list.items).map(Value::from),
            Expr::Tuple(tuple) => self.list(&tuple.items).map(Value::from),
            Expr::Map(map) => {
                let keys = self.list(&map.keys)?;
                let values = self.list(&map.values)?;
                Ok(keys.into_iter().zip(values).collect::<std::collections::BTreeMap<_, _>>().into())
            }
            Expr::Call(_) => Err(Problem::Failed("there are no functions".to_owned())),
        }
    }

    fn list(&mut self, items: &'t [Expr<'t>]) -> Result<Vec<Value>, Problem> {
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            let value = self.value(item)?;
            self.allowance.charge(ITEM.saturating_add(weight(&value, self.allowance.left())))?;
            list.push(value);
        }
        Ok(list)
    }

    fn arguments(&mut self, value: Value, arguments: &'t [CallArg<'t>]) -> Result<Vec<Value>, Problem> {
        let mut values = vec![value];
        let mut named = Vec::new();
        for argument in arguments {
            match argument {
                CallArg::Pos(value) => values.push(self.value(value)?),
                CallArg::Kwarg(name, value) => named.push((*name, self.value(value)?)),
                CallArg::PosSplat(_) | CallArg::KwargSplat(_) => {
                    return Err(Problem::Failed("arguments in a list".to_owned()));
                }
            }
        }
        if !named.is_empty() {
            values.push(Value::from(named.into_iter().collect::<Kwargs>()));
        }
        Ok(values)
    }

    fn binary(&mut self, binary: &'t minijinja::machinery::ast::BinOp<'t>) -> Result<Value, Problem> {
        let left = self.value(&binary.left)?;
        match binary.op {
            BinOpKind::ScAnd | BinOpKind::ScOr => {
                self.defined(&left)?;
                let decided = left.is_true() == matches!(binary.op, BinOpKind::ScOr);
                return if decided { Ok(left) } else { self.value(&binary.right) };
            }
            _ => {}
        }
        let right = self.value(&binary.right)?;
        let compare = match binary.op {
            BinOpKind::Eq => CompareOpKind::Eq,
            BinOpKind::Ne => CompareOpKind::Ne,
            BinOpKind::Lt => CompareOpKind::Lt,
            BinOpKind::Lte => CompareOpKind::Lte,
            BinOpKind::Gt => CompareOpKind::Gt,
            BinOpKind::Gte => CompareOpKind::Gte,
            BinOpKind::In => CompareOpKind::In,
            _ => {
                self.defined(&left)?;
                self.defined(&right)?;
                let joins = matches!(binary.op, BinOpKind::Concat)
                    || (matches!(binary.op, BinOpKind::Add)
                        && left.as_str().is_some()
                        && right.as_str().is_some());
                return if joins {
                    self.join(&left, &right)
                } else {
                    arithmetic(binary.op, &left, &right).map_err(Problem::Failed)
                };
            }
        };
        self.compare(compare, &left, &right).map(Value::from)
    }

    /// Both texts, one after the other.
    fn join(&mut self, left: &Value, right: &Value) -> Result<Value, Problem> {
        let mut joined = Text::of(self.allowance.left());
        write!(joined, "{left}{right}").map_err(|_| Problem::Size)?;
        let joined = joined.into_text();
        self.allowance.charge(joined.len())?;
        Ok(Value::from(joined))
    }

    fn compare(&mut self, op: CompareOpKind, left: &Value, right: &Value) -> Result<bool, Problem> {
        self.defined(left)?;
        self.defined(right)?;
        self.allowance.look_at(left)?;
        self.allowance.look_at(right)?;
        Ok(match op {
            CompareOpKind::Eq => left == right,
            CompareOpKind::Ne => left != right,
            CompareOpKind::Lt => left < right,
            CompareOpKind::Lte => left <= right,
            CompareOpKind::Gt => left > right,
            CompareOpKind::Gte => left >= right,
            CompareOpKind::In | CompareOpKind::NotIn => {
                let found = self.state.perform_test("in", &[left.clone(), right.clone()])?;
                found == matches!(op, CompareOpKind::In)
            }
        })
    }

    /// `text[start:stop]`, of a text's characters or a list's items.
    fn slice(&mut self, slice: &'t minijinja::machinery::ast::Slice<'t>) -> Result<Value, Problem> {
        let value = self.value(&slice.expr)?;
        self.defined(&value)?;
        let [start, stop] = [&slice.start, &slice.stop].map(Option::as_ref);
        let start = start.map(|end| self.value(end)).transpose()?;
        let stop = stop.map(|end| self.value(end)).transpose()?;
        if value.is_undefined() {
            return Ok(value);
        }
        let length = value.len().ok_or_else(|| Problem::Failed(format!("no slice of {}", value.kind())))?;
        let place = |end: Option<Value>, missing: usize| -> Result<usize, Problem> {
            let Some(end) = end.filter(|end| !end.is_none()) else { return Ok(missing) };
            let end = i64::try_from(end)?;
            let away = usize::try_from(end.unsigned_abs()).unwrap_or(usize::MAX);
            Ok(if end < 0 { length.saturating_sub(away) } else { away.min(length) })
        };
        let start = place(start, 0)?;
        let count = place(stop, length)?.saturating_sub(start);
        let part = match value.as_str() {
            Some(text) => Value::from(text.chars().skip(start).take(count).collect::<String>()),
            None => {
                self.allowance.look_at(&value)?;
                value.try_iter()?.skip(start).take(count).collect::<Vec<_>>().into()
            }
        };
        self.allowance.charge(weight(&part, self.allowance.left()))?;
        Ok(part)
    }
}

/// The fields of `loop`.
fn position(index: usize, length: usize) -> Value {
    let parts = [
        ("index", Value::from(index + 1)),
        ("index0", Value::from(index)),
        ("first", Value::from(index == 0)),
        ("last", Value::from(index + 1 == length)),
        ("length", Value::from(length)),
    ];
    parts.into_iter().collect::<std::collections::BTreeMap<_, _>>().into()
}
