//! Reads the text of a filter, within bounds that keep every one of them quick.

use super::{
    Clause, FilterError, Node, Occurs,
    condition::{Bound, Condition, Literal, Pattern, Piece},
};

/// Longer filters are refused.
const LEN_MAX: usize = 8 << 10;
/// Deeper brackets are refused.
const DEPTH_MAX: usize = 32;
/// More clauses are refused.
const CLAUSES_MAX: usize = 1_024;
/// Longer words with wildcards are refused.
const PATTERN_LEN_MAX: usize = 256;

/// Reads a filter.
pub(super) fn parse(text: &str) -> Result<Vec<Clause>, FilterError> {
    if text.len() > LEN_MAX {
        return refuse(LEN_MAX, format!("it has more than {LEN_MAX} bytes"));
    }
    let mut parser = Parser { text: text.chars().collect(), at: 0, depth: 0, clauses: 0 };
    let root = parser.group(None)?;
    if parser.peek().is_some() {
        return refuse(parser.at, "nothing was opened that `)` could close");
    }
    Ok(root)
}

fn refuse<T>(at: usize, reason: impl Into<String>) -> Result<T, FilterError> {
    Err(FilterError { at, reason: reason.into() })
}

struct Parser {
    text: Vec<char>,
    at: usize,
    depth: usize,
    clauses: usize,
}

/// A run of characters without blanks: a field, a value, an operator.
struct Word {
    /// Where it starts.
    at: usize,
    pieces: Vec<Piece>,
    /// Whether a character of it was written with a backslash.
    has_escape: bool,
}

impl Word {
    fn is(&self, operator: &str) -> bool {
        let is_plain = |(piece, wanted): (&Piece, char)| *piece == Piece::Character(wanted);
        !self.has_escape
            && self.pieces.len() == operator.len()
            && self.pieces.iter().zip(operator.chars()).all(is_plain)
    }

    /// Returns the text, if it has no wildcards.
    fn text(&self) -> Option<String> {
        let character = |piece: &Piece| match piece {
            Piece::Character(character) => Some(*character),
            Piece::One | Piece::Many => None,
        };
        self.pieces.iter().map(character).collect()
    }

    fn condition(self) -> Result<Condition, FilterError> {
        if self.pieces == [Piece::Many] {
            return Ok(Condition::Exists);
        }
        match self.text() {
            Some(text) => Ok(Condition::Is(Literal::new(text))),
            None if self.pieces.len() > PATTERN_LEN_MAX => {
                refuse(self.at, format!("a word with wildcards has more than {PATTERN_LEN_MAX} characters"))
            }
            None => Ok(Condition::Like(Pattern::new(self.pieces))),
        }
    }
}

