//! One component of a glob pattern against one file name: bytes in, yes or no out.

/// A pattern without `/`. The common forms have their own variant, which a walk can test without interpreting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// Exactly this name.
    Literal(Box<[u8]>),
    /// `prefix*suffix`: one star, nothing else; both parts may be empty.
    Affix(Box<[u8]>, Box<[u8]>),
    /// All names but these; built-in rules only.
    Except(&'static [&'static str]),
    /// Anything else.
    Tokens(Box<[Token]>),
}

/// A piece of a general pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// This byte.
    Byte(u8),
    /// `?`: one character, or one byte that is not UTF-8.
    One,
    /// `*`: any run of bytes.
    Star,
    /// `[a-z]`, `[!a-z]`: one character in (or not in) the ranges.
    Class {
        /// Not in the ranges.
        negated: bool,
        /// Both ends included.
        ranges: Box<[(u32, u32)]>,
    },
}

/// Above all characters: one byte that is not UTF-8, so that no range has it and every negated class has.
const NOT_UTF8: u32 = 0x11_0000;

impl Name {
    /// Reads a component; the error says what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Name, &'static str> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b'*' if tokens.last() == Some(&Token::Star) => {}
                b'*' => tokens.push(Token::Star),
                b'?' => tokens.push(Token::One),
                b'[' => tokens.push(parse_class(&mut rest)?),
                b'\\' => {
                    let (&escaped, after) = rest.split_first().ok_or("a backslash with nothing after it")?;
                    rest = after;
                    tokens.push(Token::Byte(escaped));
                }
                byte => tokens.push(Token::Byte(byte)),
            }
        }
        Ok(Name::from_tokens(tokens))
    }

    fn from_tokens(tokens: Vec<Token>) -> Name {
        let bytes = |tokens: &[Token]| -> Option<Box<[u8]>> {
            tokens.iter().map(|t| if let Token::Byte(b) = t { Some(*b) } else { None }).collect()
        };
        if let Some(literal) = bytes(&tokens) {
            return Name::Literal(literal);
        }
        let parts: Vec<_> = tokens.split(|t| *t == Token::Star).map(bytes).collect();
        if let [Some(prefix), Some(suffix)] = parts.as_slice() {
            return Name::Affix(prefix.clone(), suffix.clone());
        }
        Name::Tokens(tokens.into())
    }

    /// Whether the whole of `name` fits.
    pub fn matches(&self, name: &[u8]) -> bool {
        match self {
            Name::Literal(literal) => name == &**literal,
            Name::Affix(prefix, suffix) => {
                name.len() >= prefix.len() + suffix.len()
                    && name.starts_with(prefix)
                    && name.ends_with(suffix)
            }
            Name::Except(names) => !names.iter().any(|other| other.as_bytes() == name),
            Name::Tokens(tokens) => matches_tokens(tokens, name),
        }
    }
}

/// `[` is read; reads up to and with `]`. A `]` that comes first is an ordinary character.
fn parse_class(rest: &mut &[u8]) -> Result<Token, &'static str> {
    const OPEN: &str = "a '[' without its ']' (write \\[ for the character itself)";
    let negated = matches!(rest.first(), Some(b'!' | b'^'));
    if negated {
        *rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    loop {
        if rest.first() == Some(&b']') && !ranges.is_empty() {
            *rest = &rest[1..];
            return Ok(Token::Class { negated, ranges: ranges.into() });
        }
        let low = class_character(rest).ok_or(OPEN)?;
        let ranged = matches!(rest, [b'-', end, ..] if *end != b']');
        let high = if ranged {
            *rest = &rest[1..];
            class_character(rest).ok_or(OPEN)?
        } else {
            low
        };
        if low > high {
            return Err("a range in '[]' that runs backwards");
        }
        ranges.push((low, high));
    }
}

fn class_character(rest: &mut &[u8]) -> Option<u32> {
    if rest.first() == Some(&b'\\') {
        *rest = &rest[1..];
    }
    let (character, length) = first_character(rest)?;
    *rest = &rest[length..];
    Some(character)
}

/// The first character and its length in bytes.
fn first_character(bytes: &[u8]) -> Option<(u32, usize)> {
    let first = *bytes.first()?;
    let length = match first {
        0..=0x7f => return Some((u32::from(first), 1)),
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 1,
    };
    let character =
        bytes.get(..length).and_then(|b| std::str::from_utf8(b).ok()).and_then(|text| text.chars().next());
    Some(character.map_or((NOT_UTF8 + u32::from(first), 1), |c| (u32::from(c), length)))
}

/// Stars are greedy from the left, and only the last one is ever tried again: no pattern takes more than
/// |pattern| × |name| steps.
fn matches_tokens(tokens: &[Token], name: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let advanced = match tokens.get(at) {
            Some(Token::Star) => {
                retry = Some((at, seen));
                at += 1;
                continue;
            }
            Some(token) => one(token, &name[seen..]),
            None if seen == name.len() => return true,
            None => None,
        };
        match (advanced, retry) {
            (Some(length), _) => {
                at += 1;
                seen += length;
            }
            (None, Some((star, from))) if from < name.len() => {
                retry = Some((star, from + 1));
                at = star + 1;
                seen = from + 1;
            }
            _ => return false,
        }
    }
}

/// How many bytes the token takes from the front of `name`.
fn one(token: &Token, name: &[u8]) -> Option<usize> {
    let (character, length) = first_character(name)?;
    match token {
        Token::Byte(byte) => (name.first() == Some(byte)).then_some(1),
        Token::One => Some(length),
        Token::Class { negated, ranges } => {
            let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&character));
            (inside != *negated).then_some(length)
        }
        Token::Star => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops on what it does not expect")]
mod tests {
    use super::*;

    #[test]
    fn dialect() {
        let rows: &[(&str, &str, bool)] = &[
            ("*", ".hidden", true),
            ("*.log", ".log", true),
            ("*.log", "a.log2", false),
            ("a*a", "a", false),
            ("x?", "x", false),
            ("x?", "xé", true),
            ("[!é]", "é", false),
            ("[a-cé]", "é", true),
            ("[]a]", "]", true),
            ("[a-]", "-", true),
            ("[^a]", "a", false),
            ("[\\]]", "]", true),
            ("a]", "a]", true),
            ("a**b", "a-x-b", true),
            ("*a?c*", "xxabcyy", true),
            ("*a?c*", "xxabdyy", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
        ];
        for (pattern, name, expected) in rows {
            assert_eq!(
                Name::parse(pattern.as_bytes()).unwrap().matches(name.as_bytes()),
                *expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn not_utf8() {
        assert!(Name::parse(b"?").unwrap().matches(b"\xff"));
        assert!(Name::parse(b"[!a]x").unwrap().matches(b"\xffx"));
        assert!(!Name::parse(b"[a-z]").unwrap().matches(b"\xff"));
    }

    #[test]
    fn malformed() {
        for text in ["[", "[a", "[]", "[z-a]", "a\\", "[a-"] {
            assert!(Name::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn common_forms_have_their_variant() {
        assert!(matches!(Name::parse(b"a\\[b").unwrap(), Name::Literal(l) if *l == *b"a[b"));
        assert!(
            matches!(Name::parse(b"*.key").unwrap(), Name::Affix(p, s) if p.is_empty() && *s == *b".key")
        );
        assert!(
            matches!(Name::parse(b".env.*").unwrap(), Name::Affix(p, s) if s.is_empty() && *p == *b".env.")
        );
    }
}
