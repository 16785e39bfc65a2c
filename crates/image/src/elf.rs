//! What a compiled file needs of the system that it runs on, and what it offers.
//!
//! Invariant: reads headers, the dynamic section and symbol versions, and runs nothing. What is no ELF file is none; what
//! claims to be one and is damaged is an error, and never a panic.

use std::collections::{BTreeMap, BTreeSet};

use object::elf::{self, FileHeader32, FileHeader64};
use object::endian::Endianness;
use object::read::elf::FileHeader;
use object::read::{FileKind, StringTable};

/// A compiled file: a library, an extension module or a program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Elf {
    /// The architecture as images name it, such as `amd64`; empty where images know no such one.
    pub(crate) architecture: &'static str,
    /// The program that loads it, of a program.
    pub(crate) interpreter: Option<String>,
    /// Libraries that must be there, by the names under which they are looked for.
    pub(crate) needed: BTreeSet<String>,
    /// Folders in which it looks for them first; they may begin with `$ORIGIN`.
    pub(crate) search: Vec<String>,
    /// Versions of symbols that it needs, by library, such as `GLIBC_2.34` of `libc.so.6`.
    pub(crate) requires: BTreeMap<String, BTreeSet<String>>,
    /// Versions of symbols that it offers.
    pub(crate) defines: BTreeSet<String>,
}

impl Elf {
    /// Reads a file's content. `None` if it is no ELF file.
    pub(crate) fn read(content: &[u8]) -> Result<Option<Self>, String> {
        if !content.starts_with(&elf::ELFMAG) {
            return Ok(None);
        }
        let read = match FileKind::parse(content) {
            Ok(FileKind::Elf32) => read::<FileHeader32<Endianness>>(content),
            Ok(FileKind::Elf64) => read::<FileHeader64<Endianness>>(content),
            Ok(_) => return Err("it is an ELF file of an unknown kind".to_owned()),
            Err(error) => Err(error),
        };
        read.map(Some).map_err(|error| error.to_string())
    }

    /// The newest version with this prefix that is asked of any library: `2.34` of `GLIBC_`.
    pub(crate) fn newest_required(&self, prefix: &str) -> Option<Version> {
        newest(self.requires.values().flatten(), prefix)
    }

    /// The newest version with this prefix that it offers.
    pub(crate) fn newest_defined(&self, prefix: &str) -> Option<Version> {
        newest(&self.defines, prefix)
    }
}

fn newest<'a>(names: impl IntoIterator<Item = &'a String>, prefix: &str) -> Option<Version> {
    let numbers = names.into_iter().filter_map(|name| version(name.strip_prefix(prefix)?));
    numbers.max()
}

/// Two numbers, as in `2.36`.
pub(crate) type Version = (u32, u32);

/// `2.36`, `2.2.5` or `3`, by its first two numbers. `PRIVATE` is none.
pub(crate) fn version(text: &str) -> Option<Version> {
    let mut numbers = text.split('.').map(str::parse);
    let major = numbers.next()?.ok()?;
    let minor = numbers.next().unwrap_or(Ok(0)).ok()?;
    Some((major, minor))
}

fn read<H: FileHeader<Endian = Endianness>>(content: &[u8]) -> object::read::Result<Elf> {
    let header = H::parse(content)?;
    let endian = header.endian()?;
    let mut found = Elf {
        architecture: match (header.e_machine(endian), endian, header.is_class_64()) {
            (elf::EM_X86_64, _, true) => "amd64",
            (elf::EM_AARCH64, Endianness::Little, _) => "arm64",
            (elf::EM_386, ..) => "386",
            (elf::EM_ARM, ..) => "arm",
            (elf::EM_RISCV, _, true) => "riscv64",
            (elf::EM_S390, _, true) => "s390x",
            (elf::EM_PPC64, Endianness::Little, _) => "ppc64le",
            _ => "",
        },
        ..Elf::default()
    };
    for segment in header.program_headers(endian, content)? {
        use object::read::elf::ProgramHeader as _;
        if let Some(interpreter) = segment.interpreter(endian, content)? {
            found.interpreter = Some(text(interpreter));
        }
    }
    let sections = header.sections(endian, content)?;
    let dynamic = sections.dynamic_table(endian, content)?;
    for entry in &dynamic {
        let string = || dynamic.string(entry).map(text);
        match entry.tag {
            elf::DT_NEEDED => {
                found.needed.insert(string()?);
            }
            elf::DT_RPATH | elf::DT_RUNPATH => found.search.extend(string()?.split(':').map(str::to_owned)),
            _ => {}
        }
    }
    if let Some((needs, link)) = sections.gnu_verneed(endian, content)? {
        let strings: StringTable<'_> = sections.strings(endian, content, link)?;
        for need in needs {
            let (need, versions) = need?;
            let named = found.requires.entry(text(need.file(endian, strings)?)).or_default();
            for version in versions {
                named.insert(text(version?.name(endian, strings)?));
            }
        }
    }
    if let Some((definitions, link)) = sections.gnu_verdef(endian, content)? {
        let strings: StringTable<'_> = sections.strings(endian, content, link)?;
        for definition in definitions {
            // The first name is the version's own; those after it are what it builds on.
            if let Some(name) = definition?.1.next()? {
                found.defines.insert(text(name.name(endian, strings)?));
            }
        }
    }
    Ok(found)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_version_is_two_numbers() {
        assert_eq!(version("2.36"), Some((2, 36)));
        assert_eq!(version("2.2.5"), Some((2, 2)));
        assert_eq!(version("3"), Some((3, 0)));
        assert_eq!(version("PRIVATE"), None);
        assert_eq!(version(""), None);
        assert!(version("2.9") < version("2.36"));
    }

    #[test]
    fn what_is_no_elf_file_is_none() {
        assert_eq!(Elf::read(b"#!/bin/sh\n"), Ok(None));
        assert_eq!(Elf::read(b""), Ok(None));
        Elf::read(b"\x7fELF").unwrap_err();
    }

    /// This very test is a program, which somebody else made.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn a_program_says_what_it_needs() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let own = Elf::read(&own).unwrap().unwrap();
        assert!(own.interpreter.unwrap().contains("ld-linux"));
        assert!(own.needed.contains("libc.so.6"), "{:?}", own.needed);
        assert!(
            own.requires["libc.so.6"]
                .iter()
                .any(|version| version.starts_with("GLIBC_"))
        );
        let offered = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libc = offered.lines().filter_map(|line| line.split_whitespace().nth(5));
        let libc = libc.into_iter().find(|path| path.ends_with("/libc.so.6")).unwrap();
        let libc = Elf::read(&std::fs::read(libc).unwrap()).unwrap().unwrap();
        assert!(libc.newest_defined("GLIBC_").unwrap() >= (2, 28), "{:?}", libc.defines);
        assert!(own.architecture == libc.architecture && !own.architecture.is_empty());
    }

    proptest! {
        /// Damage at any place of a real file.
        #[cfg(target_os = "linux")]
        #[test]
        fn damage_is_no_panic(at in 0..4096_usize, value: u8, cut in 0..8192_usize) {
            static WHOLE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
                let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
                let library = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
                let smallest = library.filter(|path| path.contains(".so")).min_by_key(|path| std::fs::metadata(path).map_or(u64::MAX, |m| m.len()));
                std::fs::read(smallest.unwrap()).unwrap()
            });
            let mut content = WHOLE.clone();
            let place = at % content.len();
            content[place] = value;
            let _ = Elf::read(&content);
            content.truncate(cut);
            let _ = Elf::read(&content);
        }
    }
}
