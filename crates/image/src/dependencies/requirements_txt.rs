//! `requirements.txt`, as pip reads it: continued lines, comments, and other files by `-r` and `-c`.
//!
//! What it asks for is only told apart here; `uv` decides what that means, and evaluates markers.
//!
//! Invariant: a line is understood whole or refused with its number. Hashes, names and markers are never guessed.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use nuages_model::Digest;

use super::first_party::Local;
use super::read;
use crate::ImageError;
use crate::packages::{At, Index, Pinned, is_hash, normal};

/// Files lead to files, but not for ever.
const MOST_FILES: usize = 64;

/// A file and all that it includes.
#[derive(Debug, Default)]
pub(crate) struct RequirementsFile {
    /// Every file that was read, this one first.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) indexes: Vec<Index>,
}

/// A line that asks for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) what: What,
    pub(crate) marker: Option<String>,
    pub(crate) hashes: BTreeSet<String>,
    /// Where it stands, for a person.
    pub(crate) place: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A name with a constraint, such as `>=5,<6`, which may be empty.
    Named { name: String, constraint: String },
    /// A name with an address.
    Addressed { name: String, address: String },
    /// An address or a path without a name; `true` where it stands after `-e`.
    Path { path: String, editable: bool },
}

impl RequirementsFile {
    /// Reads it.
    pub(crate) fn read(file: &Path) -> Result<Self, ImageError> {
        let mut found = Self::default();
        found.include(file, false)?;
        Ok(found)
    }

    /// Reads what a tool wrote as such a file.
    pub(crate) fn of_text(text: &str, folder: &Path) -> Result<Self, ImageError> {
        let mut found = Self::default();
        found.lines(text, &folder.join("its list"), false)?;
        Ok(found)
    }

    fn include(&mut self, file: &Path, constraint: bool) -> Result<(), ImageError> {
        let file = clean(file);
        if self.files.contains(&file) {
            return Ok(());
        }
        if self.files.len() == MOST_FILES {
            return Err(ImageError::packages(
                format!("{} includes more than {MOST_FILES} files", self.files[0].display()),
                None,
            ));
        }
        self.files.push(file.clone());
        let text = read(&file)?;
        self.lines(&text, &file, constraint)
    }

    fn lines(&mut self, text: &str, file: &Path, constraint: bool) -> Result<(), ImageError> {
        let folder = file.parent().unwrap_or_else(|| Path::new("")).to_owned();
        let called = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for (number, line) in logical(text) {
            let place = format!("{called}, line {number}");
            let odd = |why: &str| ImageError::packages(format!("{place}: {why}"), None);
            if let Some((option, value)) = option(&line) {
                match option {
                    "-r" | "--requirement" | "-c" | "--constraint" => {
                        if value.is_empty() || value.contains("://") {
                            return Err(odd("it includes no file of this machine"));
                        }
                        self.include(
                            &folder.join(value),
                            constraint || matches!(option, "-c" | "--constraint"),
                        )?;
                    }
                    "-e" | "--editable" if !constraint => {
                        let (path, marker) = split_marker(value);
                        self.wanted.push(Wanted {
                            what: What::Path {
                                path: unquoted(path).to_owned(),
                                editable: true,
                            },
                            marker,
                            hashes: BTreeSet::new(),
                            place,
                        });
                    }
                    "-i" | "--index-url" => self.indexes.push(Index::Line(format!("--index-url {value}"))),
                    "--extra-index-url" => self.indexes.push(Index::Line(format!("--extra-index-url {value}"))),
                    "-f" | "--find-links" => {
                        let here = folder.join(value);
                        let value = if here.is_dir() {
                            here.display().to_string()
                        } else {
                            value.to_owned()
                        };
                        self.indexes.push(Index::Line(format!("--find-links {value}")));
                    }
                    "--no-index" => self.indexes.push(Index::Line("--no-index".to_owned())),
                    // These tell pip how to choose; here everything is chosen already, or uv reads them itself.
                    "-e" | "--editable" | "--pre" | "--prefer-binary" | "--only-binary" | "--no-binary"
                    | "--require-hashes" | "--trusted-host" | "--use-feature" => {}
                    _ => return Err(odd(&format!("`{option}` is no option that is known here"))),
                }
                continue;
            }
            if !constraint {
                let wanted = wanted(&line, place.clone()).ok_or_else(|| odd("it is no requirement"))?;
                self.wanted.push(wanted);
            }
        }
        Ok(())
    }

