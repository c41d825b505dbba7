//! Finding, fetching and loading the ONNX Runtime library.
//!
//! The library is searched in this order:
//!
//! 1. the file that `ORT_DYLIB_PATH` names;
//! 2. the file that the program [prefers](prefer);
//! 3. the folder of the executable, its subfolder `lib`, and the folders `../lib` and
//!    `../lib/epitome`;
//! 4. the cache folder: `EPITOME_CACHE`, or the user's cache folder.
//!
//! If there is no library, the pinned wheel is fetched once with pip and checked by its digest. Its
//! library is kept in the cache folder (feature `fetch`). Nothing is run or loaded from the current
//! folder.

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

/// Environment variable that names the library file to load.
const PATH_VARIABLE: &str = "ORT_DYLIB_PATH";

/// The loaded library. A process loads one, which stays loaded.
static LOADED: Mutex<Option<OnnxRuntime>> = Mutex::new(None);

/// The path of [`prefer`].
static PREFERRED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Sets a library file to load if it exists and `ORT_DYLIB_PATH` is not set. This is for programs
/// that are installed with the library, such as the Python package.
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
    /// Loads the library, or returns the one that is already loaded.
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
        // The pinned file has a known patch version.
        let version = wheel.map_or(version, |wheel| wheel.version.to_owned());
        let broken = |problem: String| LibraryError::Broken { path: path.clone(), problem };
        let environment = ort::init_from(&path)
            .map_err(|error| broken(error.to_string()))?
            .with_name("epitome")
            .with_telemetry(false)
            .build()
            .map_err(|error| broken(error.to_string()))?;
        // Warnings only concern the developers of ONNX Runtime.
        environment.set_log_level(LogLevel::Error);
        Ok(loaded.insert(Self { environment, version, path }).clone())
    }

    /// The version, such as `1.31.0`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The file that was loaded.
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
    /// The pinned wheel, for a file in the cache.
    wheel: Option<&'static Wheel>,
}

/// The result of a search.
enum Search {
    Found(Located),
    /// No library was found. The wheel can be fetched to this folder.
    Absent {
        wheel: &'static Wheel,
        folder: PathBuf,
    },
}

/// Whether a library is installed, so that [`OnnxRuntime::load`] fetches none.
///
/// # Errors
///
/// No library can be found or fetched.
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
        // The loader would search a name without a folder in the system's folders.
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

/// Finds a library that was installed with the program.
fn beside_executable(wheel: Option<&Wheel>) -> Option<PathBuf> {
    let executable = env::current_exe().ok()?;
    let folder = executable.parent()?;
    let plain = format!("{}onnxruntime{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    let names = [Some(plain.as_str()), wheel.map(|wheel| wheel.library)];
    // Linux distributions use the last folder for a library of one program.
    ["", "lib", "../lib", "../lib/epitome"]
        .iter()
        .flat_map(|lib| names.iter().flatten().map(move |name| folder.join(lib).join(name)))
        .find(|path| path.is_file())
}
