//! Text to tokens.

use super::TextError;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A name, or a number as it is written.
    Word(String),
    /// Text in quotes, without them.
    Text(String),
    /// One of `= ( ) [ ] { } , : < > @`; the last three in programs of kernels only.
    Mark(char),
    /// After the last token.
    End,
}

/// A token and the place of its first character.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The token.
    pub token: Token,
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
}

/// Splits a text; blanks, line ends and comments (`;` to the end of the line) only separate.
pub fn tokens(text: &str) -> Result<Vec<Placed>, TextError> {
    let mut tokens = Vec::new();
    let (mut line, mut column) = (1, 1);
    let mut characters = text.chars().peekable();
    while let Some(first) = characters.next() {
        let start = (line, column);
        let error = |message: String| TextError { line: start.0, column: start.1, message };
        column += 1;
        let token = match first {
            '\n' => {
                (line, column) = (line + 1, 1);
                continue;
            }
            ' ' | '\t' | '\r' => continue,
            ';' => {
                while characters.next_if(|next| *next != '\n').is_some() {}
                continue;
            }
            '=' | '(' | ')' | '[' | ']' | '{' | '}' | ',' | ':' | '<' | '>' | '@' => Token::Mark(first),
            '"' => {
                let mut content = String::new();
                loop {
                    column += 1;
                    match characters.next() {
                        None | Some('\n') => return Err(error("this text has no closing quote".to_string())),
                        Some('"') => break,
                        Some('\\') => {
                            column += 1;
                            content.push(match characters.next() {
                                Some('n') => '\n',
                                Some('r') => '\r',
                                Some('t') => '\t',
                                Some(same @ ('"' | '\\')) => same,
                                _ => return Err(error("this text has an unknown escape".to_string())),
                            });
                        }
                        Some(other) => content.push(other),
                    }
                }
                Token::Text(content)
            }
            first if is_word(first) => {
                let mut word = String::from(first);
                while let Some(next) = characters.next_if(|next| is_word(*next)) {
                    word.push(next);
                    column += 1;
                }
                Token::Word(word)
            }
            other => return Err(error(format!("{other:?} has no meaning here"))),
        };
        tokens.push(Placed { token, line: start.0, column: start.1 });
    }
    tokens.push(Placed { token: Token::End, line, column });
    Ok(tokens)
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-' | '+')
}