    /// Whether each package has its version and its hashes, or is one of the project's own.
    pub(crate) fn is_hashed(&self) -> bool {
        self.wanted.iter().all(|wanted| match &wanted.what {
            What::Named { constraint, .. } => exact(constraint).is_some() && !wanted.hashes.is_empty(),
            What::Addressed { address, .. } => {
                commit(address).is_some() || !wanted.hashes.is_empty() || hash_of_address(address).is_some()
            }
            What::Path { .. } => true,
        })
    }

    /// The packages, and the folders that are the project's own. What has no version or no hash is refused.
    pub(crate) fn pinned(&self, project: &Path) -> Result<(Vec<Pinned>, Vec<Local>), ImageError> {
        let (mut packages, mut local) = (Vec::new(), Vec::new());
        for wanted in &self.wanted {
            let open = |name: &str| {
                ImageError::packages(
                    format!("{name} has no version or no hash ({})", wanted.place),
                    Some(
                        "write the versions and hashes of all packages: \
                         `uv pip compile --universal --generate-hashes requirements.in -o requirements.txt`"
                            .into(),
                    ),
                )
            };
            let pin = |name: &str, at: At, hashes: BTreeSet<String>| Pinned {
                name: normal(name),
                at,
                marker: wanted.marker.clone(),
                hashes,
            };
            match &wanted.what {
                What::Named { name, constraint } => {
                    let version = exact(constraint).ok_or_else(|| open(name))?;
                    if wanted.hashes.is_empty() {
                        return Err(open(name));
                    }
                    packages.push(pin(name, At::Version(version.to_owned()), wanted.hashes.clone()));
                }
                What::Addressed { name, address } => {
                    if let Some(path) = file_path(address) {
                        place(project, &path, name, wanted, &mut packages, &mut local)?;
                    } else if is_repository(address) {
                        let address = commit(address).ok_or_else(|| no_commit(name))?;
                        packages.push(pin(name, At::Commit(address), BTreeSet::new()));
                    } else {
                        let mut hashes = wanted.hashes.clone();
                        hashes.extend(hash_of_address(address));
                        if hashes.is_empty() {
                            return Err(open(name));
                        }
                        let address = address.split('#').next().unwrap_or_default();
                        packages.push(pin(name, At::File(address.to_owned()), hashes));
                    }
                }
                What::Path { path, .. } => {
                    if is_repository(path) || path.contains("://") && file_path(path).is_none() {
                        let name = path.split_once("#egg=").map(|(_, name)| name);
                        let name = name.ok_or_else(|| {
                            ImageError::packages(
                                format!("{}: an address without a name", wanted.place),
                                Some("write it as `NAME @ ADDRESS`".into()),
                            )
                        })?;
                        let name = name.split(['&', '[']).next().unwrap_or(name);
                        let address = commit(path).ok_or_else(|| no_commit(name))?;
                        packages.push(pin(name, At::Commit(address), BTreeSet::new()));
                        continue;
                    }
                    let path = file_path(path).unwrap_or_else(|| PathBuf::from(path));
                    place(project, &path, "", wanted, &mut packages, &mut local)?;
                }
            }
        }
        Ok((packages, local))
    }
}

/// Something on this machine: a wheel of the project, or a folder that is first-party code. Installers take its path from
/// where they are started, which is the project, and not from the file that names it.
fn place(
    project: &Path,
    path: &Path,
    name: &str,
    wanted: &Wanted,
    packages: &mut Vec<Pinned>,
    local: &mut Vec<Local>,
) -> Result<(), ImageError> {
    // `./package[extra]` names a folder and its extras.
    let said = path.to_string_lossy().into_owned();
    let bare = match said.split_once('[') {
        Some((bare, extras)) if extras.ends_with(']') => bare,
        _ => &said,
    };
    let found = Local::within(project, &project.join(bare), &wanted.place)?;
    let is_wheel = found
        .path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("whl"));
    if !is_wheel {
        local.push(found);
        return Ok(());
    }
    let file = project.join(&found.path);
    let content = std::fs::read(&file).map_err(ImageError::file("read", &file))?;
    let name = match name {
        "" => {
            let name = found
                .path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            name.split('-').next().unwrap_or_default().to_owned()
        }
        name => name.to_owned(),
    };
    packages.push(Pinned {
        name: normal(&name),
        at: At::Wheel(found.path),
        marker: wanted.marker.clone(),
        // It is here, so it is what it is.
        hashes: [Digest::of(&content).to_string()].into(),
    });
    Ok(())
}

