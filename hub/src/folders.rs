//! The platform's folders for a user's data and settings.

use std::env;
use std::path::PathBuf;

/// The folder for data: the models.
pub fn data() -> Option<PathBuf> {
    platform("LOCALAPPDATA", "XDG_DATA_HOME", ".local/share")
}

/// The folder for settings: the configuration file.
pub fn settings() -> Option<PathBuf> {
    platform("APPDATA", "XDG_CONFIG_HOME", ".config")
}

fn platform(windows: &str, xdg: &str, below_home: &str) -> Option<PathBuf> {
    let folder = |name: &str| {
        let value = env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        value.filter(|folder| folder.is_absolute())
    };
    let home = || env::home_dir().filter(|folder| folder.is_absolute());
    let root = match env::consts::OS {
        "windows" => folder(windows),
        "macos" => home().map(|home| home.join("Library/Application Support")),
        _ => folder(xdg).or_else(|| home().map(|home| home.join(below_home))),
    };
    root.map(|root| root.join("epitome"))
}
