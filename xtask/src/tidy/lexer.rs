//! The text of a Rust file comes in; its lines without comments and strings, its strings, and where its tests are go out.

use std::iter::Peekable;
use std::ops::RangeInclusive;
use std::str::Chars;

/// Rust code, told from what only looks like it.
pub struct Code {
    /// Lines with comments and the insides of strings and characters blanked out.
    pub lines: Vec<String>,
    /// Insides of strings with the line (from 1) that each begins on, white space after a line's end left out.
    pub strings: Vec<(usize, String)>,
    tests: Vec<RangeInclusive<usize>>,
}

impl Code {
    /// Reads a file.
    pub fn new(text: &str) -> Self {
        let mut lexer = Lexer {
            rest: text.chars().peekable(),
            out: String::with_capacity(text.len()),
            strings: Vec::new(),
            line: 1,
        };
        lexer.run();
        let lines: Vec<String> = lexer.out.lines().map(str::to_owned).collect();
        let tests = test_modules(&lines);
        Self { lines, strings: lexer.strings, tests }
    }

    /// Whether a line (from 1) stands in a test module.
    pub fn is_test(&self, line: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&line))
    }
}

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    strings: Vec<(usize, String)>,
    line: usize,
}

impl Lexer<'_> {
    fn run(&mut self) {
        let mut before = ' ';
        while let Some(next) = self.keep() {
            match next {
                '/' if self.rest.peek() == Some(&'/') => self.skip_line(),
                '/' if self.rest.peek() == Some(&'*') => self.skip_block(),
                '"' => self.string(0),
                'r' if !is_name(before) || before == 'b' || before == 'c' => self.raw_string(),
                '\'' => self.character(),
                _ => {}
            }
            before = next;
        }
    }

    /// Takes a character and keeps it.
    fn keep(&mut self) -> Option<char> {
        let next = self.rest.next()?;
        self.out.push(next);
        self.count(next);
        Some(next)
    }

    /// Takes a character and keeps only its place, and the ends of lines.
    fn blank(&mut self) -> Option<char> {
        let next = self.rest.next()?;
        self.out.push(if next == '\n' { '\n' } else { ' ' });
        self.count(next);
        Some(next)
    }

    fn count(&mut self, next: char) {
        self.line = self.line.saturating_add(usize::from(next == '\n'));
    }

    fn skip_line(&mut self) {
        self.out.pop();
        self.out.push(' ');
        while self.rest.peek().is_some_and(|next| *next != '\n') {
            self.blank();
        }
    }

    /// Block comments nest.
    fn skip_block(&mut self) {
        self.out.pop();
        self.out.push(' ');
        let mut depth = 0_usize;
        let mut before = '/';
        while let Some(next) = self.blank() {
            let (step, is_end) = ((before, next) == ('/', '*'), (before, next) == ('*', '/'));
            depth = depth.saturating_add(usize::from(step)).saturating_sub(usize::from(is_end));
            if is_end && depth == 0 {
                return;
            }
            before = if step || is_end { ' ' } else { next };
        }
    }

    /// The inside of a string that ends with a quote and so many `#`; escapes count where there are none.
    fn string(&mut self, marks: usize) {
        let line = self.line;
        let mut inside = String::new();
        while let Some(next) = self.rest.peek().copied() {
            if next == '"' && self.ends(marks) {
                self.keep();
                break;
            }
            self.blank();
            if next == '\\' && marks == 0 {
                self.escape(&mut inside);
            } else {
                inside.push(next);
            }
        }
        self.strings.push((line, inside));
    }

    fn escape(&mut self, inside: &mut String) {
        match self.blank() {
            // A backslash at a line's end swallows the white space that follows.
            Some('\n') => {
                while self.rest.peek().is_some_and(|next| next.is_whitespace()) {
                    self.blank();
                }
            }
            Some('n') => inside.push('\n'),
            Some('t') => inside.push('\t'),
            Some(other) => inside.push(other),
            None => {}
        }
    }

    fn ends(&self, marks: usize) -> bool {
        let mut ahead = self.rest.clone();
        ahead.next();
        ahead.take(marks).filter(|next| *next == '#').count() == marks
    }

    /// After an `r`: a raw string, or a name that begins with it.
    fn raw_string(&mut self) {
        let mut ahead = self.rest.clone();
        let marks = ahead.by_ref().take_while(|next| *next == '#').count();
        let mut ahead = self.rest.clone();
        if ahead.nth(marks) != Some('"') {
            return;
        }
        for _ in 0..=marks {
            self.keep();
        }
        // A raw string without marks has no escapes either.
        if marks == 0 {
            self.plain_raw();
        } else {
            self.string(marks);
        }
    }

    fn plain_raw(&mut self) {
        let line = self.line;
        let mut inside = String::new();
        while self.rest.peek().is_some_and(|next| *next != '"') {
            inside.extend(self.blank());
        }
        self.keep();
        self.strings.push((line, inside));
    }

    /// After a `'`: a character, or a lifetime.
    fn character(&mut self) {
        let mut ahead = self.rest.clone();
        let (first, second) = (ahead.next(), ahead.next());
        if first == Some('\\') {
            self.blank();
            self.blank();
            while self.blank().is_some_and(|next| next != '\'') {}
        } else if second == Some('\'') {
            self.blank();
            self.blank();
        }
    }
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Lines from a `#[cfg(test)]` to the end of what it stands before.
fn test_modules(lines: &[String]) -> Vec<RangeInclusive<usize>> {
    let mut found = Vec::new();
    let mut until = 0;
    for (number, line) in (1..).zip(lines) {
        if number > until && line.trim() == "#[cfg(test)]" {
            until = end_of_item(number, lines);
            found.push(number..=until);
        }
    }
    found
}