fn no_commit(name: &str) -> ImageError {
    ImageError::packages(
        format!("{name} comes from a repository, and no commit says what of it"),
        Some(format!(
            "name the commit in full: `{name} @ git+https://HOST/REPOSITORY@COMMIT`"
        )),
    )
}

/// Numbers and texts of the lines, with what is continued joined and comments left out.
fn logical(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_end_matches('\r');
        // A comment ends what was continued before it.
        let bare = without_comment(line);
        let continued = bare.strip_suffix('\\');
        let (start, mut joined) = open.take().unwrap_or((number + 1, String::new()));
        joined.push_str(continued.unwrap_or(bare));
        if continued.is_some() {
            open = Some((start, joined));
        } else if !joined.trim().is_empty() {
            lines.push((start, joined.trim().to_owned()));
        }
    }
    lines.extend(
        open.filter(|(_, joined)| !joined.trim().is_empty())
            .map(|(start, joined)| (start, joined.trim().to_owned())),
    );
    lines
}

fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with('#') {
        return "";
    }
    let at = line
        .match_indices('#')
        .find(|(at, _)| line[..*at].ends_with(char::is_whitespace));
    at.map_or(line, |(at, _)| line[..at].trim_end())
}

/// `-r file`, `-rfile`, `--option=value` and `--option value`.
fn option(line: &str) -> Option<(&str, &str)> {
    if !line.starts_with('-') {
        return None;
    }
    if line.starts_with("--") {
        let end = line.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(line.len());
        let value = line[end..].trim_start_matches('=').trim();
        return Some((&line[..end], unquoted(value)));
    }
    let end = line.char_indices().nth(2).map_or(line.len(), |(at, _)| at);
    Some((&line[..end], unquoted(line[end..].trim_start_matches('=').trim())))
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}

fn wanted(line: &str, place: String) -> Option<Wanted> {
    // Options of a requirement stand after it.
    let end = line.find(" --").unwrap_or(line.len());
    let (requirement, options) = line.split_at(end);
    let mut hashes = BTreeSet::new();
    for option in options
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace("--hash ", "--hash=")
        .split(' ')
    {
        if let Some(hash) = option.strip_prefix("--hash=") {
            if !is_hash(hash) {
                return None;
            }
            hashes.insert(hash.to_ascii_lowercase());
        } else if !option.is_empty()
            && !option.starts_with("--config-setting")
            && !option.starts_with("--global-option")
        {
            return None;
        }
    }
    let requirement = requirement.trim();
    let (what, marker) = what(requirement)?;
    Some(Wanted {
        what,
        marker,
        hashes,
        place,
    })
}

fn what(requirement: &str) -> Option<(What, Option<String>)> {
    let length = requirement.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')));
    let (name, rest) = requirement.split_at(length.unwrap_or(requirement.len()));
    let is_name =
        name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    let rest = rest.trim_start();
    let looks_like_path = requirement.starts_with(['.', '/', '\\', '$', '~'])
        || rest.starts_with(['/', '\\', ':'])
        || rest.starts_with('+')
        || Path::new(name)
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("whl"));
    if looks_like_path {
        let (path, marker) = split_marker(requirement);
        return Some((
            What::Path {
                path: path.to_owned(),
                editable: false,
            },
            marker,
        ));
    }
    if !is_name {
        return None;
    }
    let rest = match rest.strip_prefix('[') {
        Some(extras) => extras.split_once(']')?.1.trim_start(),
        None => rest,
    };
    if let Some(address) = rest.strip_prefix('@') {
        let (address, marker) = split_marker(address.trim());
        let named = What::Addressed {
            name: name.to_owned(),
            address: address.to_owned(),
        };
        return (!address.is_empty()).then_some((named, marker));
    }
    let (constraint, marker) = match rest.split_once(';') {
        Some((constraint, marker)) => (constraint, Some(marker.trim().to_owned())),
        None => (rest, None),
    };
    let constraint = constraint.trim().trim_start_matches('(').trim_end_matches(')').trim();
    let known = constraint.is_empty() || constraint.starts_with(['=', '<', '>', '!', '~']);
    let named = What::Named {
        name: name.to_owned(),
        constraint: constraint.to_owned(),
    };
    known.then_some((named, marker.filter(|marker| !marker.is_empty())))
}

