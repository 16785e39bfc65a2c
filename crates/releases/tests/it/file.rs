//! The file itself: who may read it, and what is not touched.

use std::fs;

use nuages_releases::{ReleasesError, Store};

use crate::support::{Place, draft, held};

#[cfg(unix)]
#[tokio::test]
async fn is_for_this_user_alone_and_ignored_by_git() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let environment = place.environment().await;
    environment.record(held(&environment).await, draft("1")).await.unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = place.path().parent().unwrap().to_owned();
    assert_eq!(mode(&folder), 0o700);
    for file in ["nuages.db", "nuages.db-wal", "nuages.db-shm"] {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
    }
    assert_eq!(fs::read_to_string(folder.join(".gitignore")).unwrap(), "*\n");
}

#[tokio::test]
async fn a_copy_of_the_file_alone_has_what_was_written_last() {
    let place = Place::new();
    let environment = place.environment().await;
    let fence = held(&environment).await;
    let copy = place.folder.path().join("copy.db");
    for number in 1..=5 {
        environment.record(fence, draft(&number.to_string())).await.unwrap();
        // Nobody closed it: so a process leaves it that was killed.
        fs::copy(place.path(), &copy).unwrap();
        let copied = Store::open(&copy).await.unwrap().environments().await.unwrap();
        assert_eq!(copied[0].releases(10).await.unwrap().len(), number);
        drop(copied);
        fs::remove_file(&copy).unwrap();
    }
}

/// The error, and that the file stays byte for byte what it was.
async fn refused(place: &Place) -> ReleasesError {
    let before = fs::read(place.path()).unwrap();
    let error = Store::open(&place.path()).await.unwrap_err();
    assert_eq!(fs::read(place.path()).unwrap(), before, "it was touched");
    error
}

async fn closed_store() -> Place {
    let place = Place::new();
    let environment = place.environment().await;
    let fence = held(&environment).await;
    for number in 0..50 {
        environment.record(fence, draft(&number.to_string())).await.unwrap();
    }
    drop(environment);
    // Everything into the one file.
    place
        .raw()
        .pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))
        .unwrap();
    place
}

#[tokio::test]
async fn a_newer_format_is_refused_by_name_and_not_touched() {
    let place = closed_store().await;
    let raw = place.raw();
    raw.pragma_update(None, "user_version", 7).unwrap();
    raw.execute("UPDATE meta SET value = '9.1.0' WHERE name = 'tool'", ())
        .unwrap();
    drop(raw);
    let error = refused(&place).await;
    assert!(
        matches!(&error, ReleasesError::Newer { found: 7, known: 1, tool, .. } if tool == "9.1.0"),
        "{error:?}"
    );
    let hint = error.hint().unwrap();
    assert!(
        hint.starts_with("install nuages 9.1.0, which wrote it: `cargo install"),
        "{hint}"
    );
    // Even where the later version keeps its own name elsewhere.
    place.raw().execute_batch("DROP TABLE meta").unwrap();
    assert!(matches!(refused(&place).await, ReleasesError::Newer { .. }));
}

#[tokio::test]
async fn damage_is_told_apart_and_not_touched() {
    let place = closed_store().await;
    let good = fs::read(place.path()).unwrap();
    let mut noticed = 0;
    for damage in 0..3_usize {
        let mut bytes = good.clone();
        match damage {
            0 => bytes[..100].fill(0xff),
            1 => bytes.truncate(good.len() / 2),
            _ => bytes[4096..]
                .iter_mut()
                .step_by(3)
                .for_each(|byte| *byte = byte.wrapping_add(91)),
        }
        fs::write(place.path(), &bytes).unwrap();
        let error = refused(&place).await;
        assert!(matches!(error, ReleasesError::Damaged { .. }), "{damage}: {error:?}");
        assert!(error.hint().unwrap().contains("backup"));
        noticed += 1;
    }
    assert_eq!(noticed, 3);
    fs::write(place.path(), "not a database, but long enough to look at".repeat(40)).unwrap();
    assert!(matches!(refused(&place).await, ReleasesError::Damaged { .. }));
    fs::write(place.path(), &good).unwrap();
    assert_eq!(place.environment().await.releases(100).await.unwrap().len(), 50);
}

#[tokio::test]
async fn a_database_of_another_program_is_not_touched() {
    let place = Place::new();
    fs::create_dir(place.path().parent().unwrap()).unwrap();
    place.raw().execute_batch("CREATE TABLE posts (id INTEGER)").unwrap();
    let error = refused(&place).await;
    assert!(matches!(error, ReleasesError::Foreign(_)), "{error:?}");
}

#[tokio::test]
async fn many_open_a_new_file_at_once() {
    let place = Place::new();
    let path = place.path();
    let opened = (0..12).map(|_| {
        let path = path.clone();
        tokio::spawn(async move { Store::open(&path).await.map(drop) })
    });
    for open in opened.collect::<Vec<_>>() {
        open.await.unwrap().unwrap();
    }
    let format: u32 = place
        .raw()
        .query_row("PRAGMA user_version", (), |row| row.get(0))
        .unwrap();
    assert_eq!(format, 1);
}

#[tokio::test]
async fn a_damaged_or_newer_row_is_an_error_that_names_the_field() {
    let place = Place::new();
    let environment = place.environment().await;
    environment.record(held(&environment).await, draft("1")).await.unwrap();
    for (column, value, what) in [
        ("checks", "[", "the checks"),
        ("outcome", "splendid", "the outcome"),
        ("image_digest", "sha256:12", "the image's digest"),
        ("id", "x", "the id"),
    ] {
        let raw = place.raw();
        let old: String = raw
            .query_row(&format!("SELECT {column} FROM releases"), (), |row| row.get(0))
            .unwrap();
        raw.execute(&format!("UPDATE releases SET {column} = ?1"), [value])
            .unwrap();
        let error = environment.releases(1).await.unwrap_err();
        assert_eq!(error.to_string(), format!("failed to read {what} of a record"));
        raw.execute(&format!("UPDATE releases SET {column} = ?1"), [old])
            .unwrap();
    }
    assert_eq!(environment.releases(1).await.unwrap().len(), 1);
}
