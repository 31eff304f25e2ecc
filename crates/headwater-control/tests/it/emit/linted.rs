//! What the linters of the field say of emitted infrastructure, without a network.

use std::path::{Path, PathBuf};
use std::process::Command;

use headwater_control::plan::Format;

/// Set by `cargo xtask test` where they are not to be had, which it then says.
const WITHOUT: &str = "HEADWATER_WITHOUT_LINTERS";

fn linter(name: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let program = target.join("linters/bin").join(name);
    if program.is_file() {
        return Some(program);
    }
    assert!(std::env::var_os(WITHOUT).is_some(), "{name} is missing: `cargo xtask test` installs it");
    None
}

fn written(format: Format) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), format);
    folder
}

fn write(folder: &Path, format: Format) {
    for (name, plan) in super::plans() {
        for file in super::emitted(plan, format) {
            let path = folder.join(name).join(file.path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file.text).unwrap();
        }
    }
}

#[track_caller]
fn passes(command: &mut Command) -> String {
    let ran = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}");
    said
}

#[test]
fn cfn_lint_finds_no_error() {
    let Some(program) = linter("cfn-lint") else { return };
    let folder = written(Format::CloudFormation);
    let mut templates = Vec::new();
    for (name, plan) in super::plans() {
        let files = super::emitted(plan, Format::CloudFormation);
        let yaml = files.iter().filter(|file| file.path.ends_with(".yaml"));
        templates.extend(yaml.map(|file| folder.path().join(name).join(&file.path)));
    }
    passes(Command::new(program).args(templates));
}

#[test]
fn checkov_finds_nothing_unsafe() {
    let Some(program) = linter("checkov") else { return };
    // Once for both: it takes longer to start than to look.
    let folder = tempfile::tempdir().unwrap();
    let formats = [(Format::Terraform, "terraform"), (Format::CloudFormation, "cloudformation")];
    for (format, name) in formats {
        write(&folder.path().join(name), format);
    }
    let said = passes(
        Command::new(program)
            .args(["--quiet", "--compact", "--skip-download", "--framework"])
            .args(formats.map(|(_, name)| name))
            .arg("--directory")
            .arg(folder.path()),
    );
    for (_, name) in formats {
        // It passes also where it has read nothing.
        let results = said.split(&format!("{name} scan results")).nth(1);
        let passed = results.and_then(|rest| rest.split("Passed checks: ").nth(1)?.split(',').next());
        assert!(passed.is_some_and(|count| count.parse::<u32>().unwrap() > 300), "{name}: {said}");
    }
}

/// Where Terraform is installed: its own formatter.
#[test]
fn terraform_would_write_it_as_it_is() {
    if Command::new("terraform").arg("version").output().is_err() {
        return;
    }
    let folder = written(Format::Terraform);
    passes(Command::new("terraform").args(["fmt", "-check", "-diff", "-recursive"]).arg(folder.path()));
}
