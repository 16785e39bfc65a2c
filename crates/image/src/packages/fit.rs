//! Whether packages run on a base: architecture, C library, shared libraries.
//!
//! An installer looks at the tags in a wheel's name, and tags promise too much: a wheel built on this machine, or one whose
//! libraries were left out, fails on import, in production.
//!
//! Invariant: what the compiled files themselves say decides.

use std::collections::BTreeSet;

use super::below;
use super::installed::{Installed, Package};
use crate::ImageError;
use crate::contents::{Contents, Libc};
use crate::elf::Elf;

/// Longer files are no extension modules.
const LONGEST: u64 = 1 << 30;

/// All packages; the error names the first that does not fit.
pub(super) fn check(installed: &Installed, base: &Contents, platform: &str) -> Result<(), ImageError> {
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let files = installed.packages.iter().flat_map(|package| &package.files);
    let own: BTreeSet<String> = files
        .map(|file| name(&file.path))
        .filter(|name| name.contains(".so"))
        .collect();
    let there = |library: &str| base.libraries.contains(library) || own.contains(library);
    let architecture = platform.split('/').nth(1).unwrap_or_default();
    for package in &installed.packages {
        for file in &package.files {
            let compiled = name(&file.path).contains(".so") || file.path.starts_with("bin/");
            let path = below(&installed.folder, &file.path);
            if !compiled || std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LONGEST) {
                continue;
            }
            let content = std::fs::read(&path).map_err(ImageError::file("read", &path))?;
            let elf = Elf::read(&content).map_err(|why| misfit(package, &file.path, &why))?;
            let Some(elf) = elf else { continue };
            if let Some(why) = reason(&elf, base.libc, architecture, there) {
                return Err(misfit(package, &file.path, &why));
            }
        }
    }
    Ok(())
}

/// What was built on this machine is for this machine unless it is for any. The error names the first that is not.
pub(super) fn for_any_machine(installed: &Installed) -> Result<(), ImageError> {
    for package in &installed.packages {
        let path = below(&installed.folder, &package.info).join("WHEEL");
        let wheel = std::fs::read_to_string(&path).map_err(ImageError::file("read", &path))?;
        let tags = wheel
            .lines()
            .filter_map(|line| line.strip_prefix("Tag:"))
            .map(str::trim);
        // Package indexes take no wheels of such a name: they say nothing of the C library.
        let own = |tag: &&str| {
            let platforms = tag.rsplit('-').next().unwrap_or_default();
            let of_this = |platform: &str| {
                ["linux_", "macosx_", "win"]
                    .iter()
                    .any(|known| platform.starts_with(known))
            };
            platforms.split('.').any(of_this)
        };
        if let Some(tag) = tags.into_iter().find(own) {
            return Err(ImageError::packages(
                format!(
                    "{} {} is compiled when it is installed ({tag}), and what is compiled on this machine is not for the image",
                    package.name, package.version
                ),
                Some("choose a version that has wheels, or set `builder = \"docker\"`".into()),
            ));
        }
    }
    Ok(())
}

fn misfit(package: &Package, file: &str, why: &str) -> ImageError {
    ImageError::Packages {
        why: format!(
            "{} {} does not fit the base image: {file} {why}",
            package.name, package.version
        ),
        hint: Some(
            "choose another version of the package, a base image that has what it needs, or `builder = \"docker\"`"
                .into(),
        ),
    }
}

/// Why a compiled file does not run there, if it does not.
fn reason(elf: &Elf, libc: Option<Libc>, architecture: &str, there: impl Fn(&str) -> bool) -> Option<String> {
    if elf.architecture != architecture {
        let found = if elf.architecture.is_empty() {
            "another architecture"
        } else {
            elf.architecture
        };
        return Some(format!("is compiled for {found}, and the image is for {architecture}"));
    }
    let asks = elf.newest_required("GLIBC_");
    match libc {
        Some(Libc::Glibc(major, minor)) => {
            if let Some((asked, of)) = asks.filter(|asked| *asked > (major, minor)) {
                return Some(format!("needs glibc {asked}.{of}, and the base has {major}.{minor}"));
            }
            if elf.needed.iter().any(|library| library.starts_with("libc.musl-")) {
                return Some("is compiled for musl, and the base has glibc".to_owned());
            }
        }
        Some(Libc::Musl(..)) if asks.is_some() || elf.needed.contains("libc.so.6") => {
            return Some("is compiled for glibc, and the base has musl".to_owned());
        }
        Some(Libc::Musl(..)) | None => {}
    }
    // musl's loader is its C library, whatever it is called by.
    let missing = elf
        .needed
        .iter()
        .find(|library| !there(library) && !library.starts_with("libc.musl-"));
    missing.map(|library| format!("needs the library {library}, which neither the base nor any package has"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(architecture: &'static str, needed: &[&str], version: &str) -> Elf {
        let requires = (!version.is_empty()).then(|| ("libc.so.6".to_owned(), [version.to_owned()].into()));
        Elf {
            architecture,
            needed: needed.iter().map(|&name| name.to_owned()).collect(),
            requires: requires.into_iter().collect(),
            ..Elf::default()
        }
    }

    #[test]
    fn what_does_not_run_is_refused_with_the_reason() {
        let (glibc, musl) = (Some(Libc::Glibc(2, 36)), Some(Libc::Musl(1, 2)));
        let there = |library: &str| matches!(library, "libc.so.6" | "libssl.so.3");
        let said = |elf: &Elf, libc| reason(elf, libc, "amd64", there).unwrap_or_default();
        let fits = elf("amd64", &["libc.so.6", "libssl.so.3"], "GLIBC_2.34");
        assert_eq!(said(&fits, glibc), "");
        let on_musl = elf("amd64", &["libc.musl-x86_64.so.1"], "");
        assert_eq!(said(&on_musl, musl), "");
        insta::assert_snapshot!(
            [
                said(&elf("arm64", &[], ""), glibc),
                said(&elf("amd64", &["libc.so.6"], "GLIBC_2.38"), glibc),
                said(&elf("amd64", &["libpq.so.5"], ""), glibc),
                said(&on_musl, glibc),
                said(&fits, musl),
            ]
            .join("\n"),
            @r"
        is compiled for arm64, and the image is for amd64
        needs glibc 2.38, and the base has 2.36
        needs the library libpq.so.5, which neither the base nor any package has
        is compiled for musl, and the base has glibc
        is compiled for glibc, and the base has musl
        "
        );
    }
}
