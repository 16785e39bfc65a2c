//! Poetry's own way of naming packages in `pyproject.toml`, in the words of PEP 508.
//!
//! Invariant: a constraint allows what Poetry's documentation ("Dependency specification") says that it allows; what has
//! no such words is refused by name.

use toml::{Table, Value};

use super::CHECK_GROUPS;
use super::first_party::get;
use crate::ImageError;
use crate::packages::normal;

/// Lines that ask for the same.
pub(super) fn requirements(manifest: &Table, checks: bool) -> Result<String, ImageError> {
    let mut tables = vec![get(manifest, &["tool", "poetry", "dependencies"])];
    if checks {
        tables.push(get(manifest, &["tool", "poetry", "dev-dependencies"]));
        let groups = get(manifest, &["tool", "poetry", "group"]).and_then(Value::as_table);
        for (name, group) in groups.into_iter().flatten() {
            let optional = group.get("optional").and_then(Value::as_bool) == Some(true);
            if !optional || CHECK_GROUPS.contains(&name.as_str()) {
                tables.push(group.get("dependencies"));
            }
        }
    }
    let mut lines = Vec::new();
    for table in tables.into_iter().flatten().filter_map(Value::as_table) {
        for (name, wish) in table.iter().filter(|(name, _)| *name != "python") {
            match wish {
                Value::Array(several) => {
                    for wish in several {
                        lines.extend(line(name, wish)?);
                    }
                }
                wish => lines.extend(line(name, wish)?),
            }
        }
    }
    Ok(lines.into_iter().map(|line| line + "\n").collect())
}

fn refuse(name: &str, why: &str) -> ImageError {
    ImageError::packages(
        format!("{name} in pyproject.toml {why}"),
        Some("make a lock, which tells it: `poetry lock`".into()),
    )
}

/// `None` where an extra alone wants it.
fn line(name: &str, wish: &Value) -> Result<Option<String>, ImageError> {
    let name = normal(name);
    let empty = Table::new();
    let (version, details) = match wish {
        Value::String(version) => (version.as_str(), &empty),
        Value::Table(details) => (details.get("version").and_then(Value::as_str).unwrap_or("*"), details),
        _ => return Err(refuse(&name, "is no constraint")),
    };
    if details.get("optional").and_then(Value::as_bool) == Some(true) {
        return Ok(None);
    }
    let said = |key: &str| details.get(key).and_then(Value::as_str);
    let extras = details.get("extras").and_then(Value::as_array).into_iter().flatten();
    let extras: Vec<&str> = extras.filter_map(Value::as_str).collect();
    let extras = if extras.is_empty() {
        String::new()
    } else {
        format!("[{}]", extras.join(","))
    };
    let mut markers: Vec<String> = said("markers")
        .map(|marker| format!("({marker})"))
        .into_iter()
        .collect();
    if let Some(python) = said("python") {
        let any = python.split("||").map(|constraint| {
            let clauses =
                clauses(constraint).ok_or_else(|| refuse(&name, "has a constraint on Python that is not known"))?;
            let of_python = |clause: &String| {
                let end = clause.find(|c: char| c.is_ascii_digit()).unwrap_or_default();
                format!("python_full_version {} '{}'", &clause[..end], &clause[end..])
            };
            Ok::<_, ImageError>(clauses.iter().map(of_python).collect::<Vec<_>>().join(" and "))
        });
        let any = any.collect::<Result<Vec<_>, _>>()?;
        if any.iter().all(|one| !one.is_empty()) {
            markers.push(format!("({})", any.join(" or ")));
        }
    }
    if let Some(platform) = said("platform") {
        markers.push(format!("sys_platform == '{platform}'"));
    }
    let marker = if markers.is_empty() {
        String::new()
    } else {
        format!(" ; {}", markers.join(" and "))
    };
    if let Some(path) = said("path") {
        let editable = details.get("develop").and_then(Value::as_bool) == Some(true);
        return Ok(Some(if editable {
            format!("-e ./{path}")
        } else {
            format!("./{path}{marker}")
        }));
    }
    if let Some(repository) = said("git") {
        let at = ["rev", "tag", "branch"]
            .iter()
            .find_map(|key| said(key))
            .map(|at| format!("@{at}"));
        let folder = said("subdirectory").map(|folder| format!("#subdirectory={folder}"));
        let (at, folder) = (at.unwrap_or_default(), folder.unwrap_or_default());
        return Ok(Some(format!("{name}{extras} @ git+{repository}{at}{folder}{marker}")));
    }
    if let Some(address) = said("url") {
        return Ok(Some(format!("{name}{extras} @ {address}{marker}")));
    }
    if version.contains("||") || version.contains(" | ") {
        return Err(refuse(
            &name,
            "allows one range or another, for which Python's tools have no words",
        ));
    }
    let clauses = clauses(version).ok_or_else(|| refuse(&name, "has a constraint that is not known"))?;
    Ok(Some(format!("{name}{extras}{}{marker}", clauses.join(","))))
}