/// How a clause is joined to the one before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joint {
    None,
    And,
    Or,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn starts_with(&self, text: &str) -> bool {
        let mut found = self.text[self.at..].iter();
        text.chars().all(|wanted| found.next() == Some(&wanted))
    }

    /// Steps over a text, if it comes next.
    fn take(&mut self, text: &str) -> bool {
        let is_there = self.starts_with(text);
        if is_there {
            self.at += text.chars().count();
        }
        is_there
    }

    /// Steps over an operator in letters, if it comes next and ends there.
    fn take_word(&mut self, word: &str) -> bool {
        let end = self.at + word.len();
        let is_whole = self.text.get(end).is_none_or(|next| next.is_whitespace() || "()\"".contains(*next));
        is_whole && self.take(word)
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// Reads clauses up to the end or a closing bracket.
    fn group(&mut self, field: Option<&str>) -> Result<Vec<Clause>, FilterError> {
        let mut group: Vec<Clause> = Vec::new();
        loop {
            self.skip_blanks();
            if matches!(self.peek(), None | Some(')')) && !group.is_empty() {
                return Ok(group);
            }
            let start = self.at;
            let joint = self.joint();
            if joint != Joint::None && group.is_empty() {
                return refuse(start, "there is nothing before this operator");
            }
            let clause = self.clause(joint, field)?;
            if let (Joint::And, Some(before)) = (joint, group.last_mut())
                && before.occurs == Occurs::Should
            {
                before.occurs = Occurs::Must;
            }
            group.push(clause);
        }
    }

    fn joint(&mut self) -> Joint {
        let joint = if self.take("&&") || self.take_word("AND") {
            Joint::And
        } else if self.take("||") || self.take_word("OR") {
            Joint::Or
        } else {
            Joint::None
        };
        self.skip_blanks();
        joint
    }

    fn clause(&mut self, joint: Joint, field: Option<&str>) -> Result<Clause, FilterError> {
        self.clauses += 1;
        if self.clauses > CLAUSES_MAX {
            return refuse(self.at, format!("it has more than {CLAUSES_MAX} parts"));
        }
        let occurs = if self.take("-") || self.take("!") || self.take_word("NOT") {
            Occurs::MustNot
        } else if self.take("+") || joint == Joint::And {
            Occurs::Must
        } else {
            Occurs::Should
        };
        self.skip_blanks();
        let node = self.node(field)?;
        Ok(Clause { occurs, node })
    }

    fn node(&mut self, field: Option<&str>) -> Result<Node, FilterError> {
        let start = self.at;
        match self.peek() {
            None => return refuse(start, "something to look for is missing at the end"),
            Some('(') => return self.brackets(field),
            Some('"' | '[' | '{') => return self.value(field),
            Some('>' | '<') if field.is_some() => return self.value(field),
            Some(_) => {}
        }
        let word = self.word(false)?;
        if self.peek() != Some(':') {
            self.at = start;
            return self.value(field);
        }
        self.at += 1;
        if word.pieces == [Piece::Many] {
            // `*:*`, or `*:value`: all fields.
            return if self.take("*") { self.weight(Node::All) } else { self.values_of(None) };
        }
        let Some(name) = word.text() else { return refuse(word.at, "a field's name has no wildcards") };
        if name == "_exists_" {
            let at = self.at;
            let Node::Value { condition, .. } = self.value(None)? else {
                return refuse(at, "`_exists_` is followed by the name of a field");
            };
            return match *condition {
                Condition::Is(path) | Condition::Phrase(path) => {
                    Ok(Node::Value { path: Some(path.into_text()), condition: Box::new(Condition::Exists) })
                }
                _ => refuse(at, "`_exists_` is followed by the name of a field"),
            };
        }
        self.values_of(Some(&name))
    }

    /// Reads what comes after a field's colon.
    fn values_of(&mut self, field: Option<&str>) -> Result<Node, FilterError> {
        self.skip_blanks();
        match self.peek() {
            None => refuse(self.at, "a value is missing at the end"),
            Some('(') => self.brackets(field),
            Some(_) => self.value(field),
        }
    }

    fn brackets(&mut self, field: Option<&str>) -> Result<Node, FilterError> {
        let start = self.at;
        if self.depth == DEPTH_MAX {
            return refuse(start, format!("brackets are more than {DEPTH_MAX} deep"));
        }
        self.depth += 1;
        self.at += 1;
        let group = self.group(field)?;
        self.depth -= 1;
        if !self.take(")") {
            return refuse(start, "this bracket is never closed");
        }
        self.weight(Node::Group(group))
    }

    fn value(&mut self, field: Option<&str>) -> Result<Node, FilterError> {
        let start = self.at;
        let condition = match self.peek() {
            Some('"') => Condition::Phrase(Literal::new(self.quoted()?)),
            Some('[' | '{') => self.range()?,
            Some('>' | '<') if field.is_some() => self.comparison()?,
            Some('/') => {
                return refuse(start, "regular expressions are not known here; a plain / is written \\/");
            }
            _ => self.word(field.is_some())?.condition()?,
        };
        if self.peek() == Some('~') {
            return refuse(self.at, "fuzzy words are not known here; a plain ~ is written \\~");
        }
        let node = match (field, condition) {
            (None, Condition::Exists) => Node::All,
            (field, condition) => {
                Node::Value { path: field.map(str::to_owned), condition: Box::new(condition) }
            }
        };
        self.weight(node)
    }

    /// Steps over a weight: where nothing is ranked it has no meaning.
    fn weight(&mut self, node: Node) -> Result<Node, FilterError> {
        if self.take("^") {
            let start = self.at;
            while self.peek().is_some_and(|next| next.is_ascii_digit() || next == '.') {
                self.at += 1;
            }
            if start == self.at {
                return refuse(start, "a weight is a number; a plain ^ is written \\^");
            }
        }
        Ok(node)
    }

    /// Reads `>1`, `>=1`, `<1`, `<=1`.
    fn comparison(&mut self) -> Result<Condition, FilterError> {
        let is_low = self.take(">");
        if !is_low {
            self.at += 1;
        }
        let is_inclusive = self.take("=");
        self.skip_blanks();
        let at = self.at;
        let text = match self.peek() {
            Some('"') => Some(self.quoted()?),
            _ => self.word(true)?.text(),
        };
        let Some(text) = text else { return refuse(at, "a value to compare with has no wildcards") };
        let bound = Some(Bound { literal: literal_of_bound(at, text)?, is_inclusive });
        Ok(if is_low {
            Condition::Between { low: bound, high: None }
        } else {
            Condition::Between { low: None, high: bound }
        })
    }

    /// Reads `[a TO b]`; `{` and `}` leave the end itself out.
    fn range(&mut self) -> Result<Condition, FilterError> {
        let start = self.at;
        let is_low_inclusive = self.take("[");
        if !is_low_inclusive {
            self.at += 1;
        }
        let low = self.bound(is_low_inclusive)?;
        self.skip_blanks();
        if !self.take_word("TO") {
            return refuse(self.at, "a range is written [a TO b]");
        }
        let high = self.bound(true)?;
        self.skip_blanks();
        let is_high_inclusive = self.take("]");
        if !is_high_inclusive && !self.take("}") {
            return refuse(start, "this range is never closed");
        }
        let high = high.map(|bound| Bound { is_inclusive: is_high_inclusive, ..bound });
        if low.is_none() && high.is_none() {
            return Ok(Condition::Exists);
        }
        Ok(Condition::Between { low, high })
    }

    fn bound(&mut self, is_inclusive: bool) -> Result<Option<Bound>, FilterError> {
        self.skip_blanks();
        let at = self.at;
        if self.peek() == Some('"') {
            let text = self.quoted()?;
            return Ok(Some(Bound { literal: Literal::new(text), is_inclusive }));
        }
        let mut text = String::new();
        while let Some(next) = self.peek().filter(|next| !next.is_whitespace() && !"]}".contains(*next)) {
            self.at += 1;
            text.push(if next == '\\' { self.escaped()? } else { next });
        }
        match text.as_str() {
            "" => refuse(at, "an end of the range is missing"),
            "*" => Ok(None),
            _ => Ok(Some(Bound { literal: literal_of_bound(at, text)?, is_inclusive })),
        }
    }

    fn quoted(&mut self) -> Result<String, FilterError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let Some(next) = self.peek() else { return refuse(start, "this quote is never closed") };
            self.at += 1;
            match next {
                '"' => return Ok(text),
                '\\' => text.push(self.escaped()?),
                next => text.push(next),
            }
        }
    }

    /// Reads a word; a value may have colons inside, as times have.
    fn word(&mut self, is_value: bool) -> Result<Word, FilterError> {
        let mut word = Word { at: self.at, pieces: Vec::new(), has_escape: false };
        while let Some(next) = self.peek() {
            let is_end = next.is_whitespace()
                || "()[]{}\"^~!".contains(next)
                || (next == ':' && !is_value)
                || (self.starts_with("&&") || self.starts_with("||"));
            if is_end {
                break;
            }
            self.at += 1;
            word.pieces.push(match next {
                '\\' => {
                    word.has_escape = true;
                    Piece::Character(self.escaped()?)
                }
                '*' => Piece::Many,
                '?' => Piece::One,
                next => Piece::Character(next),
            });
        }
        let is_operator = ["AND", "OR", "NOT"].iter().any(|operator| word.is(operator));
        if word.pieces.is_empty() || is_operator {
            return refuse(word.at, "something to look for is missing here");
        }
        Ok(word)
    }

    /// Reads what comes after a backslash.
    fn escaped(&mut self) -> Result<char, FilterError> {
        let Some(next) = self.peek() else { return refuse(self.at, "nothing follows the backslash") };
        self.at += 1;
        let is_code = next == 'u' && self.text.get(self.at).is_some_and(char::is_ascii_hexdigit);
        if !is_code {
            return Ok(next);
        }
        let digits: String = self.text[self.at..].iter().take(4).collect();
        let code =
            u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4).and_then(char::from_u32);
        let Some(code) = code else {
            return refuse(self.at, "a character's code has four hexadecimal digits");
        };
        self.at += 4;
        Ok(code)
    }
}

fn literal_of_bound(at: usize, text: String) -> Result<Literal, FilterError> {
    let rest = text.strip_prefix("now");
    if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', '-', '/'])) {
        return refuse(at, "times relative to now are not known here; give the time itself");
    }
    Ok(Literal::new(text))
}
