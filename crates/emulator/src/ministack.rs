//! What this crate knows of MiniStack: its image, its addresses, its environment.
//!
//! Invariant: a name that MiniStack gave something stands here and nowhere else in the crate.

/// The image that is run, as it is published.
pub const IMAGE: &str = "ministackorg/ministack:1.5.33-full";
/// The version in it.
pub const VERSION: &str = "1.5.33";
/// The port it listens on inside its container.
pub const PORT: u16 = 4566;
/// Answers 200 and a JSON object with `version` when it serves.
pub const HEALTH: &str = "/_ministack/health";
/// On every container it starts: which MiniStack it was, as `HOSTNAME:PORT`.
pub const INSTANCE_LABEL: &str = "ministack.instance";

/// The value of [`INSTANCE_LABEL`] on the children of the emulator with this host name.
pub fn instance(hostname: &str) -> String {
    format!("{hostname}:{PORT}")
}

/// On the container of a database: the instance's identifier.
pub(crate) const DATABASE_LABEL: &str = "db_id";

/// The volume of a database instance, in one account and region.
pub(crate) fn database_volume(account: &str, region: &str, instance: &str) -> String {
    format!("{}instance-{instance}-data", database_volume_prefix(account, region))
}

/// How the volumes of its databases begin, in one account and region.
pub(crate) fn database_volume_prefix(account: &str, region: &str) -> String {
    let scope = ring::digest::digest(
        &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{account}:{region}").as_bytes(),
    );
    format!("ministack-rds-{}-", &hex::encode(scope)[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_image_holds_the_version() {
        assert_eq!(IMAGE, format!("ministackorg/ministack:{VERSION}-full"));
        let pinned = include_str!("../../../fixtures/images/ministack/requirements.txt");
        assert!(pinned.contains(&format!("ministack[full]=={VERSION}\n")));
    }
}
