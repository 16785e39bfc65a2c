//! `RECORD`: the files that a package brought (Python Packaging User Guide, "Recording installed
//! projects").
//!
//! Invariant: a path is relative and leads nowhere else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nuages_model::Digest;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) path: String,
    /// Digest and size as they stand there; `RECORD` says nothing of itself.
    pub(super) rest: String,
}

/// Reads it. The error tells which line is none.
pub(super) fn read(text: &str) -> Result<Vec<Line>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| parse(line).ok_or_else(|| format!("line {}: `{line}`", number + 1)))
        .collect()
}

fn parse(line: &str) -> Option<Line> {
    // A path with a comma or a quotation mark is quoted; digests and sizes hold neither.
    let (path, rest) = if let Some(quoted) = line.strip_prefix('"') {
        let end = quoted.rfind("\",")?;
        (quoted[..end].replace("\"\"", "\""), &quoted[end + 2..])
    } else {
        let (path, rest) = line.split_once(',')?;
        (path.to_owned(), rest)
    };
    let path = path.replace('\\', "/");
    let leads_out = path.starts_with('/') || path.split('/').any(|name| matches!(name, "" | "." | ".."));
    (!leads_out && rest.contains(',')).then(|| Line {
        path,
        rest: rest.to_owned(),
    })
}

/// Writes a line.
pub(super) fn write(path: &str, rest: &str) -> String {
    if path.contains([',', '"']) {
        format!("\"{}\",{rest}\n", path.replace('"', "\"\""))
    } else {
        format!("{path},{rest}\n")
    }
}

/// Digest and size of a content, as they stand in a line.
pub(super) fn rest_of(content: &[u8]) -> String {
    let hex = Digest::of(content);
    let hex = hex.hex().as_bytes();
    let digit = |c: u8| {
        char::from(c)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
            .unwrap_or_default()
    };
    let bytes: Vec<u8> = hex.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
    format!("sha256={},{}", URL_SAFE_NO_PAD.encode(bytes), content.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_read_and_written_the_same() {
        let text = "bin/gunicorn,sha256=abc_-,323\n\"odd,\"\"name\"\".py\",sha256=x,1\ngunicorn-1.dist-info/RECORD,,\n";
        let lines = read(text).unwrap();
        assert_eq!(lines[1].path, "odd,\"name\".py");
        let back: String = lines.iter().map(|line| write(&line.path, &line.rest)).collect();
        assert_eq!(back, text);
        for odd in ["../../etc/passwd,,", "/etc/passwd,,", "a//b,,", "no comma", "one,comma"] {
            read(odd).unwrap_err();
        }
        // The digest of nothing, as everybody writes it.
        assert_eq!(rest_of(b""), "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0");
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-z/.,\"\\\\\n]{0,60}") {
            let _ = read(&text);
        }
    }
}