/// `^1.2, !=1.3` as `>=1.2`, `<2`, `!=1.3`.
fn clauses(constraint: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    for clause in constraint.split(',').flat_map(ranges) {
        let clause = clause.trim();
        let begins = |c: char| c.is_ascii_digit();
        if clause.is_empty() || clause == "*" {
            continue;
        }
        if let Some(version) = clause.strip_prefix('^') {
            let numbers = numbers(version)?;
            // The first number that is not zero stays; of zeros the last one that is named.
            let fixed = numbers
                .iter()
                .position(|number| *number > 0)
                .unwrap_or(numbers.len() - 1);
            out.extend([
                format!(">={}", version.trim()),
                format!("<{}", next(&numbers[..=fixed])),
            ]);
        } else if let Some(version) = clause.strip_prefix('~').filter(|version| !version.starts_with('=')) {
            let numbers = numbers(version)?;
            out.extend([
                format!(">={}", version.trim()),
                format!("<{}", next(&numbers[..numbers.len().min(2)])),
            ]);
        } else if clause.starts_with(begins) {
            out.push(format!("=={clause}"));
        } else if clause.starts_with(['=', '<', '>', '!', '~']) {
            let start = clause.find(begins)?;
            let (sign, version) = clause.split_at(start);
            let sign = match sign.trim() {
                "=" => "==",
                known @ ("==" | "<" | ">" | "<=" | ">=" | "!=" | "~=") => known,
                _ => return None,
            };
            out.push(format!("{sign}{version}"));
        } else {
            return None;
        }
    }
    Some(out)
}

/// `>=1 <2` without a comma.
fn ranges(clause: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for word in clause.split_whitespace() {
        match out.last_mut() {
            Some(last) if !last.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '*') => last.push_str(word),
            _ => out.push(word.to_owned()),
        }
    }
    out
}

fn numbers(version: &str) -> Option<Vec<u64>> {
    let plain = version
        .trim()
        .split(['a', 'b', 'r', '-', '+'])
        .next()
        .unwrap_or_default();
    let plain = plain.trim_end_matches(".dev").trim_end_matches('.');
    let numbers: Option<Vec<u64>> = plain.split('.').map(|number| number.parse().ok()).collect();
    numbers.filter(|numbers| !numbers.is_empty())
}

/// The smallest version that has other numbers here.
fn next(numbers: &[u64]) -> String {
    let mut numbers = numbers.to_vec();
    if let Some(last) = numbers.last_mut() {
        *last = last.saturating_add(1);
    }
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_are_those_of_the_documentation() {
        for (poetry, said) in [
            ("*", ""),
            ("^1.2.3", ">=1.2.3,<2"),
            ("^1.2", ">=1.2,<2"),
            ("^1", ">=1,<2"),
            ("^0.2.3", ">=0.2.3,<0.3"),
            ("^0.0.3", ">=0.0.3,<0.0.4"),
            ("^0.0", ">=0.0,<0.1"),
            ("^0", ">=0,<1"),
            ("~1.2.3", ">=1.2.3,<1.3"),
            ("~1.2", ">=1.2,<1.3"),
            ("~1", ">=1,<2"),
            ("1.*", "==1.*"),
            ("==1.2.3", "==1.2.3"),
            ("1.2.3", "==1.2.3"),
            (">= 1.2, < 1.5", ">=1.2,<1.5"),
            (">=1.2 <1.5", ">=1.2,<1.5"),
            ("!=1.3", "!=1.3"),
            ("~=1.4", "~=1.4"),
            ("^2.0a1", ">=2.0a1,<3"),
        ] {
            assert_eq!(clauses(poetry).unwrap().join(","), said, "{poetry}");
        }
        for odd in ["latest", "^x", "=>1", "~"] {
            assert_eq!(clauses(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_project_becomes_lines() {
        let manifest = r#"
            [tool.poetry.dependencies]
            python = "^3.12"
            Django = "^5.2"
            psycopg = { version = "^3.2", extras = ["binary"], markers = "sys_platform == 'linux'" }
            redis = { version = "^5", optional = true }
            tomli = { version = "*", python = "<3.11" }
            local = { path = "packages/local", develop = true }
            asgiref = { git = "https://github.com/django/asgiref", tag = "3.8.1" }
            [tool.poetry.group.test.dependencies]
            pytest = "*"
            [tool.poetry.group.docs]
            optional = true
            [tool.poetry.group.docs.dependencies]
            mkdocs = "*"
        "#;
        let manifest: Table = manifest.parse().unwrap();
        insta::assert_snapshot!(requirements(&manifest, true).unwrap(), @r"
        django>=5.2,<6
        asgiref @ git+https://github.com/django/asgiref@3.8.1
        -e ./packages/local
        psycopg[binary]>=3.2,<4 ; (sys_platform == 'linux')
        tomli ; (python_full_version < '3.11')
        pytest
        ");
        let either: Table = "[tool.poetry.dependencies]\na = '^1 || ^3'".parse().unwrap();
        let said = requirements(&either, false).unwrap_err().to_string();
        assert!(
            said.contains("a in pyproject.toml allows one range or another"),
            "{said}"
        );
    }
}
