//! The configuration file: values of flags that are given neither on the command line nor in an
//! environment variable.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Arg, Command};
use epitome_hub::folders;
use toml::{Table, Value};

use crate::failure::Usage;
use crate::flags;

/// A key of the file, with its flag and the commands that have the flag.
#[derive(Debug)]
struct Key {
    name: &'static str,
    commands: &'static [&'static str],
}

/// All keys.
const KEYS: [Key; 4] = [
    Key { name: "model", commands: &["summarize", "serve", "page", "bench"] },
    Key { name: "length", commands: &["summarize", "page"] },
    Key { name: "format", commands: &["summarize"] },
    Key { name: "threads", commands: &["summarize", "serve", "page", "bench", "compare"] },
];

/// The content of the file: keys and values.
#[derive(Debug, Default)]
pub(crate) struct Configuration(Vec<(&'static Key, String)>);

/// The path of the file, whether or not the file exists.
pub(crate) fn path() -> Option<PathBuf> {
    Some(folders::settings()?.join("config.toml"))
}

impl Configuration {
    /// Reads the user's file. A missing file has no keys.
    pub(crate) fn read() -> Result<Self> {
        match path() {
            Some(path) => Self::read_from(&path),
            None => Ok(Self::default()),
        }
    }

    fn read_from(path: &Path) -> Result<Self> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read '{}'", path.display())),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        let path = path.display();
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            Usage(format!("line {line} of {path} is not TOML: {}", error.message()))
        })?;
        let mut values = Vec::new();
        for (name, value) in &table {
            let Some(key) = KEYS.iter().find(|key| key.name == name) else {
                let known = KEYS.map(|key| key.name).join(", ");
                bail!(Usage(format!("{path} has the unknown key '{name}': its keys are {known}")));
            };
            let text = match value {
                Value::String(text) if !text.is_empty() => text.clone(),
                Value::Integer(number) if *number > 0 => number.to_string(),
                _ => bail!(Usage(format!(
                    "{path}: {name} must be a text in quotes, or a whole number above 0"
                ))),
            };
            values.push((key, text));
        }
        Ok(Self(values))
    }

    /// The value of a key, where it is set.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The keys that are set, and their values.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.name, value.as_str()))
    }

    /// The command with these values as the defaults of its flags.
    pub(crate) fn apply(self, command: Command) -> Command {
        flags::each(command, |subcommand, flag| self.set(subcommand, flag))
    }

    fn set(&self, command: &str, flag: Arg) -> Arg {
        let applies = |key: &Key| flag.get_id() == key.name && key.commands.contains(&command);
        match self.0.iter().find(|(key, _)| applies(key)) {
            Some((_, value)) => flag.default_value(value.clone()),
            None => flag,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Configuration> {
        Configuration::parse(text, Path::new("config.toml"))
    }

    /// The value of a flag when a command runs with this configuration.
    fn value(text: &str, arguments: &[&str], flag: &str) -> Option<String> {
        let summarize = Command::new("summarize")
            .arg(Arg::new("model").long("model"))
            .arg(Arg::new("threads").long("threads").default_value("8"));
        let deploy = Command::new("deploy").arg(Arg::new("model").long("model"));
        let command = Command::new("epitome").subcommands([summarize, deploy]);
        let command = parse(text).unwrap().apply(command);
        let matches = command.get_matches_from(arguments);
        let (_, matches) = matches.subcommand().unwrap();
        matches.get_one::<String>(flag).cloned()
    }

    #[test]
    fn values_are_defaults_and_flags_go_first() {
        let text = "model = 'bart' # the small one\nthreads = 2\n";
        let summarize = ["epitome", "summarize"];
        assert_eq!(value(text, &summarize, "model").as_deref(), Some("bart"));
        assert_eq!(value(text, &summarize, "threads").as_deref(), Some("2"));
        let given = ["epitome", "summarize", "--model", "t5"];
        assert_eq!(value(text, &given, "model").as_deref(), Some("t5"));
        assert_eq!(value("", &summarize, "threads").as_deref(), Some("8"));
        assert_eq!(value(text, &["epitome", "deploy"], "model"), None);
    }

    #[test]
    fn mistakes_are_named_with_the_file() {
        for (text, words) in [
            ("model =", "line 1 of config.toml is not TOML"),
            (
                "\nmodle = 'x'",
                "config.toml has the unknown key 'modle': its keys are model, length",
            ),
            ("threads = 0", "threads must be a text in quotes, or a whole number above 0"),
            ("threads = -1", "threads must be"),
            ("model = ['a']", "model must be a text"),
            ("[model]\nname = 'x'", "model must be a text"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.is::<Usage>());
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
