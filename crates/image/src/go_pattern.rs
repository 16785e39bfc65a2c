//! One pattern of `.dockerignore` as the regular expression of Go that Docker makes of it, and a matcher for exactly the
//! part of that language which can come out.
//!
//! Invariant: matching takes time in proportion to path and pattern; no pattern makes it explode.

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
enum Node {
    /// One character of the set.
    One(Set),
    /// Any number of characters of the set.
    Many(Set),
    /// `(.*/)?`: nothing (to the node after the next), or whole folders (the next node).
    MaybeFolders,
    /// Inside of `.*/`: stays for any character, and leaves at a `/`.
    Folders,
    /// An anchor in the middle: nothing passes.
    Never,
}

#[derive(Debug, Clone, Default)]
struct Set {
    negated: bool,
    ranges: Vec<(char, char)>,
}

impl Set {
    fn just(c: char) -> Self {
        Self {
            negated: false,
            ranges: vec![(c, c)],
        }
    }

    fn all_but(c: char) -> Self {
        Self {
            negated: true,
            ranges: vec![(c, c)],
        }
    }

    fn has(&self, c: char) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != self.negated
    }
}

/// Whether Go's `filepath.Match` accepts the pattern.
pub(crate) fn is_well_formed(pattern: &str) -> bool {
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' if rest.next().is_none() => return false,
            '[' => {
                rest.next_if_eq(&'^');
                let mut ranges = 0;
                loop {
                    if ranges > 0 && rest.next_if_eq(&']').is_some() {
                        break;
                    }
                    if !one_of_class(&mut rest) || (rest.next_if_eq(&'-').is_some() && !one_of_class(&mut rest)) {
                        return false;
                    }
                    ranges += 1;
                }
            }
            _ => {}
        }
    }
    true
}

/// One character of a class, and something after it.
fn one_of_class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> bool {
    let read = match rest.next() {
        None | Some('-' | ']') => false,
        Some('\\') => rest.next().is_some(),
        Some(_) => true,
    };
    read && rest.peek().is_some()
}

impl Expression {
    /// Compiles a cleaned pattern; the error says what Go's own parser would object to.
    pub(crate) fn of(pattern: &str) -> Result<Self, String> {
        parse(&translate(pattern))
    }

    /// Whether the whole path matches.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let end = self.nodes.len();
        let mut now = vec![false; end + 1];
        let mut next = vec![false; end + 1];
        self.enter(&mut now, 0);
        for c in path.chars() {
            next.fill(false);
            for (index, node) in self.nodes.iter().enumerate() {
                if !now[index] {
                    continue;
                }
                match node {
                    Node::One(set) if set.has(c) => self.enter(&mut next, index + 1),
                    Node::Many(set) if set.has(c) => self.enter(&mut next, index),
                    Node::Folders => {
                        if c != '\n' {
                            self.enter(&mut next, index);
                        }
                        if c == '/' {
                            self.enter(&mut next, index + 1);
                        }
                    }
                    _ => {}
                }
            }
            std::mem::swap(&mut now, &mut next);
        }
        now[end]
    }

    fn enter(&self, states: &mut [bool], index: usize) {
        if states[index] {
            return;
        }
        states[index] = true;
        match self.nodes.get(index) {
            Some(Node::Many(_)) => self.enter(states, index + 1),
            Some(Node::MaybeFolders) => {
                self.enter(states, index + 1);
                self.enter(states, index + 2);
            }
            _ => {}
        }
    }
}

/// Docker's translation, character by character and blind to classes.
fn translate(pattern: &str) -> String {
    let mut out = String::new();
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '*' if rest.next_if_eq(&'*').is_some() => {
                rest.next_if_eq(&'/');
                out.push_str(if rest.peek().is_none() { ".*" } else { "(.*/)?" });
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '.' | '+' | '(' | ')' | '|' | '{' | '}' | '$' => {
                out.push('\\');
                out.push(c);
            }
            '\\' => {
                out.push('\\');
                out.extend(rest.next());
            }
            c => out.push(c),
        }
    }
    out
}