/// An address may hold a semicolon; a marker's stands after a space.
fn split_marker(text: &str) -> (&str, Option<String>) {
    match text.split_once(" ;").or_else(|| text.split_once("; ")) {
        Some((address, marker)) => (
            address.trim(),
            Some(marker.trim().to_owned()).filter(|marker| !marker.is_empty()),
        ),
        None => (text.trim(), None),
    }
}

/// The version of a constraint that leaves no choice.
pub(super) fn exact(constraint: &str) -> Option<&str> {
    let version = constraint.trim().strip_prefix("==")?;
    let version = version.trim_start_matches('=').trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '!' | '-' | '_');
    (!version.is_empty() && version.chars().all(plain)).then_some(version)
}

pub(super) fn is_repository(address: &str) -> bool {
    ["git+", "hg+", "svn+", "bzr+"]
        .iter()
        .any(|kind| address.starts_with(kind))
}

/// The address with its commit, without what pip alone reads, if it names a whole commit.
pub(super) fn commit(address: &str) -> Option<String> {
    if !address.starts_with("git+") {
        return None;
    }
    let (path, fragment) = match address.split_once('#') {
        Some((path, fragment)) => (path, fragment),
        None => (address, ""),
    };
    let (_, commit) = path.rsplit_once('@')?;
    let whole = matches!(commit.len(), 40 | 64) && commit.chars().all(|c| c.is_ascii_hexdigit());
    let folder = fragment.split('&').find(|part| part.starts_with("subdirectory="));
    whole.then(|| folder.map_or_else(|| path.to_owned(), |folder| format!("{path}#{folder}")))
}

fn hash_of_address(address: &str) -> Option<String> {
    let (_, fragment) = address.split_once('#')?;
    let hash = fragment.split('&').find_map(|part| part.strip_prefix("sha256="))?;
    let whole = hash.len() == 64 && hash.chars().all(|c| c.is_ascii_hexdigit());
    whole.then(|| format!("sha256:{}", hash.to_ascii_lowercase()))
}

/// The path of a `file:` address, or of what is none at all.
fn file_path(address: &str) -> Option<PathBuf> {
    if let Some(rest) = address.strip_prefix("file:") {
        if let Ok(address) = url::Url::parse(address)
            && rest.starts_with("//")
        {
            return address.to_file_path().ok();
        }
        return Some(PathBuf::from(rest));
    }
    (!address.contains("://")).then(|| PathBuf::from(address))
}

