//! Files out of a Python wheel, which pip brings from wherever it is set up to look.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::archive::{self, Limits, Member};
use super::checksum;
use crate::catalogue::Wheel;
use crate::{fail, problem, require};

/// Downloads a wheel with pip into a temporary folder under `scratch`, verifies it, and unpacks only `members`.
///
/// # Errors
/// an unavailable problem where there is no pip or pip fails; a data problem where the wheel is not the expected one.
pub fn fetch(wheel: &Wheel, members: &[Member], scratch: &Path) -> Result<()> {
    fetch_with("python3", wheel, members, scratch)
}

fn fetch_with(python: &str, wheel: &Wheel, members: &[Member], scratch: &Path) -> Result<()> {
    let name = format!("{}=={}", wheel.package, wheel.version);
    std::fs::create_dir_all(scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    let folder = tempfile::tempdir_in(scratch).with_context(|| format!("cannot write in {}", scratch.display()))?;
    let output = Command::new(python)
        .args([
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--no-input",
            "--quiet",
            "--disable-pip-version-check",
            "--dest",
        ])
        .arg(folder.path())
        .arg(&name)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| problem!(Unavailable, "{python} cannot be run ({e}); install Python 3 with pip"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let said: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        fail!(Unavailable, "pip could not bring {name}: {}", said[said.len().saturating_sub(2)..].join("; "));
    }
    let file = the_wheel(folder.path())?.ok_or_else(|| problem!(Unavailable, "pip brought no wheel of {name}"))?;
    let found = checksum::of_file(&file)?;
    require!(found == wheel.sha256, Data, "the wheel {name} has the sha256 {found}, not {}", wheel.sha256);
    archive::extract(&file, members, Limits::default())
}

fn the_wheel(folder: &Path) -> Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "whl") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A stand-in for python3 that copies `wheel` to pip's `--dest`, the tenth argument, or fails as pip does.
    fn stand_in(dir: &Path, script: &str) -> String {
        let path = dir.join("python3");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("mode");
        path.display().to_string()
    }

    fn members(dir: &Path) -> Vec<Member> {
        vec![Member { name: "p/x.txt".into(), target: dir.join("out/x.txt"), sha256: None }]
    }

    #[test]
    fn a_member_of_the_wheel_arrives_after_the_wheel_was_verified() {
        let dir = tempfile::tempdir().expect("temp");
        let mut zip = zip::ZipWriter::new(std::fs::File::create(dir.path().join("p-1-py3-none-any.whl")).expect("file"));
        zip.start_file("p/x.txt", zip::write::SimpleFileOptions::default()).expect("start");
        zip.write_all(b"hello").expect("write");
        zip.finish().expect("finish");
        let sha256 = checksum::of_file(&dir.path().join("p-1-py3-none-any.whl")).expect("hash");
        let python = stand_in(dir.path(), &format!("cp {}/p-1-py3-none-any.whl \"${{10}}\"", dir.path().display()));

        let wrong = Wheel { package: "p".into(), version: "1".into(), sha256: "0".repeat(64) };
        let error = fetch_with(&python, &wrong, &members(dir.path()), &dir.path().join("s")).expect_err("hash").to_string();
        assert!(error.contains("the wheel p==1 has the sha256"), "{error}");
        assert!(!dir.path().join("out").exists());

        fetch_with(&python, &Wheel { sha256, ..wrong }, &members(dir.path()), &dir.path().join("s")).expect("valid");
        assert_eq!(std::fs::read(dir.path().join("out/x.txt")).expect("there"), b"hello");
        assert_eq!(std::fs::read_dir(dir.path().join("s")).expect("scratch").count(), 0, "the temporary folder is gone");
    }

    #[test]
    fn pips_own_words_are_in_the_error() {
        let dir = tempfile::tempdir().expect("temp");
        let wheel = Wheel { package: "p".into(), version: "1".into(), sha256: String::new() };
        let python = stand_in(dir.path(), "echo 'ERROR: no matching distribution' >&2; exit 1");
        let error = fetch_with(&python, &wheel, &members(dir.path()), dir.path()).expect_err("pip fails").to_string();
        assert!(error.contains("pip could not bring p==1: ERROR: no matching distribution"), "{error}");
        let error = fetch_with("/nonexistent/python3", &wheel, &members(dir.path()), dir.path()).expect_err("no python").to_string();
        assert!(error.contains("install Python 3 with pip"), "{error}");
    }
}
