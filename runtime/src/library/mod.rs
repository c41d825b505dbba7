//! Finding, fetching and loading the ONNX Runtime library.
//!
//! It is looked for, in this order: the file that `ORT_DYLIB_PATH` names; the file that the program
//! [prefers](prefer); beside the executable, or in a folder `lib` there or beside that, or in the
//! latter's `epitome`; the cache folder (`EPITOME_CACHE`, or the user's cache folder of the
//! platform). Where there is none, the pinned wheel is fetched once with pip, checked by its
//! digest, and its library kept in the cache folder (feature `fetch`). Nothing is run or loaded
//! from the current folder.

mod cache;
mod error;
#[cfg(feature = "fetch")]
mod fetch;
mod inspect;
pub mod platform;

use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;

pub use error::LibraryError;
use platform::Wheel;

/// Names a library file to load before any other.
const PATH_VARIABLE: &str = "ORT_DYLIB_PATH";

/// The loaded library. There is one a process, and it stays loaded.
static LOADED: Mutex<Option<OnnxRuntime>> = Mutex::new(None);

/// What [`prefer`] was given.
static PREFERRED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Loads the library from this file where there is one, unless `ORT_DYLIB_PATH` names another: for
/// programs that are installed with it, as in Python.
pub fn prefer(path: impl Into<PathBuf>) {
    *PREFERRED.lock().unwrap_or_else(PoisonError::into_inner) = Some(path.into());
}

/// A loaded ONNX Runtime library.
#[derive(Clone, Debug)]
pub struct OnnxRuntime {
    environment: Environment,
    version: String,
    path: PathBuf,
}

impl OnnxRuntime {
    /// Loads the library, or returns the one this process has loaded before.
    pub fn load() -> Result<Self, LibraryError> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*loaded {
            return Ok(runtime.clone());
        }
        let Located { path, wheel } = locate()?;
        if let Some(wheel) = wheel {
            cache::check(&path, wheel)?;
        }
        let version = inspect::version(&path)?;
        // A pinned file is known to the last digit.
        let version = wheel.map_or(version, |wheel| wheel.version.to_owned());
        let broken = |problem: String| LibraryError::Broken { path: path.clone(), problem };
        let environment = ort::init_from(&path)
            .map_err(|error| broken(error.to_string()))?
            .with_name("epitome")
            .with_telemetry(false)
            .build()
            .map_err(|error| broken(error.to_string()))?;
        // Warnings are for those who write the library's own optimizers.
        environment.set_log_level(LogLevel::Error);
        Ok(loaded.insert(Self { environment, version, path }).clone())
    }

    /// Its version, as `1.31.0`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The file it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }
}

/// A library file.
struct Located {
    path: PathBuf,
    /// The pinned wheel that a file in the cache must come from.
    wheel: Option<&'static Wheel>,
}

/// What a search for a library came to.
enum Search {
    Found(Located),
    /// It may be fetched.
    Absent {
        wheel: &'static Wheel,
        folder: PathBuf,
    },
}

/// Whether a library is here already, so that [`OnnxRuntime::load`] fetches none.
///
/// # Errors
///
/// Why there can be none.
pub fn is_installed() -> Result<bool, LibraryError> {
    Ok(matches!(search()?, Search::Found(_)))
}

fn locate() -> Result<Located, LibraryError> {
    let (wheel, folder) = match search()? {
        Search::Found(found) => return Ok(found),
        Search::Absent { wheel, folder } => (wheel, folder),
    };
    #[cfg(feature = "fetch")]
    fetch::fetch(wheel, &folder)?;
    let path = folder.join(wheel.library);
    match path.is_file() {
        true => Ok(Located { path, wheel: Some(wheel) }),
        false => Err(LibraryError::Missing { cache: folder }),
    }
}

fn search() -> Result<Search, LibraryError> {
    let installed = |path| Located { path, wheel: None };
    if let Some(path) = env::var_os(PATH_VARIABLE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        // A name without a folder would be looked for in the system's folders.
        return match std::path::absolute(&path) {
            Ok(whole) if whole.is_file() => Ok(Search::Found(installed(whole))),
            _ => Err(LibraryError::NotAFile { path }),
        };
    }
    let preferred = PREFERRED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(path) = preferred.filter(|path| path.is_file()) {
        return Ok(Search::Found(installed(path)));
    }
    let wheel = platform::current();
    if let Some(path) = beside_executable(wheel) {
        return Ok(Search::Found(installed(path)));
    }
    let Some(wheel) = wheel else {
        let platform = format!("{} on {}", env::consts::OS, env::consts::ARCH);
        return Err(LibraryError::UnknownPlatform { platform });
    };
    let folder = cache::folder(wheel)?;
    let path = folder.join(wheel.library);
    Ok(match path.is_file() {
        true => Search::Found(Located { path, wheel: Some(wheel) }),
        false => Search::Absent { wheel, folder },
    })
}

/// A library that was installed with the program.
fn beside_executable(wheel: Option<&Wheel>) -> Option<PathBuf> {
    let executable = env::current_exe().ok()?;
    let folder = executable.parent()?;
    let plain = format!("{}onnxruntime{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    let names = [Some(plain.as_str()), wheel.map(|wheel| wheel.library)];
    // The last is where Linux distributions put a library that belongs to one program.
    ["", "lib", "../lib", "../lib/epitome"]
        .iter()
        .flat_map(|place| names.iter().flatten().map(move |name| folder.join(place).join(name)))
        .find(|path| path.is_file())
}
