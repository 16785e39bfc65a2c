//! What stands where the file would be, and is none.

use std::fs;
use std::path::Path;

use nuages_releases::{ReleasesError, Store, is_there};

/// What is said of a place, by who looks and by who would make a store there.
async fn told(path: &Path) -> String {
    let error = is_there(path).unwrap_err();
    assert!(error.hint().is_some(), "{error}");
    let opened = Store::open(path).await.unwrap_err();
    assert_eq!(opened.to_string(), error.to_string());
    error.to_string()
}

#[tokio::test]
async fn a_place_where_nothing_stands_is_empty_and_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/down/nuages.db");
    assert!(!is_there(&path).unwrap());
    assert!(
        !is_there(Path::new("nowhere/nuages.db")).unwrap(),
        "also beside the process"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    Store::open(&path).await.unwrap();
    assert!(is_there(&path).unwrap());
}

#[tokio::test]
async fn an_address_is_no_folder() {
    for (address, shown) in [
        ("s3://bucket/x/nuages.db", "s3://bucket/x"),
        ("dynamodb://eu-west-1/table/nuages.db", "dynamodb://eu-west-1/table"),
        ("https://example.org/my.db", "https://example.org/my.db"),
    ] {
        let path = Path::new(address);
        assert!(
            told(path)
                .await
                .starts_with(&format!("{shown} is no path on this machine"))
        );
        assert!(!Path::new(address.split_once('/').unwrap().0).exists());
    }
}

#[tokio::test]
async fn what_is_in_the_way_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let passwd = folder.path().join("passwd");
    fs::write(&passwd, "root:x:0:0").unwrap();
    let of = |what: &str| format!("{} is {what}", passwd.display());
    assert_eq!(
        told(&passwd.join("nuages.db")).await,
        of("a file, and a store's folder is needed there")
    );
    assert_eq!(
        told(&passwd.join("deep/nuages.db")).await,
        of("a file, and a store's folder is needed there")
    );
    assert_eq!(fs::read_to_string(&passwd).unwrap(), "root:x:0:0");

    let file = folder.path().join("nuages.db");
    fs::create_dir(&file).unwrap();
    assert_eq!(
        told(&file).await,
        format!("{} is a folder, and a store is a file", file.display())
    );
}

#[cfg(unix)]
#[tokio::test]
async fn links_devices_and_what_cannot_be_read_are_told_apart_from_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join(".nuages");
    std::os::unix::fs::symlink("/nowhere/store", &link).unwrap();
    let dangling = told(&link.join("nuages.db")).await;
    assert_eq!(
        dangling,
        format!("{} is a link to /nowhere/store, which is not there", link.display())
    );
    assert!(!Path::new("/nowhere").exists());

    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&link, &link).unwrap();
    let error = is_there(&link.join("nuages.db")).unwrap_err();
    assert!(matches!(error, ReleasesError::Unreadable { .. }), "{error:?}");

    assert_eq!(
        told(Path::new("/dev/null/nuages.db")).await,
        "/dev/null is neither a file nor a folder"
    );

    // A link to a folder that is there is as good as the folder.
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    assert!(!is_there(&link.join("nuages.db")).unwrap());
}
