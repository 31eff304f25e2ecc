//! Text to [`Filter`]: a tokenizer and a descent by precedence (OR, AND, NOT, comparison).

use super::{ColumnName, Comparison, Expr, Filter, FilterError, Operand, Term};

/// Parentheses and NOTs nest at most this deep, so that no text can exhaust the stack.
const DEPTH_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A bare word: keyword or column.
    Word(Box<str>),
    Quoted(Box<str>),
    Text(Box<str>),
    Number(Box<str>),
    /// Operators, parentheses, comma, sign.
    Sign(&'static str),
    End,
}

const SIGNS: [&str; 13] = ["<>", "!=", "<=", ">=", "==", "<", ">", "=", "(", ")", ",", "-", "+"];

pub(super) fn parse(text: &str) -> Result<Filter, FilterError> {
    let mut parser = Parser { tokens: tokenize(text)?, next: 0, depth: 0, columns: Vec::new() };
    let root = parser.or()?;
    match parser.peek() {
        Token::End => Ok(Filter { root, columns: parser.columns }),
        Token::Sign(")") => Err(parser.wrong("this `)` closes nothing")),
        Token::Sign("(") => Err(parser.wrong("functions are not available in a filter")),
        other => {
            let what = describe(other);
            Err(parser.wrong(format!("expected AND, OR or the end, found {what}")))
        }
    }
}

fn tokenize(text: &str) -> Result<Vec<(usize, Token)>, FilterError> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let token = match bytes[at] {
            b' ' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            quote @ (b'\'' | b'"') => {
                let content = quoted(text, &mut at, quote)?;
                if quote == b'\'' { Token::Text(content) } else { Token::Quoted(content) }
            }
            b'0'..=b'9' | b'.' => number(text, &mut at)?,
            byte if byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80 => {
                at = start
                    + text[start..]
                        .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
                        .unwrap_or(text.len() - start);
                if at == start {
                    return Err(unknown(text, start));
                }
                Token::Word(text[start..at].into())
            }
            _ => match SIGNS.iter().find(|sign| text[at..].starts_with(**sign)) {
                Some(sign) => {
                    at += sign.len();
                    Token::Sign(sign)
                }
                None => return Err(unknown(text, start)),
            },
        };
        tokens.push((start, token));
    }
    tokens.push((text.len(), Token::End));
    Ok(tokens)
}

fn unknown(text: &str, offset: usize) -> FilterError {
    let what = text[offset..].chars().next().unwrap_or(' ');
    FilterError { offset, message: format!("`{what}` has no meaning in a filter") }
}

/// What stands between quotes; a doubled quote stands for one.
fn quoted(text: &str, at: &mut usize, quote: u8) -> Result<Box<str>, FilterError> {
    let start = *at;
    let quote = char::from(quote);
    let mut content = String::new();
    let mut rest = text[start + 1..].char_indices().peekable();
    while let Some((i, c)) = rest.next() {
        if c != quote {
            content.push(c);
        } else if rest.peek().is_some_and(|(_, next)| *next == quote) {
            rest.next();
            content.push(quote);
        } else {
            *at = start + 1 + i + 1;
            return Ok(content.into());
        }
    }
    Err(FilterError { offset: start, message: format!("no {quote} closes the one that opens here") })
}

fn number(text: &str, at: &mut usize) -> Result<Token, FilterError> {
    let start = *at;
    let bytes = text.as_bytes();
    let digits = |mut from: usize| {
        while bytes.get(from).is_some_and(u8::is_ascii_digit) {
            from += 1;
        }
        from
    };
    let mut end = digits(start);
    let mut count = end - start;
    if bytes.get(end) == Some(&b'.') {
        let fraction_end = digits(end + 1);
        count += fraction_end - end - 1;
        end = fraction_end;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent_end = digits(end + 1 + sign);
        if exponent_end > end + 1 + sign {
            end = exponent_end;
        }
    }
    let glued = bytes.get(end).is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'));
    if count == 0 || glued {
        return Err(FilterError { offset: start, message: "this is not a number".into() });
    }
    *at = end;
    Ok(Token::Number(text[start..end].into()))
}

