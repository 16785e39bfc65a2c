//! The programs that packages bring: they name the Python that starts them, which here is this machine's.
//!
//! Invariant: only a first line that starts a Python is changed, in either of the forms that installers write.

/// The same program, started by this Python. `None` if it is none that a Python starts.
pub(super) fn started_by(content: &[u8], python: &str) -> Option<Vec<u8>> {
    let rest = after_shebang(content)?;
    let mut out = format!("#!{python}\n").into_bytes();
    out.extend_from_slice(rest);
    Some(out)
}

fn after_shebang(content: &[u8]) -> Option<&[u8]> {
    let (first, rest) = line(content)?;
    let program = first.strip_prefix("#!")?.trim();
    if is_python(program.split_whitespace().next()?) {
        return Some(rest);
    }
    // A path with a space in it, or one that is too long for the system, goes by way of a shell:
    //   #!/bin/sh
    //   '''exec' "/path with space/python" "$0" "$@"
    //   ' '''
    if program != "/bin/sh" {
        return None;
    }
    let (second, rest) = line(rest)?;
    let command = second.strip_prefix("'''exec' ")?;
    let path = command.strip_suffix("\"$0\" \"$@\"")?.trim().trim_matches(['"', '\'']);
    let (third, rest) = line(rest)?;
    (third.trim() == "' '''" && is_python(path)).then_some(rest)
}

fn line(content: &[u8]) -> Option<(&str, &[u8])> {
    let end = content.iter().position(|&byte| byte == b'\n')?;
    let text = std::str::from_utf8(&content[..end]).ok()?;
    Some((text.trim_end_matches('\r'), &content[end + 1..]))
}

fn is_python(path: &str) -> bool {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    name.starts_with("python") || name.starts_with("pypy")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_started_by_the_image_s_python() {
        let wanted = "#!/opt/venv/bin/python\nimport sys\n";
        for own in [
            "#!/root/.pyenv/versions/3.11.7/bin/python\nimport sys\n",
            "#!python3.13 -E\nimport sys\n",
            "#!/bin/sh\n'''exec' \"/home/me/my project/bin/python3\" \"$0\" \"$@\"\n' '''\nimport sys\n",
            "#!/bin/sh\n'''exec' /home/me/bin/python3 \"$0\" \"$@\"\n' '''\nimport sys\n",
        ] {
            let changed = started_by(own.as_bytes(), "/opt/venv/bin/python");
            assert_eq!(String::from_utf8(changed.unwrap_or_default()).unwrap(), wanted, "{own}");
        }
        for other in [
            "#!/bin/sh\necho hello\n",
            "#!/bin/sh\n'''exec' \"/bin/perl\" \"$0\" \"$@\"\n' '''\n",
            "\x7fELF\n",
            "#!",
            "",
        ] {
            assert_eq!(started_by(other.as_bytes(), "/opt/venv/bin/python"), None, "{other}");
        }
    }
}
