//! What stands where a store's file would be.
//!
//! Invariant: nothing is made here, and no file but a store's own is opened for writing. Only a place where nothing stands
//! yet counts as empty: what cannot be looked at, and what stands in the way, is an error.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::ReleasesError;
use crate::policy::FILE_NAME;

/// Whether there is a file at a store's place. Makes none.
///
/// What is no file, what cannot be read, a link to nothing, and a file where the store's folder would be are errors; so is
/// an address such as `s3://bucket/x`, which would be taken for a folder.
///
/// ```
/// # let folder = tempfile::tempdir()?; let project = folder.path();
/// assert!(!nuages_releases::is_there(&nuages_releases::location(project, None))?);
/// assert!(nuages_releases::is_there("s3://bucket/x".as_ref()).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn is_there(path: &Path) -> Result<bool, ReleasesError> {
    if is_address(path) {
        // As the person wrote it: the file's name was added here.
        let folder = path
            .parent()
            .filter(|_| path.file_name().is_some_and(|name| name == FILE_NAME));
        return Err(ReleasesError::Shared(folder.unwrap_or(path).to_owned()));
    }
    let unreadable = |source| ReleasesError::Unreadable {
        path: path.to_owned(),
        source,
    };
    match fs::metadata(path) {
        Ok(found) if found.is_file() => fs::File::open(path).map(|_| true).map_err(unreadable),
        Ok(found) => Err(in_the_way(path, &found)),
        Err(error) if is_missing(&error) => above(path).map(|()| false),
        Err(source) => Err(ReleasesError::Unreadable {
            path: in_the_dark(path, &source, |place| fs::metadata(place).is_ok()).to_owned(),
            source,
        }),
    }
}

/// What cannot be read where a place cannot be looked at: the folder that lets nobody in, where one is the reason.
fn in_the_dark<'p>(path: &'p Path, why: &io::Error, is_seen: impl Fn(&Path) -> bool) -> &'p Path {
    if why.kind() != io::ErrorKind::PermissionDenied {
        return path;
    }
    path.ancestors().skip(1).find(|place| is_seen(place)).unwrap_or(path)
}

/// Where nothing is found at a place: whether what stands above it is a folder, or nothing.
fn above(path: &Path) -> Result<(), ReleasesError> {
    for place in path.ancestors().filter(|place| !place.as_os_str().is_empty()) {
        let found = match fs::symlink_metadata(place) {
            Ok(found) => found,
            Err(error) if is_missing(&error) => continue,
            Err(source) => {
                return Err(ReleasesError::Unreadable {
                    path: place.to_owned(),
                    source,
                });
            }
        };
        return match fs::metadata(place) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(found) => Err(in_the_way(place, &found)),
            Err(error) if is_missing(&error) && found.is_symlink() => Err(ReleasesError::Dangling {
                path: place.to_owned(),
                target: fs::read_link(place).unwrap_or_default(),
            }),
            Err(source) => Err(ReleasesError::Unreadable {
                path: place.to_owned(),
                source,
            }),
        };
    }
    Ok(())
}

fn in_the_way(path: &Path, found: &fs::Metadata) -> ReleasesError {
    let what = if found.is_dir() {
        "a folder, and a store is a file"
    } else if found.is_file() {
        "a file, and a store's folder is needed there"
    } else {
        "neither a file nor a folder"
    };
    ReleasesError::InTheWay {
        path: path.to_owned(),
        what,
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// `SCHEME://…`; a drive's letter is no scheme.
fn is_address(path: &Path) -> bool {
    let scheme = path.to_str().and_then(|text| Some(text.split_once("://")?.0));
    scheme.is_some_and(|scheme| {
        scheme.len() > 1 && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever runs the tests may be root, who is let in everywhere.
    #[test]
    fn a_folder_that_lets_nobody_in_is_the_one_to_blame() {
        let file = Path::new("/srv/blog/.nuages/nuages.db");
        let above = |folder: &'static str| move |place: &Path| Path::new(folder).starts_with(place);
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        for folder in ["/srv/blog/.nuages", "/srv"] {
            assert_eq!(in_the_dark(file, &denied, above(folder)), Path::new(folder));
        }
        let loops = io::Error::other("a link to itself");
        assert_eq!(in_the_dark(file, &loops, above("/srv")), file);
    }
}
