//! The script that finishes by hand what could not be undone.
//!
//! Invariant: it is made of the commands that stuck steps name, which hold no secret, and stands where no build sees it.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use nuages_saga::{DeploymentId, StuckStep};

/// Writes the script into this folder, and answers where it is.
pub(crate) fn write(folder: &Path, deployment: DeploymentId, script: &str) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(format!("finish-{deployment}.sh"));
    std::fs::write(&path, script)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(path)
}

/// The script. `env` is what stands behind `--env`, and `afterwards` what is run when it is through.
pub(crate) fn script(deployment: DeploymentId, env: &str, afterwards: &str, steps: &[StuckStep]) -> String {
    // A path may hold anything, and a comment ends with its line.
    let [env, afterwards] = [env, afterwards].map(|text| text.replace(['\n', '\r'], " "));
    let mut text = format!(
        "#!/bin/sh\n# Finishes what could not be undone of deployment {deployment} in {env}.\n\
         # Read it before you run it. Afterwards: {afterwards}\nset -eu\n"
    );
    for step in steps {
        let _ = write!(text, "\n# {}\n", step.step);
        for line in step.error.message.lines() {
            let _ = writeln!(text, "#   {line}");
        }
        for command in &step.by_hand {
            let _ = writeln!(text, "{command}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuages_saga::ErrorReport;

    #[test]
    fn a_shell_can_run_it_and_what_failed_is_a_comment() {
        let stuck = StuckStep {
            step: "service/web".parse().unwrap(),
            error: ErrorReport {
                message: "access denied\nrm -rf /tmp/never".into(),
                causes: Vec::new(),
                hint: None,
            },
            by_hand: vec!["printf 'one '".into(), "printf two".into()],
        };
        let folder = tempfile::tempdir().unwrap();
        let deployment = DeploymentId::generate();
        let afterwards = "`cargo xtask resume --env staging`\nrm -rf /tmp/never";
        let text = script(deployment, "staging", afterwards, &[stuck]);
        let path = write(folder.path(), deployment, &text).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("# Read it before you run it. Afterwards: `cargo xtask resume --env staging` rm"),
            "{text}"
        );
        #[cfg(unix)]
        {
            let output = std::process::Command::new(&path).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), "one two", "{text}");
        }
    }
}
