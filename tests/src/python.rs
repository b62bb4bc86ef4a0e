//! Python with the packages that the examples need, in a virtual environment below `target`, made
//! when it is first needed and kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::program::Program;

/// How long it may take to get and install the packages.
const INSTALL: Duration = Duration::from_secs(300);

/// Python, and the modules made from the `.proto` files.
#[derive(Debug)]
pub struct Python {
    program: Program,
    examples: PathBuf,
    modules: PathBuf,
}

impl Python {
    /// Makes the environment below `target` if it is not there, and the modules anew.
    ///
    /// # Panics
    ///
    /// Without `python3` and its `venv`, and when the packages cannot be had.
    pub fn set_up(target: &Path) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let examples = root.join("examples/python");
        let wanted = fs::read_to_string(examples.join("requirements.txt"));
        let wanted = wanted.expect("the examples say what they require");
        let home = target.join("python");
        let complete = home.join("installed-requirements.txt");
        if fs::read_to_string(&complete).ok().as_ref() != Some(&wanted) {
            install(&home, &examples);
            fs::write(&complete, &wanted).expect("target can be written to");
        }
        let python = Self {
            program: Program::at(home.join("bin/python")),
            examples,
            modules: target.join("python-modules"),
        };
        python.compile(&root.join("proto/proto"));
        python
    }

    fn compile(&self, protos: &Path) {
        fs::create_dir_all(&self.modules).expect("target can be written to");
        let entries = fs::read_dir(protos.join("highwater/v1")).expect("the protos are there");
        let files = entries.map(|entry| text(&entry.expect("a folder can be read").path()));
        let out = text(&self.modules);
        let fixed = [
            "-m".to_owned(),
            "grpc_tools.protoc".to_owned(),
            format!("-I{}", text(protos)),
            format!("--python_out={out}"),
            format!("--grpc_python_out={out}"),
        ];
        self.program.run(fixed.into_iter().chain(files)).ok();
    }

    /// A run of one of the examples.
    pub fn example<'a>(
        &self,
        name: &str,
        args: impl IntoIterator<Item = &'a str>,
    ) -> crate::program::Run {
        let file = text(&self.examples.join(name));
        let args = args.into_iter().map(ToOwned::to_owned);
        let run = self.program.run([file].into_iter().chain(args));
        run.env("PYTHONPATH", &self.modules)
            .env("PYTHONDONTWRITEBYTECODE", "1")
    }
}

fn install(home: &Path, examples: &Path) {
    // An environment that was not finished is of no use.
    drop(fs::remove_dir_all(home));
    let system = Program::at("python3");
    system.run(["-m", "venv", &text(home)]).within(INSTALL).ok();
    let pip = Program::at(home.join("bin/python"));
    let requirements = text(&examples.join("requirements.txt"));
    let args = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
        &requirements,
    ];
    let ended = pip.run(args).within(INSTALL).end();
    assert_eq!(
        ended.code,
        Some(0),
        "the Python packages of examples/python/requirements.txt cannot be installed; the test \
         needs a package index or a cache of pip: {ended}"
    );
}

fn text(path: &Path) -> String {
    path.to_str().expect("paths here are text").to_owned()
}
