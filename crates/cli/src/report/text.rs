//! Amounts and foreign text, in the few forms that every reporter shares.
//!
//! Invariant: what comes from a container or a service cannot move the cursor, colour the screen or start a new line.

/// A time span as people read it: `0.4s`, `12.3s`, `1m02s`, `1h05m`.
pub(super) fn elapsed(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0..60 => format!("{seconds}.{}s", millis % 1000 / 100),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

const UNITS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];

/// An amount of bytes: `512 B`, `1.2 MB`.
pub(super) fn bytes(amount: u64) -> String {
    match unit(amount) {
        Some((name, size)) => format!("{} {name}", tenths(amount, size)),
        None => format!("{amount} B"),
    }
}

/// `5.2 of 12.1 MB`.
pub(super) fn bytes_of(done: u64, total: u64) -> String {
    match unit(total) {
        Some((name, size)) => format!("{} of {} {name}", tenths(done, size), tenths(total, size)),
        None => format!("{done} of {total} B"),
    }
}

fn unit(amount: u64) -> Option<(&'static str, u64)> {
    UNITS.into_iter().find(|(_, size)| amount >= *size)
}

fn tenths(amount: u64, size: u64) -> String {
    format!("{}.{}", amount / size, amount % size * 10 / size)
}

/// Foreign text on one line, without escapes and control characters.
pub(super) fn clean(text: &str) -> String {
    // What a progress bar overwrote is not worth showing.
    let text = text.trim_end_matches(['\r', '\n']);
    let text = text.rsplit('\r').next().unwrap_or(text);
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => skip_escape(&mut characters),
            '\t' => out.push_str("    "),
            '\n' => out.push(' '),
            _ if character.is_control() || is_bidi(character) => {}
            _ => out.push(character),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// The rest of an escape sequence: to the letter that ends a CSI, to the bell or `ESC \` that ends an OSC.
fn skip_escape(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match characters.next() {
        Some('[') => {
            for character in characters.by_ref() {
                if ('\x40'..='\x7e').contains(&character) {
                    break;
                }
            }
        }
        Some(']' | 'P' | '^' | '_') => {
            while let Some(character) = characters.next() {
                if character == '\x07' || (character == '\x1b' && characters.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        Some('(' | ')' | '#' | '%') => {
            characters.next();
        }
        _ => {}
    }
}

/// Characters that make text read in another order than it has.
fn is_bidi(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spans() {
        for (millis, text) in [
            (0, "0.0s"),
            (460, "0.4s"),
            (59_999, "59.9s"),
            (60_000, "1m00s"),
            (3_599_999, "59m59s"),
            (3_600_000, "1h00m"),
            (90_000_000, "25h00m"),
        ] {
            assert_eq!(elapsed(millis), text);
        }
    }

    #[test]
    fn amounts() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_250_000), "1.2 MB");
        assert_eq!(bytes_of(512, 900), "512 of 900 B");
        assert_eq!(bytes_of(512, 12_100_000), "0.0 of 12.1 MB");
        assert_eq!(bytes_of(u64::MAX, u64::MAX), "18446744073.7 of 18446744073.7 GB");
    }

    #[test]
    fn foreign_text() {
        assert_eq!(clean("\x1b[31mred\x1b[0m\tx\n"), "red    x");
        assert_eq!(clean(" 10%\r 50%\r100%\r\n"), "100%");
        assert_eq!(clean("a\x1b]0;title\x07b\x1b]8;;http://x\x1b\\c"), "abc");
        assert_eq!(clean("one\ntwo\x08\u{202e}"), "one two");
        assert_eq!(clean("\x1b[31"), "");
    }

    proptest! {
        #[test]
        fn nothing_moves_the_cursor(text in "[\\x00-\\x7fäß\u{202e}\u{9b}]{0,40}") {
            prop_assert!(!clean(&text).chars().any(char::is_control));
        }

        #[test]
        fn amounts_never_panic(done: u64, total: u64) {
            let _ = (bytes(done), bytes_of(done, total), elapsed(done));
        }
    }
}
