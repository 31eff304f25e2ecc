//! A server that this machine's own suite has no package of, out of another suite of Debian or of Ubuntu: in a folder of its own
//! under target, together with the libraries that it needs, so that nothing of this machine is replaced or touched.
//!
//! `apt-get`, told to keep its books in that folder, finds out what the server needs, and checks the suite's index against the
//! archive's keys and each package against the checksum that stands there. Debian's keys are this machine's; where Ubuntu's archive is,
//! and its keys, are learnt from Debian's own packages. Suites may move, so the newest version is taken, and kept.
//!
//! The packages are for x86-64 only here; elsewhere, and where there is no `apt-get`, what needs them is skipped, and said to be.
//! All libraries, and the loader among them, lie in `usr/lib/x86_64-linux-gnu` of the folder, wherever their packages have them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::engines::Skips;

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

pub struct Server {
    pub name: &'static str,
    pub used_for: &'static str,
    /// Under target.
    pub folder: &'static str,
    pub suites: Suites,
    /// The server's own first.
    pub packages: &'static [&'static str],
    /// In the folder. That it says its version shows that all it needs is there.
    pub program: &'static str,
    /// What stands before the version there.
    pub version_after: &'static str,
    pub skips: Skips,
}

/// Suites and their components, as lines of `sources.list` have them.
#[derive(Clone, Copy)]
pub enum Suites {
    Debian(&'static [&'static str]),
    Ubuntu(&'static [&'static str]),
}

impl Server {
    fn path(&self) -> PathBuf {
        crate::target().join(self.folder)
    }

    /// What the server calls itself. It is written down last, and what was installed with it: half an installation is made again,
    /// and one of other packages.
    fn installed(&self) -> Option<String> {
        let written = std::fs::read_to_string(self.path().join("installed")).ok()?;
        let (version, packages) = written.split_once('\n')?;
        (packages.trim_end() == self.packages.join(" ")).then(|| version.to_owned())
    }

    pub fn list(&self) {
        let state = self.installed().unwrap_or_else(|| "installed by `cargo xtask test`".into());
        println!("{:<12} {:<26} {state}: {}", self.name, self.used_for, self.packages[0]);
    }

    /// What is still missing after [`Server::install`], and what is not tested for that.
    pub fn skipped(&self) -> Option<(&'static str, Skips)> {
        self.installed().is_none().then_some((self.packages[0], self.skips))
    }

    /// [`Server::fetch`], where tests can do without: see [`Server::skipped`].
    pub fn install(&self) {
        if let Err(error) = self.fetch() {
            eprintln!("going on without {}: {error:#}", self.name);
        }
    }

    /// Installs what is missing, and says where it is.
    pub fn fetch(&self) -> anyhow::Result<PathBuf> {
        if self.installed().is_some() {
            return self.path().canonicalize().context("resolve the folder");
        }
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            bail!("its packages are taken for Linux on x86-64 only");
        }
        let folder = emptied(&self.path())?;
        eprintln!("installing {} into {}", self.name, folder.display());
        let (archive, lines) = match self.suites {
            Suites::Debian(lines) => (Archive::debian()?, lines),
            Suites::Ubuntu(lines) => (Archive::ubuntu(&folder)?, lines),
        };
        let books = Books::open(&folder, &archive, lines)?;
        books.fetch(self.packages)?;
        books.unpack(&folder)?;
        gather_libraries(&folder)?;
        let version = self.version(&folder)?;
        books.close()?;
        let installed = format!("{version}\n{}\n", self.packages.join(" "));
        std::fs::write(folder.join("installed"), installed).context("write down what is installed")?;
        Ok(folder)
    }

    fn version(&self, folder: &Path) -> anyhow::Result<String> {
        let libraries = folder.join(LIBRARIES);
        let output = Command::new(libraries.join("ld-linux-x86-64.so.2"))
            .arg("--library-path")
            .arg(&libraries)
            .arg(folder.join(self.program))
            .arg("--version")
            .output()
            .with_context(|| format!("start {}", self.program))?;
        if !output.status.success() {
            bail!("{} does not start: {}", self.program, String::from_utf8_lossy(&output.stderr).trim());
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let line = said.lines().next().unwrap_or_default().trim();
        Ok(line.split_once(self.version_after).map_or(line, |(_, version)| version).to_owned())
    }
}

/// A folder that has nothing in it.
fn emptied(folder: &Path) -> anyhow::Result<PathBuf> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    folder.canonicalize().context("resolve the folder")
}

/// Older suites keep some libraries in `lib`, newer ones in `usr/lib` alone.
fn gather_libraries(folder: &Path) -> anyhow::Result<()> {
    let older = folder.join("lib");
    if older.exists() {
        run(Command::new("cp").arg("--archive").arg(older.join(".")).arg(folder.join("usr/lib")))?;
        std::fs::remove_dir_all(&older).context("remove what was moved")?;
    }
    Ok(())
}

/// Where a distribution's packages are, and the keys that sign their index.
struct Archive {
    address: String,
    keys: PathBuf,
}

