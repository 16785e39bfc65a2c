//! Words: those that were probably meant, and what a person wrote, as a message quotes it.
//!
//! Invariant: what is quoted is short and on one line.

/// The word that was probably meant: a few letters away, or the only one that begins so.
pub(crate) fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str> + Clone) -> Option<&'w str> {
    let word = word.to_lowercase();
    let mistyped = known
        .clone()
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate);
    let mut longer = known.filter(|candidate| word.len() >= 3 && candidate.starts_with(&word));
    mistyped.or_else(|| longer.next().filter(|_| longer.next().is_none()))
}

/// The words that would be right, each once and the nearest first, and beside them those that would be refused.
pub(crate) fn those_there_are(text: &str, now: &[&str], later: &[&str]) -> String {
    // "ec2" means one of the words that begin so, rather than "ecs".
    let begins = |word: &&&str| word.strip_prefix(text).is_some_and(|rest| rest.starts_with('-'));
    let near = nearest(text, now.iter().copied()).filter(|_| !later.iter().any(|word| begins(&word)));
    let others: Vec<&str> = now.iter().copied().filter(|word| Some(*word) != near).collect();
    let mut help = match (near, others.as_slice()) {
        (Some(near), []) => format!("did you mean \"{near}\"?"),
        (Some(near), [other]) => format!("did you mean \"{near}\"? The other is \"{other}\""),
        (Some(near), others) => format!("did you mean \"{near}\"? The others are {}", quoted(others)),
        (None, [only]) => format!("the only one is \"{only}\""),
        (None, words) => format!("one of {}", quoted(words)),
    };
    if let [others @ .., last] = later {
        let (words, have) = match others {
            [] => (format!("\"{last}\""), "has"),
            others => (format!("{} and \"{last}\"", quoted(others)), "have"),
        };
        let joint = if help.ends_with('?') { "" } else { ";" };
        help = format!("{help}{joint} {words} {have} no code yet");
    }
    help
}

/// What a person wrote, short enough for a message and on one line.
pub(crate) fn shown(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars().take(60) {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    if text.chars().nth(60).is_some() {
        out.push('…');
    }
    out
}

pub(crate) fn quoted(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("\"{word}\""))
        .collect::<Vec<_>>()
        .join(", ")
}

pub(crate) fn listed(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
