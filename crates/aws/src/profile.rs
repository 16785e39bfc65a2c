//! What the surroundings offer to sign in with: variables, and the profiles that the AWS tools share.
//!
//! Invariant: they are read as the SDK reads them, and nothing of them but names leaves this module.

use std::path::PathBuf;

use aws_config::profile::ProfileSet;
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_types::os_shim_internal::{Env, Fs};

use crate::context::AwsError;
use crate::error::chain;

/// The profile that somebody named, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named(pub(crate) String);

impl Named {
    /// That of the settings, or of `AWS_PROFILE`.
    pub(crate) fn find(settings: Option<&str>, env: &Env) -> Option<Self> {
        let name = settings.map(str::to_owned).or_else(|| env.get("AWS_PROFILE").ok());
        name.filter(|name| !name.is_empty()).map(Self)
    }
}

/// One half of a key is no key, and the SDK would go on looking elsewhere without a word of it.
pub(crate) fn whole_pair(env: &Env) -> Result<(), AwsError> {
    let secret = ["AWS_SECRET_ACCESS_KEY", "SECRET_ACCESS_KEY"];
    if set(env, "AWS_ACCESS_KEY_ID") && !secret.iter().any(|name| set(env, name)) {
        return Err(AwsError::NoCredentials {
            why: "AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not".into(),
        });
    }
    Ok(())
}

/// Whether credentials would come from a profile: nothing that the SDK asks before or beside it is set.
pub(crate) fn matters(env: &Env) -> bool {
    const OTHERS: [&str; 4] = [
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ];
    !OTHERS.iter().any(|name| set(env, name))
}

fn set(env: &Env, name: &str) -> bool {
    env.get(name).is_ok_and(|value| !value.is_empty())
}

/// Refuses a profile that is in neither file, and files that cannot be read: as the AWS CLI does, and before anything
/// else is asked for credentials. Answers whether the named profile has a way to sign in.
pub(crate) async fn check(named: Option<&Named>, env: &Env, fs: &Fs) -> Result<Standing, AwsError> {
    let set = aws_config::profile::load(fs, env, &EnvConfigFiles::default(), None)
        .await
        .map_err(|error| AwsError::BadProfiles { why: chain(&error) })?;
    let Some(Named(name)) = named else {
        return Ok(Standing::Unnamed);
    };
    if set.get_profile(name).is_none() {
        let mut known: Vec<String> = set.profiles().map(str::to_owned).collect();
        known.sort_unstable();
        return Err(AwsError::NoProfile {
            profile: name.clone(),
            config: place(env, "AWS_CONFIG_FILE", "~/.aws/config"),
            credentials: place(env, "AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
            known,
        });
    }
    Ok(if signs_in(&set, name) {
        Standing::Full
    } else {
        Standing::Empty
    })
}

/// What a profile has to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// None was named.
    Unnamed,
    /// It is there, and says how to sign in.
    Full,
    /// It is there, and says nothing of the kind that is known here.
    Empty,
}

fn signs_in(set: &ProfileSet, name: &str) -> bool {
    const WAYS: [&str; 8] = [
        "aws_access_key_id",
        "credential_process",
        "credential_source",
        "login_session",
        "role_arn",
        "sso_session",
        "sso_start_url",
        "web_identity_token_file",
    ];
    set.get_profile(name)
        .is_some_and(|profile| WAYS.iter().any(|way| profile.get(way).is_some()))
}

/// As the person would write it.
fn place(env: &Env, variable: &str, default: &str) -> PathBuf {
    if set(env, variable) {
        env.get(variable).unwrap_or_default().into()
    } else {
        default.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [(&str, &str); 2] = [
        (
            "/home/ana/.aws/config",
            "[default]\nregion = eu-west-1\n[profile dev]\nsso_session = work\n[profile bare]\nregion = eu-west-1\n[lost]\nx = 1\n",
        ),
        (
            "/home/ana/.aws/credentials",
            "[old]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = hush\n",
        ),
    ];

    async fn checked(name: &str, files: &[(&str, &str)]) -> Result<Standing, AwsError> {
        let env = Env::from_slice(&[("HOME", "/home/ana"), ("AWS_PROFILE", name)]);
        check(Named::find(None, &env).as_ref(), &env, &Fs::from_slice(files)).await
    }

    #[tokio::test]
    async fn a_profile_that_is_nowhere_is_told_beside_those_that_are_there() {
        // `[lost]` lacks the word that the config file wants: the SDK does not see it either.
        for name in ["prod", "lost"] {
            let error = checked(name, &FILES).await.unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "there is no AWS profile `{name}`: ~/.aws/config has no `[profile {name}]`, and ~/.aws/credentials no \
                     `[{name}]`"
                )
            );
            let hint = error.hint().unwrap();
            assert!(hint.contains("`bare`, `default`, `dev`, `old`"), "{hint}");
            assert!(!format!("{error:?}").contains("hush"), "{error:?}");
        }
    }

    #[tokio::test]
    async fn without_any_profile_the_way_to_one_is_told() {
        let error = checked("prod", &[]).await.unwrap_err();
        assert_eq!(
            error.hint().unwrap(),
            "neither file names a profile: `aws configure sso --profile prod` makes it, or unset AWS_PROFILE"
        );
    }

    #[tokio::test]
    async fn a_profile_that_is_there_passes() {
        assert_eq!(checked("dev", &FILES).await.unwrap(), Standing::Full);
        assert_eq!(checked("old", &FILES).await.unwrap(), Standing::Full);
        assert_eq!(checked("bare", &FILES).await.unwrap(), Standing::Empty);
        assert_eq!(checked("", &FILES).await.unwrap(), Standing::Unnamed);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_told_with_its_line() {
        let files = [("/home/ana/.aws/config", "[profile dev\nregion = x\n")];
        let error = checked("dev", &files).await.unwrap_err();
        assert!(matches!(error, AwsError::BadProfiles { .. }), "{error:?}");
        assert!(error.to_string().contains("line 1"), "{error}");
        assert!(error.hint().is_some());
    }

    #[test]
    fn half_a_key_is_told() {
        let told = |set: &[(&str, &str)]| whole_pair(&Env::from_slice(set)).map_err(|error| error.to_string());
        assert_eq!(told(&[]), Ok(()));
        assert_eq!(
            told(&[("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "s")]),
            Ok(())
        );
        let error = told(&[("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "")]).unwrap_err();
        assert!(
            error.ends_with("AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not"),
            "{error}"
        );
    }

    #[test]
    fn a_profile_does_not_matter_beside_another_source() {
        assert!(matters(&Env::from_slice(&[
            ("AWS_PROFILE", "dev"),
            ("AWS_ACCESS_KEY_ID", "")
        ])));
        assert!(!matters(&Env::from_slice(&[("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")])));
    }

    #[test]
    fn files_of_other_names_are_told_by_them() {
        let env = Env::from_slice(&[("AWS_CONFIG_FILE", "/etc/aws")]);
        assert_eq!(
            place(&env, "AWS_CONFIG_FILE", "~/.aws/config"),
            PathBuf::from("/etc/aws")
        );
    }
}