fn describe(token: &Token) -> String {
    match token {
        Token::Word(word) => format!("`{word}`"),
        Token::Quoted(name) => format!("`\"{name}\"`"),
        Token::Text(text) => format!("the text '{text}'"),
        Token::Number(number) => format!("the number {number}"),
        Token::Sign(sign) => format!("`{sign}`"),
        Token::End => "the end".into(),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
    columns: Vec<ColumnName>,
}

impl Parser {
    /// The last token is `End` and is never passed.
    fn peek(&self) -> &Token {
        &self.tokens[self.next].1
    }

    fn offset(&self) -> usize {
        self.tokens[self.next].0
    }

    fn wrong(&self, message: impl Into<String>) -> FilterError {
        FilterError { offset: self.offset(), message: message.into() }
    }

    fn advance(&mut self) {
        if *self.peek() != Token::End {
            self.next += 1;
        }
    }

    fn is_word(&self, keyword: &str) -> bool {
        matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn eat_word(&mut self, keyword: &str) -> bool {
        let found = self.is_word(keyword);
        if found {
            self.advance();
        }
        found
    }

    fn expect_word(&mut self, keyword: &str) -> Result<(), FilterError> {
        if self.eat_word(keyword) {
            return Ok(());
        }
        let found = describe(self.peek());
        Err(self.wrong(format!("expected {keyword}, found {found}")))
    }

    fn eat_sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(s) if *s == sign);
        if found {
            self.advance();
        }
        found
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), FilterError> {
        if self.eat_sign(sign) {
            return Ok(());
        }
        let found = describe(self.peek());
        Err(self.wrong(format!("expected `{sign}`, found {found}")))
    }

    fn or(&mut self) -> Result<Expr, FilterError> {
        let mut parts = vec![self.and()?];
        while self.eat_word("or") {
            parts.push(self.and()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::Or(parts) })
    }

    fn and(&mut self) -> Result<Expr, FilterError> {
        let mut parts = vec![self.not()?];
        while self.eat_word("and") {
            parts.push(self.not()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::And(parts) })
    }

    fn not(&mut self) -> Result<Expr, FilterError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wrong("the filter nests too deep"));
        }
        let expr = if self.eat_word("not") { Expr::Not(Box::new(self.not()?)) } else { self.predicate()? };
        self.depth -= 1;
        Ok(expr)
    }

    fn predicate(&mut self) -> Result<Expr, FilterError> {
        let start = self.offset();
        let mut left = self.primary()?;
        loop {
            if let Some(comparison) = self.comparison() {
                let right_at = self.offset();
                let right = self.primary()?;
                left = Expr::Compare(operand(left, start)?, comparison, operand(right, right_at)?);
            } else if self.eat_word("is") {
                let negated = self.eat_word("not");
                let test = if self.eat_word("null") {
                    Expr::IsNull(Box::new(left))
                } else if self.eat_word("true") {
                    Expr::Is(Box::new(left), true)
                } else if self.eat_word("false") {
                    Expr::Is(Box::new(left), false)
                } else {
                    return Err(self.wrong("expected NULL, TRUE or FALSE after IS"));
                };
                left = negate(test, negated);
            } else {
                let negated = self.eat_word("not");
                if self.eat_word("in") {
                    left = negate(self.list(operand(left, start)?)?, negated);
                } else if self.eat_word("between") {
                    left = negate(self.between(operand(left, start)?)?, negated);
                } else if self.is_word("like") || self.is_word("ilike") {
                    return Err(self.wrong("LIKE is not available in a filter"));
                } else if negated {
                    return Err(self.wrong("expected IN or BETWEEN after NOT"));
                } else {
                    return Ok(left);
                }
            }
        }
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let comparison = match self.peek() {
            Token::Sign("=" | "==") => Comparison::Equal,
            Token::Sign("<>" | "!=") => Comparison::Unequal,
            Token::Sign("<") => Comparison::Less,
            Token::Sign("<=") => Comparison::AtMost,
            Token::Sign(">") => Comparison::Greater,
            Token::Sign(">=") => Comparison::AtLeast,
            _ => return None,
        };
        self.advance();
        Some(comparison)
    }

    /// `x IN (a, b)` is `x = a OR x = b`, which gives SQL's answers for NULLs by itself.
    fn list(&mut self, left: Operand) -> Result<Expr, FilterError> {
        self.expect_sign("(")?;
        let mut parts = Vec::new();
        loop {
            let at = self.offset();
            let item = self.primary()?;
            parts.push(Expr::Compare(left.clone(), Comparison::Equal, operand(item, at)?));
            if !self.eat_sign(",") {
                break;
            }
        }
        self.expect_sign(")")?;
        Ok(Expr::Or(parts))
    }

    fn between(&mut self, left: Operand) -> Result<Expr, FilterError> {
        let low_at = self.offset();
        let low = operand(self.primary()?, low_at)?;
        self.expect_word("and")?;
        let high_at = self.offset();
        let high = operand(self.primary()?, high_at)?;
        Ok(Expr::And(vec![
            Expr::Compare(left.clone(), Comparison::AtLeast, low),
            Expr::Compare(left, Comparison::AtMost, high),
        ]))
    }

    fn primary(&mut self) -> Result<Expr, FilterError> {
        let offset = self.offset();
        let token = self.peek().clone();
        let what = match token {
            Token::Sign("(") => {
                self.advance();
                let inner = self.or()?;
                self.expect_sign(")")?;
                return Ok(inner);
            }
            Token::Sign(sign @ ("-" | "+")) => {
                self.advance();
                let Token::Number(number) = self.peek().clone() else {
                    return Err(self.wrong("expected a number after the sign"));
                };
                Term::Number(if sign == "-" { format!("-{number}").into() } else { number })
            }
            Token::Number(number) => Term::Number(number),
            Token::Text(text) => Term::Text(text),
            Token::Quoted(name) => Term::Column(self.column(name, true, offset)),
            Token::Word(word) => return self.word(word, offset),
            other => {
                return Err(self.wrong(format!("expected a column or a value, found {}", describe(&other))));
            }
        };
        self.advance();
        Ok(Expr::Operand(Operand { what, offset }))
    }

    fn word(&mut self, word: Box<str>, offset: usize) -> Result<Expr, FilterError> {
        let lower = word.to_ascii_lowercase();
        let following = &self.tokens[(self.next + 1).min(self.tokens.len() - 1)].1;
        let what = match (lower.as_str(), following) {
            ("null", _) => Term::Null,
            ("true", _) => Term::Bool(true),
            ("false", _) => Term::Bool(false),
            ("date" | "time" | "timestamp" | "timestamptz", Token::Text(text)) => {
                let text = text.clone();
                self.advance();
                Term::Text(text)
            }
            ("and" | "or" | "not" | "in" | "is" | "between" | "like" | "ilike" | "select" | "case", _) => {
                return Err(self.wrong(format!("expected a column or a value, found `{word}`")));
            }
            (_, Token::Sign("(")) => {
                return Err(self.wrong(format!("functions are not available in a filter: `{word}(…)`")));
            }
            _ => Term::Column(self.column(word, false, offset)),
        };
        self.advance();
        Ok(Expr::Operand(Operand { what, offset }))
    }

    fn column(&mut self, name: Box<str>, quoted: bool, offset: usize) -> usize {
        let known = self.columns.iter().position(|c| c.name == name && c.quoted == quoted);
        known.unwrap_or_else(|| {
            self.columns.push(ColumnName { name, quoted, offset });
            self.columns.len() - 1
        })
    }
}

fn operand(expr: Expr, offset: usize) -> Result<Operand, FilterError> {
    match expr {
        Expr::Operand(operand) => Ok(operand),
        _ => Err(FilterError { offset, message: "expected a column or a value, found a condition".into() }),
    }
}

fn negate(expr: Expr, negated: bool) -> Expr {
    if negated { Expr::Not(Box::new(expr)) } else { expr }
}