impl Archive {
    /// Where this machine has its own packages from.
    fn debian() -> anyhow::Result<Archive> {
        let keys = PathBuf::from("/usr/share/keyrings/debian-archive-keyring.gpg");
        if !keys.exists() {
            bail!("Debian's keys are not here: install debian-archive-keyring");
        }
        let output = Command::new("apt-get")
            .args(["indextargets", "--format", "$(LABEL) $(SITE)", "Created-By: Packages"])
            .output()
            .context("cannot start apt-get")?;
        let targets = String::from_utf8_lossy(&output.stdout);
        let address = targets.lines().find_map(|target| target.strip_prefix("Debian ")).map(str::to_owned);
        let address =
            address.context("apt-get knows no source of Debian's packages: run `apt-get update`")?;
        Ok(Archive { address, keys })
    }

    /// As two of Debian's packages say: one makes systems of Ubuntu, one is Ubuntu's keys. They are kept beside the books.
    fn ubuntu(folder: &Path) -> anyhow::Result<Archive> {
        let guide = emptied(&folder.join("apt/ubuntu"))?;
        let books = Books::open(&guide, &Archive::debian()?, &["sid main"])?;
        books.fetch_alone(&["debootstrap", "ubuntu-keyring"])?;
        books.unpack(&guide)?;
        books.close()?;
        let script = guide.join("usr/share/debootstrap/scripts/gutsy");
        let script = std::fs::read_to_string(script).context("read where Ubuntu's archive is")?;
        let address =
            ubuntu_archive(&script).context("debootstrap does not say where Ubuntu's archive is")?;
        Ok(Archive { address, keys: guide.join("usr/share/keyrings/ubuntu-archive-keyring.gpg") })
    }
}

/// The script names a mirror each for what is supported, for what is not any more, and for other machines than x86-64:
/// `default_mirror http://…`.
fn ubuntu_archive(script: &str) -> Option<String> {
    let mut mirrors = script.lines().filter_map(|line| line.trim().strip_prefix("default_mirror "));
    mirrors.find(|mirror| mirror.contains("//archive.")).map(str::to_owned)
}

/// What `apt-get` writes down, of one archive. Nothing is installed, as far as these books say.
struct Books(PathBuf);

impl Books {
    fn open(folder: &Path, archive: &Archive, suites: &[&str]) -> anyhow::Result<Books> {
        let books = folder.join("apt");
        for part in ["lists/partial", "archives/partial", "parts"] {
            let part = books.join(part);
            std::fs::create_dir_all(&part).with_context(|| format!("create {}", part.display()))?;
        }
        let Archive { address, keys } = archive;
        let source = |suite| format!("deb [arch=amd64 signed-by={}] {address} {suite}\n", keys.display());
        let sources: String = suites.iter().map(source).collect();
        std::fs::write(books.join("sources.list"), sources).context("name the suites")?;
        std::fs::write(books.join("status"), "").context("begin the books")?;
        let books = Books(books);
        run(books.apt().arg("update"))?;
        Ok(books)
    }

    /// Together with all that the packages need.
    fn fetch(&self, packages: &[&str]) -> anyhow::Result<()> {
        let fetch = ["install", "--yes", "--download-only", "--no-install-recommends"];
        run(self.apt().args(fetch).args(packages))
    }

    fn fetch_alone(&self, packages: &[&str]) -> anyhow::Result<()> {
        run(self.apt().arg("download").args(packages).current_dir(self.archives()))
    }

    fn unpack(&self, into: &Path) -> anyhow::Result<()> {
        for archive in std::fs::read_dir(self.archives()).context("list the packages")? {
            let archive = archive.context("list the packages")?.path();
            let name = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // Perl is for scripts that nobody runs here, and half of it all.
            if name.ends_with(".deb") && !name.starts_with("perl") && !name.starts_with("libperl") {
                run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(into))?;
            }
        }
        Ok(())
    }

    fn close(self) -> anyhow::Result<()> {
        std::fs::remove_dir_all(self.0).context("remove the books")
    }

    fn archives(&self) -> PathBuf {
        self.0.join("archives")
    }

    /// `apt-get` with these books. It need not be root's.
    fn apt(&self) -> Command {
        let mut apt = Command::new("apt-get");
        apt.args(["--quiet", "--quiet", "-o", "APT::Architecture=amd64", "-o", "APT::Sandbox::User="]);
        for (option, place) in [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Etc::sourceparts", "parts"),
            ("Dir::Etc::preferencesparts", "parts"),
            ("Dir::State", ""),
            ("Dir::State::status", "status"),
            ("Dir::Cache", ""),
        ] {
            let mut set = OsString::from(format!("{option}="));
            set.push(self.0.join(place));
            apt.arg("-o").arg(set);
        }
        apt
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{command:?} failed, see above");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::ubuntu_archive;

    #[test]
    fn the_archive_of_what_is_supported_is_found() {
        let script = "\
            case \"$ARCH\" in\n\
            ports)\n\tdefault_mirror http://ports.example.org/ubuntu-ports\n;;\n\
            amd64)\n\t\tdefault_mirror http://archive.example.org/ubuntu\n;;\n\
            esac\n\
            default_mirror http://old.example.org/ubuntu\n";
        assert_eq!(ubuntu_archive(script).as_deref(), Some("http://archive.example.org/ubuntu"));
        assert_eq!(ubuntu_archive("echo"), None);
    }
}
