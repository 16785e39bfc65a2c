//! Which packages a project names, and what pins them.
//!
//! Invariant: names are compared as package indexes compare them: lowercase, with `-` for `_` and `.`.

use std::collections::BTreeSet;
use std::path::Path;

use toml::{Table, Value};

use super::files::{text, walk};

/// What pins a project's packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockFile {
    /// `uv.lock`
    Uv,
    /// `poetry.lock`
    Poetry,
    /// `Pipfile.lock`
    Pipenv,
    /// `pdm.lock`
    Pdm,
    /// `pylock.toml`
    Pylock,
    /// `requirements.txt` with hashes.
    HashedRequirements,
    /// `requirements.txt` without: what is installed may change from build to build.
    Requirements,
}

impl LockFile {
    /// The file's name.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Uv => "uv.lock",
            Self::Poetry => "poetry.lock",
            Self::Pipenv => "Pipfile.lock",
            Self::Pdm => "pdm.lock",
            Self::Pylock => "pylock.toml",
            Self::HashedRequirements | Self::Requirements => "requirements.txt",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Dependencies {
    pub(super) packages: BTreeSet<String>,
    pub(super) lock: Option<LockFile>,
    pub(super) project_name: Option<String>,
    pub(super) requires_python: Option<String>,
}

pub(super) fn look(dir: &Path) -> Dependencies {
    let mut found = Dependencies::default();
    let kinds = [
        LockFile::Uv,
        LockFile::Poetry,
        LockFile::Pipenv,
        LockFile::Pdm,
        LockFile::Pylock,
    ];
    found.lock = kinds.into_iter().find(|kind| dir.join(kind.file_name()).is_file());
    if found.lock.is_none()
        && let Some(requirements) = text(&dir.join("requirements.txt"))
    {
        let hashed = requirements.contains("--hash=");
        found.lock = Some(if hashed {
            LockFile::HashedRequirements
        } else {
            LockFile::Requirements
        });
    }

    walk(dir, 1, &mut |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let folder = path
            .parent()
            .and_then(Path::file_name)
            .unwrap_or_default()
            .to_string_lossy();
        let listed = name.ends_with(".txt") || name.ends_with(".in");
        if listed && (name.starts_with("requirements") || folder == "requirements") {
            found
                .packages
                .extend(text(path).unwrap_or_default().lines().filter_map(package));
        }
    });
    if let Some(project) = table(&dir.join("pyproject.toml")) {
        pyproject(&project, &mut found);
    }
    for section in ["packages", "dev-packages"] {
        let pipfile = table(&dir.join("Pipfile"));
        let packages = pipfile
            .as_ref()
            .and_then(|file| file.get(section))
            .and_then(Value::as_table);
        found
            .packages
            .extend(packages.into_iter().flat_map(Table::keys).map(|name| normal(name)));
    }
    found
}

fn table(path: &Path) -> Option<Table> {
    text(path)?.parse().ok()
}

fn pyproject(file: &Table, found: &mut Dependencies) {
    let texts = |value: Option<&Value>| -> Vec<String> {
        let items = value.and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).filter_map(package).collect()
    };
    let project = file.get("project").and_then(Value::as_table);
    if let Some(project) = project {
        found.project_name = project.get("name").and_then(Value::as_str).map(str::to_owned);
        found.requires_python = project
            .get("requires-python")
            .and_then(Value::as_str)
            .map(str::to_owned);
        found.packages.extend(texts(project.get("dependencies")));
    }
    let groups = [
        project.and_then(|project| project.get("optional-dependencies")),
        file.get("dependency-groups"),
    ];
    for group in groups
        .into_iter()
        .flatten()
        .filter_map(Value::as_table)
        .flat_map(Table::values)
    {
        found.packages.extend(texts(Some(group)));
    }
    let Some(poetry) = file
        .get("tool")
        .and_then(|tool| tool.get("poetry"))
        .and_then(Value::as_table)
    else {
        return;
    };
    let name = poetry.get("name").and_then(Value::as_str).map(str::to_owned);
    found.project_name = found.project_name.take().or(name);
    let mut tables = vec![poetry.get("dependencies"), poetry.get("dev-dependencies")];
    let groups = poetry.get("group").and_then(Value::as_table);
    tables.extend(
        groups
            .into_iter()
            .flat_map(Table::values)
            .map(|group| group.get("dependencies")),
    );
    for dependencies in tables.into_iter().flatten().filter_map(Value::as_table) {
        if let Some(python) = dependencies.get("python").and_then(Value::as_str) {
            found.requires_python.get_or_insert_with(|| python.to_owned());
        }
        found.packages.extend(dependencies.keys().map(|name| normal(name)));
    }
}

/// The package that a line of requirements begins with.
fn package(line: &str) -> Option<String> {
    let line = line.trim();
    let end = line
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
        .unwrap_or(line.len());
    let name = &line[..end];
    (name.starts_with(|c: char| c.is_ascii_alphanumeric()) && !name.contains("..")).then(|| normal(name))
}

fn normal(name: &str) -> String {
    name.to_lowercase().replace(['_', '.'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirement_lines() {
        assert_eq!(package("Django>=5.2,<5.3").as_deref(), Some("django"));
        assert_eq!(
            package("psycopg[binary]==3.2  # the driver").as_deref(),
            Some("psycopg")
        );
        assert_eq!(
            package("ruamel.yaml ; python_version < '4'").as_deref(),
            Some("ruamel-yaml")
        );
        for line in ["", "# comment", "-r base.txt", "--hash=sha256:00", "../local"] {
            assert_eq!(package(line), None, "{line}");
        }
    }
}