/// A path without `.` and `..`, as far as its own words go.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if out.file_name().is_some() => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_text(text: &str) -> Result<RequirementsFile, ImageError> {
        RequirementsFile::of_text(text, Path::new("/project"))
    }

    fn pinned(text: &str) -> String {
        match read_text(text).and_then(|file| file.pinned(Path::new("/project"))) {
            Ok((packages, _)) => crate::packages::text(&packages),
            Err(error) => format!("{error}; {}\n", error.hint().unwrap_or_default()),
        }
    }

    #[test]
    fn lines_are_what_pip_takes_them_for() {
        let hash = "3be5a72d04c873d690d7c6dedd33d6fae2ef82759881ceec02fc2efd0cba564f";
        let commit = "0123456789012345678901234567890123456789";
        let lines = [
            format!("Django[argon2]==5.2.1 --hash=sha256:{hash} # a comment"),
            format!("zope.interface == 7.0 ; python_version < '3.14' \\\n    --hash sha256:{hash}"),
            format!("uwsgi===2.0 --hash=sha256:{}", hash.to_uppercase()),
            format!("a @ https://host.example/a-1-py3-none-any.whl#sha256={hash}"),
            format!("b @ git+https://host.example/b@{commit}#egg=b&subdirectory=src ; sys_platform == 'linux'"),
            format!("-e git+https://host.example/c@{commit}#egg=C_c"),
            "d>=1".to_owned(),
            "d==1.*".to_owned(),
            "d==1".to_owned(),
            "d==1 --hash=md5:0123".to_owned(),
            "d==1 --hash=sha256:0123".to_owned(),
            "e @ git+https://me:secret@host.example/e@main".to_owned(),
            "git+https://me:secret@host.example/e".to_owned(),
            "https://host.example/f-1-py3-none-any.whl".to_owned(),
            "--prefetch all".to_owned(),
            "?".to_owned(),
            "-r".to_owned(),
            "-r https://host.example/more.txt".to_owned(),
        ];
        let said: Vec<String> = lines
            .iter()
            .map(|line| format!("{line}\n -> {}", pinned(line)))
            .collect();
        let said = said.join("");
        assert_eq!(said.matches("secret").count(), 2, "in what was read alone");
        insta::assert_snapshot!(said);
        assert!(read_text(&lines[..6].join("\n")).unwrap().is_hashed());
        for open in &lines[6..9] {
            assert!(!read_text(open).unwrap().is_hashed(), "{open}");
        }
    }

    #[test]
    fn files_lead_to_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        write(
            "requirements.txt",
            "-r requirements/base.txt\n--extra-index-url=https://pypi.example.org/simple\nb\n",
        );
        write(
            "requirements/base.txt",
            "--constraint=limits.txt\n-r../requirements.txt\na\n",
        );
        write("requirements/limits.txt", "a<2\n");
        let file = RequirementsFile::read(&folder.path().join("requirements.txt")).unwrap();
        let asked: Vec<&What> = file.wanted.iter().map(|wanted| &wanted.what).collect();
        let named = |name: &str| What::Named {
            name: name.into(),
            constraint: String::new(),
        };
        assert_eq!(
            asked,
            [&named("a"), &named("b")],
            "a constraint asks for nothing, and a circle ends"
        );
        assert_eq!(file.files.len(), 3);
        assert_eq!(
            file.indexes,
            [Index::Line("--extra-index-url https://pypi.example.org/simple".into())]
        );
        write("requirements.txt", "-r missing.txt\n");
        let error = RequirementsFile::read(&folder.path().join("requirements.txt")).unwrap_err();
        assert!(error.to_string().contains("missing.txt"), "{error}");
    }

    #[test]
    fn a_path_is_the_project_s_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path().join("project");
        std::fs::create_dir_all(project.join("packages/shop")).unwrap();
        std::fs::create_dir(folder.path().join("other")).unwrap();
        std::fs::write(project.join("own-1.0-py3-none-any.whl"), "wheel").unwrap();
        let read = |line: &str| RequirementsFile::of_text(line, &project).unwrap().pinned(&project);
        let shop = Local {
            path: "packages/shop".into(),
        };
        for line in [
            "-e ./packages/shop",
            "./packages/shop[extra]",
            "shop @ file:packages/shop",
            "-e packages/shop ; python_version > '3'",
        ] {
            assert_eq!(read(line).unwrap().1, std::slice::from_ref(&shop), "{line}");
        }
        assert_eq!(read("-e .").unwrap().1, [Local { path: PathBuf::new() }]);
        let (wheels, _) = read("./own-1.0-py3-none-any.whl").unwrap();
        assert_eq!(
            crate::packages::text(&wheels),
            format!(
                "own @ ./own-1.0-py3-none-any.whl \\\n    --hash={}\n",
                Digest::of(b"wheel")
            )
        );
        for line in ["-e ../other", "./../other", "/etc", "file:///etc"] {
            let said = read(line).unwrap_err().to_string();
            assert!(said.contains("is outside the project's folder"), "{line}: {said}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("../other", project.join("linked")).unwrap();
            let said = read("-e ./linked").unwrap_err().to_string();
            assert!(said.contains("is outside the project's folder"), "{said}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "([a-z.@;=#\\\\ /\\[\\]+:-]|--hash=sha256:|git\\+|\n|-[rec] |é){0,40}") {
            if !text.contains("-r") && !text.contains("-c")
                && let Ok(file) = read_text(&text)
            {
                let _ = file.is_hashed();
                let _ = file.pinned(Path::new("/nowhere"));
            }
        }

        /// What is written as a list is read as the same list.
        #[test]
        fn a_list_is_read_as_it_was_written(
            names in proptest::collection::btree_map("[a-z][a-z0-9]{0,5}", ("[0-9]{1,2}(\\.[0-9]{1,2}){0,2}(rc[0-9])?", "[0-9a-f]{64}", proptest::option::of("python_version (<|>=) '3\\.[0-9]{2}'")), 0..6),
        ) {
            let packages: Vec<Pinned> = names.into_iter().map(|(name, (version, hash, marker))| Pinned {
                name,
                at: At::Version(version),
                marker,
                hashes: [format!("sha256:{hash}")].into(),
            }).collect();
            let text = crate::packages::text(&packages);
            let (again, local) = read_text(&text).unwrap().pinned(Path::new("/project")).unwrap();
            prop_assert_eq!(again, packages);
            prop_assert!(local.is_empty());
        }
    }
}
