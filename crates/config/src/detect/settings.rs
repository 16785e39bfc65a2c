//! What the settings say, read as text.
//!
//! Invariant: what is not understood is left unknown, and never guessed from running it.

use std::path::Path;

use super::DatabaseKind;
use super::files::{quoted, text, walk};

#[derive(Debug)]
pub(super) struct Settings {
    pub(super) module: Option<String>,
    /// The package of the settings: the project's own.
    pub(super) package: Option<String>,
    pub(super) wsgi: Option<String>,
    pub(super) asgi: Option<String>,
    pub(super) channels: bool,
    pub(super) celery: Option<String>,
    pub(super) beat: bool,
    pub(super) database: DatabaseKind,
    pub(super) static_root: bool,
    pub(super) secret_key: Option<String>,
    pub(super) allowed_hosts: Option<String>,
}

pub(super) fn look(dir: &Path) -> Settings {
    let manage = text(&dir.join("manage.py")).unwrap_or_default();
    let module = module_of(&manage);
    let package = module
        .as_deref()
        .and_then(|module| module.split('.').next())
        .map(str::to_owned);
    let code = module.as_deref().map(|module| code_of(dir, module)).unwrap_or_default();
    let exists = |module: &str| dir.join(module.replace('.', "/")).with_extension("py").is_file();
    let beside = |name: &str| {
        package
            .as_ref()
            .map(|package| format!("{package}.{name}"))
            .filter(|module| exists(module))
    };

    let celery_file = package
        .as_ref()
        .map(|package| dir.join(package).join("celery.py"))
        .and_then(|path| text(&path));
    let database = if code.contains("db.backends.postgresql") || code.contains("contrib.gis.db.backends.postgis") {
        DatabaseKind::Postgres
    } else if code.contains("db.backends.mysql") {
        DatabaseKind::Mysql
    } else if code.contains("db.backends.sqlite3") {
        DatabaseKind::Sqlite
    } else {
        DatabaseKind::Unknown
    };
    Settings {
        wsgi: application(&code, "WSGI_APPLICATION").or_else(|| beside("wsgi")),
        channels: assigned(&code, "ASGI_APPLICATION").is_some(),
        asgi: application(&code, "ASGI_APPLICATION").or_else(|| beside("asgi")),
        beat: celery_file
            .as_deref()
            .is_some_and(|code| code.contains("beat_schedule"))
            || code.contains("CELERY_BEAT_SCHEDULE"),
        celery: celery_file.and(package.clone()),
        database,
        static_root: assigned(&code, "STATIC_ROOT").is_some(),
        secret_key: variable(&code, "SECRET_KEY"),
        allowed_hosts: variable(&code, "ALLOWED_HOSTS"),
        module: module.map(|module| production(dir, &module)),
        package,
    }
}

/// What follows `DJANGO_SETTINGS_MODULE` in `manage.py`.
fn module_of(manage: &str) -> Option<String> {
    let (_, after) = manage.split_once("DJANGO_SETTINGS_MODULE")?;
    // The quote that closes the name itself comes first.
    let after = after.strip_prefix(['"', '\'']).unwrap_or(after);
    let module = quoted(after).into_iter().next()?;
    let valid = !module.is_empty() && module.split('.').all(is_identifier);
    valid.then(|| module.to_owned())
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_') && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// The production settings beside these, where there are some.
fn production(dir: &Path, module: &str) -> String {
    let folder = dir.join(module.replace('.', "/"));
    let (package, folder) = if folder.join("__init__.py").is_file() {
        (module, folder)
    } else {
        let Some((package, _)) = module.rsplit_once('.') else {
            return module.to_owned();
        };
        (package, folder.parent().unwrap_or(dir).to_path_buf())
    };
    let named = [
        "production",
        "prod",
        "deploy",
        "settings_production",
        "settings_prod",
        "production_settings",
    ];
    let found = named
        .into_iter()
        .find(|name| folder.join(name).with_extension("py").is_file());
    found.map_or_else(|| module.to_owned(), |name| format!("{package}.{name}"))
}

/// The settings' code: the module, and where it is part of a package of settings, all of that.
fn code_of(dir: &Path, module: &str) -> String {
    let folder = dir.join(module.replace('.', "/"));
    let mut code = text(&folder.with_extension("py")).unwrap_or_default();
    let package = if folder.is_dir() {
        folder
    } else {
        folder.parent().unwrap_or(dir).to_path_buf()
    };
    let named_settings = package
        .file_name()
        .is_some_and(|name| name.to_string_lossy().contains("settings"));
    walk(&package, 0, &mut |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".py") && (named_settings || name.contains("settings")) {
            code.push('\n');
            code.push_str(&text(path).unwrap_or_default());
        }
    });
    code
}

/// The right side of an assignment to this name, to the end of its line; the last one that stands in the code.
fn assigned<'c>(code: &'c str, name: &str) -> Option<&'c str> {
    code.lines().rev().find_map(|line| {
        let rest = line.trim_start().strip_prefix(name)?.trim_start();
        let rest = rest
            .split_once('=')
            .filter(|(before, _)| before.is_empty() || before.starts_with(':'))?
            .1;
        (!rest.starts_with('=')).then(|| rest.trim())
    })
}

/// The module of `X = "module.application"`.
fn application(code: &str, name: &str) -> Option<String> {
    let path = quoted(assigned(code, name)?).into_iter().next()?;
    let (module, _) = path.rsplit_once('.')?;
    module.split('.').all(is_identifier).then(|| module.to_owned())
}

/// The environment variable that a setting is read from: an upper-case name in quotes, on any line that assigns it.
fn variable(code: &str, name: &str) -> Option<String> {
    let upper = |text: &str| {
        text.len() >= 3
            && text.starts_with(|c: char| c.is_ascii_uppercase())
            && text
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    code.lines().find_map(|line| {
        let right = assigned(line, name)?;
        let reads = ["environ", "getenv", "env", "config"]
            .iter()
            .any(|word| right.contains(word));
        quoted(right)
            .into_iter()
            .find(|text| reads && upper(text))
            .map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_module() {
        for manage in [
            "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')",
            "os.environ.setdefault(\n    \"DJANGO_SETTINGS_MODULE\",\n    \"shop.settings\",\n)",
            "os.environ[\"DJANGO_SETTINGS_MODULE\"] = \"shop.settings\"",
        ] {
            assert_eq!(module_of(manage).as_deref(), Some("shop.settings"), "{manage}");
        }
        assert_eq!(module_of("DJANGO_SETTINGS_MODULE, 'not a module'"), None);
        assert_eq!(module_of(""), None);
    }

    #[test]
    fn where_settings_come_from() {
        let code = "SECRET_KEY = os.environ['DJANGO_SECRET_KEY']\nALLOWED_HOSTS: list = env.list(\"HOSTS\")\nX == 1\n";
        assert_eq!(variable(code, "SECRET_KEY").as_deref(), Some("DJANGO_SECRET_KEY"));
        assert_eq!(variable(code, "ALLOWED_HOSTS").as_deref(), Some("HOSTS"));
        assert_eq!(variable("SECRET_KEY = 'ABCDEF'", "SECRET_KEY"), None);
        assert_eq!(assigned("SECRET_KEY_FALLBACKS = []", "SECRET_KEY"), None);
        assert_eq!(
            application("WSGI_APPLICATION = 'a.wsgi.application'", "WSGI_APPLICATION").as_deref(),
            Some("a.wsgi")
        );
    }
}
