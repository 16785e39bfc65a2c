//! What checks left whose process is gone: it was killed in the middle of them.
//!
//! Invariant: what a live process uses is neither told nor removed.

use nuages_image::{Engine, ImageError, Swept};
use nuages_model::Finding;

use crate::ui::{Ui, count};

fn said(swept: &Swept) -> String {
    let parts = [(swept.containers, "container"), (swept.networks, "network")];
    let parts = parts.into_iter().filter(|(number, _)| *number > 0);
    parts
        .map(|(number, what)| count(number, what))
        .collect::<Vec<_>>()
        .join(" and ")
}

/// What a look at the machine says of them; nothing where there are none, or no engine to ask.
pub(crate) async fn finding() -> Option<Finding> {
    let found: Result<Swept, ImageError> = async { nuages_image::left(&Engine::connect().await?).await }.await;
    told(&found.ok()?)
}

fn told(left: &Swept) -> Option<Finding> {
    let text = || format!("{} of checks whose process was killed", said(left));
    let hint = "the next check, and `nuages infra down` of any local environment, remove them";
    (!left.is_empty()).then(|| Finding::warn("left behind", text()).hint(hint))
}

/// Removes them. Whoever takes an environment down has something else to do where that fails.
pub(crate) async fn sweep(ui: &Ui) {
    let swept: Result<Swept, ImageError> = async { nuages_image::sweep(&Engine::connect().await?).await }.await;
    match swept {
        Ok(swept) if swept.is_empty() => {}
        Ok(swept) => {
            let task = ui.events.task("checks/left", "Remove what killed checks left");
            task.done(said(&swept));
        }
        Err(error) => tracing::debug!(%error, "what killed checks left is still there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_counted_and_nothing_is_said_of_nothing() {
        assert_eq!(told(&Swept::default()), None);
        let left = Swept {
            containers: 2,
            networks: 1,
        };
        let found = told(&left).unwrap();
        assert_eq!(
            found
                .to_string()
                .matches("2 containers and 1 network of checks")
                .count(),
            1,
            "{found}"
        );
        let network = Swept {
            networks: 1,
            ..Swept::default()
        };
        assert_eq!(said(&network), "1 network");
    }
}