/// The line on which the braces that an item opens are closed again; of an item without braces, its semicolon.
fn end_of_item(start: usize, lines: &[String]) -> usize {
    let mut depth = 0_i64;
    for (number, line) in (1..).zip(lines).skip(start) {
        for character in line.chars() {
            let is_end = match character {
                '{' => false,
                '}' => depth <= 1,
                ';' => depth == 0,
                _ => continue,
            };
            let change = i64::from(character == '{').saturating_sub(i64::from(character == '}'));
            depth = depth.saturating_add(change);
            if is_end {
                return number;
            }
        }
    }
    lines.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_blanked_and_lines_keep_their_numbers() {
        let text = "let a = \"x // y\"; // crate::b\n/* a /* b */ c */ let d = 'e';\nlet f: &'a str = r#\"g\"h\"#;\n";
        let code = Code::new(text);
        assert_eq!(code.lines.len(), 3);
        let joined = code.lines.join("\n");
        for gone in ["//", "crate", "/*", "c */", "'e'", "g\"h"] {
            assert!(!joined.contains(gone), "{gone} stands in {joined}");
        }
        assert!(joined.contains("let f: &'a str"), "{joined}");
        assert_eq!(code.strings, [(1, "x // y".to_owned()), (3, "g\"h".to_owned())]);
    }

    #[test]
    fn escapes_end_no_string_and_continued_lines_are_joined() {
        let code = Code::new("a(\"b\\\"c\", \"d \\\n   e\");\nf('\\'', b'\"', \"g\");");
        let strings: Vec<_> = code.strings.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(strings, ["b\"c", "d e", "g"]);
    }

    #[test]
    fn test_modules_end_with_their_brace() {
        let code = Code::new(
            "#[cfg(test)]\nmod a;\nfn b() {}\n#[cfg(test)]\nmod c {\n{ }\n}\nfn d() {}\n",
        );
        let lines: Vec<_> = (1..=8).filter(|line| code.is_test(*line)).collect();
        assert_eq!(lines, [1, 2, 4, 5, 6, 7]);
    }
}
