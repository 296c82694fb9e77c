//! The names and calls of a template, before it is accepted.

use std::collections::BTreeSet;

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Stmt};

use super::MAX_DEPTH;
use super::filters::{FILTERS, TESTS};

/// Why a template that parses cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// A tag that there is not.
    Tag(&'static str),
    /// Something else that there is not, with the reason.
    What(String),
}

/// The names that a template reads, dotted ones whole; or what it uses that there is not.
pub(crate) fn check(template: &Stmt<'_>) -> Result<BTreeSet<String>, Unusable> {
    let mut checker = Checker { names: BTreeSet::new(), own: Vec::new(), depth: 0 };
    checker.statement(template)?;
    Ok(checker.names)
}

struct Checker<'a> {
    names: BTreeSet<String>,
    /// Names of the loops that are open.
    own: Vec<&'a str>,
    depth: usize,
}

impl<'a> Checker<'a> {
    fn deeper(&mut self) -> Result<(), Unusable> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Unusable::What(format!("expressions nested more than {MAX_DEPTH} deep")));
        }
        Ok(())
    }

    fn statements(&mut self, statements: &[Stmt<'a>]) -> Result<(), Unusable> {
        statements.iter().try_for_each(|statement| self.statement(statement))
    }

    fn statement(&mut self, statement: &Stmt<'a>) -> Result<(), Unusable> {
        self.deeper()?;
        match statement {
            Stmt::Template(template) => self.statements(&template.children)?,
            Stmt::EmitExpr(emit) => self.expression(&emit.expr)?,
            Stmt::EmitRaw(_) => {}
            Stmt::IfCond(condition) => {
                self.expression(&condition.expr)?;
                self.statements(&condition.true_body)?;
                self.statements(&condition.false_body)?;
            }
            Stmt::ForLoop(each) => {
                if each.recursive {
                    return Err(Unusable::What("a recursive loop".to_owned()));
                }
                self.expression(&each.iter)?;
                let outside = self.own.len();
                self.own.push("loop");
                self.target(&each.target)?;
                each.filter_expr.iter().try_for_each(|filter| self.expression(filter))?;
                self.statements(&each.body)?;
                self.own.truncate(outside);
                self.statements(&each.else_body)?;
            }
            Stmt::Set(_) | Stmt::SetBlock(_) => return Err(Unusable::Tag("set")),
            Stmt::WithBlock(_) => return Err(Unusable::Tag("with")),
            Stmt::AutoEscape(_) => return Err(Unusable::Tag("autoescape")),
            Stmt::FilterBlock(_) => return Err(Unusable::Tag("filter")),
            Stmt::Do(_) => return Err(Unusable::Tag("do")),
            // Which there are depends on the features of minijinja.
            #[allow(unreachable_patterns)]
            _ => return Err(Unusable::What("a tag that is not known".to_owned())),
        }
        self.depth -= 1;
        Ok(())
    }

    fn target(&mut self, target: &Expr<'a>) -> Result<(), Unusable> {
        self.deeper()?;
        match target {
            Expr::Var(variable) => self.own.push(variable.id),
            Expr::List(list) => list.items.iter().try_for_each(|item| self.target(item))?,
            Expr::Tuple(tuple) => tuple.items.iter().try_for_each(|item| self.target(item))?,
            _ => return Err(Unusable::What("a loop over something other than a name".to_owned())),
        }
        self.depth -= 1;
        Ok(())
    }

    fn expression(&mut self, expression: &Expr<'a>) -> Result<(), Unusable> {
        self.deeper()?;
        match expression {
            Expr::Const(_) => {}
            Expr::Var(_) | Expr::GetAttr(_) => self.name(expression)?,
            Expr::UnaryOp(unary) => self.expression(&unary.expr)?,
            Expr::BinOp(binary) => {
                let texts = [&binary.left, &binary.right].into_iter().any(is_text);
                if texts && is_for_numbers(binary.op) {
                    return Err(Unusable::What("arithmetic with a text".to_owned()));
                }
                self.expression(&binary.left)?;
                self.expression(&binary.right)?;
            }
            Expr::Compare(compare) => {
                self.expression(&compare.expr)?;
                compare.ops.iter().try_for_each(|op| self.expression(&op.expr))?;
            }
            Expr::IfExpr(choice) => {
                self.expression(&choice.test_expr)?;
                self.expression(&choice.true_expr)?;
                choice.false_expr.iter().try_for_each(|other| self.expression(other))?;
            }
            Expr::Filter(filter) => {
                if !FILTERS.contains(&filter.name) {
                    return Err(unknown("filter", filter.name, &FILTERS));
                }
                filter.expr.iter().try_for_each(|value| self.expression(value))?;
                self.arguments(&filter.args)?;
            }
            Expr::Test(test) => {
                if !TESTS.contains(&test.name) {
                    return Err(unknown("test", test.name, &TESTS));
                }
                self.expression(&test.expr)?;
                self.arguments(&test.args)?;
            }
            Expr::GetItem(item) => {
                self.expression(&item.expr)?;
                self.expression(&item.subscript_expr)?;
            }
            Expr::Slice(slice) => {
                if slice.step.is_some() {
                    return Err(Unusable::What("a slice with a step".to_owned()));
                }
                self.expression(&slice.expr)?;
                let ends = slice.start.iter().chain(&slice.stop);
                ends.into_iter().try_for_each(|end| self.expression(end))?;
            }
            Expr::Call(_) => {
                return Err(Unusable::What("a call; there are filters, and no functions".to_owned()));
            }
            Expr::List(list) => list.items.iter().try_for_each(|item| self.expression(item))?,
            Expr::Tuple(tuple) => tuple.items.iter().try_for_each(|item| self.expression(item))?,
            Expr::Map(map) => {
                map.keys.iter().chain(&map.values).try_for_each(|part| self.expression(part))?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn arguments(&mut self, arguments: &[CallArg<'a>]) -> Result<(), Unusable> {
        arguments.iter().try_for_each(|argument| match argument {
            CallArg::Pos(value) | CallArg::Kwarg(_, value) => self.expression(value),
            CallArg::PosSplat(_) | CallArg::KwargSplat(_) => {
                Err(Unusable::What("arguments in a list (`*`)".to_owned()))
            }
        })
    }

    /// `a`, `a.b`, `a.b.c` are names; of `(…).b` it is what stands before the dot that counts.
    fn name(&mut self, mut expression: &Expr<'a>) -> Result<(), Unusable> {
        let mut parts = Vec::new();
        loop {
            match expression {
                Expr::GetAttr(attribute) => {
                    self.deeper()?;
                    parts.push(attribute.name);
                    expression = &attribute.expr;
                }
                Expr::Var(variable) => {
                    self.depth -= parts.len();
                    if !self.own.contains(&variable.id) {
                        parts.push(variable.id);
                        parts.reverse();
                        self.names.insert(parts.join("."));
                    }
                    return Ok(());
                }
                other => {
                    self.expression(other)?;
                    self.depth -= parts.len();
                    return Ok(());
                }
            }
        }
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> Unusable {
    Unusable::What(format!("the {what} `{name}`; there are {}", known.join(", ")))
}

fn is_text(expression: &Expr<'_>) -> bool {
    matches!(expression, Expr::Const(constant) if constant.value.as_str().is_some())
}

/// `+` also joins texts.
fn is_for_numbers(op: BinOpKind) -> bool {
    matches!(
        op,
        BinOpKind::Sub
            | BinOpKind::Mul
            | BinOpKind::Div
            | BinOpKind::FloorDiv
            | BinOpKind::Rem
            | BinOpKind::Pow
    )
}