fn parse(expression: &str) -> Result<Expression, String> {
    let chars: Vec<char> = expression.chars().collect();
    let mut nodes = Vec::new();
    let mut at = 0;
    let starts = |at: usize, what: &str| chars[at..].iter().copied().take(what.len()).eq(what.chars());
    while at < chars.len() {
        let set = match chars[at] {
            '(' if starts(at, "(.*/)?") => {
                nodes.push(Node::MaybeFolders);
                nodes.push(Node::Folders);
                at += 6;
                if matches!(chars.get(at), Some('*')) {
                    return Err("a repetition of a repetition".into());
                }
                continue;
            }
            '.' if starts(at, ".*") => {
                nodes.push(Node::Many(Set::all_but('\n')));
                at += 2;
                continue;
            }
            '^' => {
                if !nodes.is_empty() {
                    nodes.push(Node::Never);
                }
                at += 1;
                continue;
            }
            '[' => class(&chars, &mut at)?,
            '\\' => escape(&chars, &mut at)?,
            c => {
                at += 1;
                Set::just(c)
            }
        };
        // A `*` or `?` can only have come out of a class that the translation tore apart.
        match chars.get(at) {
            Some('*') => {
                nodes.push(Node::Many(set));
                at += 1;
            }
            _ => nodes.push(Node::One(set)),
        }
    }
    Ok(Expression { nodes })
}

/// A class, by the rules of Go's `regexp/syntax`.
fn class(chars: &[char], at: &mut usize) -> Result<Set, String> {
    *at += 1;
    let mut set = Set::default();
    if chars.get(*at) == Some(&'^') {
        set.negated = true;
        *at += 1;
    }
    let mut first = true;
    loop {
        match chars.get(*at) {
            None => return Err("a `[` is left open".into()),
            Some(']') if !first => {
                *at += 1;
                return Ok(set);
            }
            Some('[') if chars.get(*at + 1) == Some(&':') => {
                return Err("named classes such as `[:alpha:]` are not read".into());
            }
            Some(_) => {}
        }
        first = false;
        let low = member(chars, at)?;
        let range = chars.get(*at) == Some(&'-') && chars.get(*at + 1).is_some_and(|c| *c != ']');
        match low {
            Set {
                negated: false,
                ref ranges,
            } if ranges.len() == 1 && ranges[0].0 == ranges[0].1 => {
                let low = ranges[0].0;
                let mut high = low;
                if range {
                    *at += 1;
                    match member(chars, at)? {
                        Set { negated: false, ranges } if ranges.len() == 1 && ranges[0].0 == ranges[0].1 => {
                            high = ranges[0].0;
                        }
                        _ => return Err("a class inside of a range".into()),
                    }
                }
                if high < low {
                    return Err(format!("the range `{low}-{high}` is backwards"));
                }
                set.ranges.push((low, high));
            }
            Set { negated: false, ranges } => set.ranges.extend(ranges),
            Set { negated: true, .. } => return Err("a negated class inside of a class".into()),
        }
    }
}

fn member(chars: &[char], at: &mut usize) -> Result<Set, String> {
    match chars.get(*at) {
        None => Err("a `[` is left open".into()),
        Some('\\') => escape(chars, at),
        Some(c) => {
            *at += 1;
            Ok(Set::just(*c))
        }
    }
}

fn escape(chars: &[char], at: &mut usize) -> Result<Set, String> {
    let Some(&c) = chars.get(*at + 1) else {
        return Err("a `\\` is left open".into());
    };
    *at += 2;
    let word = [('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
    let space = [('\t', '\n'), ('\u{c}', '\r'), (' ', ' ')];
    Ok(match c {
        'd' | 'D' => Set {
            negated: c == 'D',
            ranges: vec![('0', '9')],
        },
        'w' | 'W' => Set {
            negated: c == 'W',
            ranges: word.to_vec(),
        },
        's' | 'S' => Set {
            negated: c == 'S',
            ranges: space.to_vec(),
        },
        'a' => Set::just('\u{7}'),
        'f' => Set::just('\u{c}'),
        't' => Set::just('\t'),
        'n' => Set::just('\n'),
        'r' => Set::just('\r'),
        'v' => Set::just('\u{b}'),
        c if c.is_ascii_punctuation() => Set::just(c),
        c => return Err(format!("`\\{c}` is not an escape; leave the `\\` out")),
    })
}
