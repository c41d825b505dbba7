//! `epitome doctor`

use std::env;
use std::fmt::Display;
use std::io::{Write, stdout};

use anyhow::{Result, bail};
use clap::Args;
use epitome_evaluation::machine::Machine;
use epitome_hub::{State, Store};
use epitome_runtime::SessionOptions;
use epitome_runtime::kernels::cpu::{Features, features};
use epitome_runtime::library::{self, OnnxRuntime};

use crate::configuration::{self, Configuration};
use crate::model_choice::default_name;

/// Show what epitome finds on this machine, to paste into a bug report
///
/// No token and no password is shown.
#[derive(Args)]
pub(crate) struct Arguments {}

/// The environment variables of proxies, in the order of precedence.
const PROXIES: [&str; 4] = ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"];

pub(crate) fn run(_: &Arguments) -> Result<()> {
    let machine = Machine::this();
    let mut report = Report::default();
    report.row("epitome", env!("CARGO_PKG_VERSION"));
    report.row("system", format!("{} on {}", machine.os, machine.arch));
    report.row("processor", &machine.cpu);
    report.row("kernels", kernels(features()));
    let threads = SessionOptions::default().threads;
    report.row("threads", format!("{threads} of {}", machine.threads));
    library(&mut report);
    configuration(&mut report);
    store(&mut report);
    #[cfg(feature = "hub")]
    hub(&mut report);
    for name in PROXIES {
        let value = env::var(name).or_else(|_| env::var(name.to_ascii_lowercase()));
        if let Ok(value) = value {
            report.row("proxy", format!("{name}={}", without_password(&value)));
        }
    }
    report.print()?;
    match report.problems {
        0 => Ok(()),
        1 => bail!("1 problem, marked with '!'"),
        count => bail!("{count} problems, marked with '!'"),
    }
}

/// Lines of a name and a finding.
#[derive(Default)]
struct Report {
    rows: Vec<(String, String)>,
    problems: usize,
}

impl Report {
    fn row(&mut self, name: &str, found: impl Display) {
        self.rows.push((name.to_owned(), found.to_string()));
    }

    fn problem(&mut self, name: &str, found: impl Display) {
        self.problems += 1;
        self.row(name, format!("! {found}"));
    }

    fn print(&self) -> Result<()> {
        let out = &mut stdout().lock();
        for (name, found) in &self.rows {
            writeln!(out, "{name:<14} {found}")?;
        }
        Ok(out.flush()?)
    }
}

/// The best instruction set that the kernels use on this machine.
fn kernels(found: &Features) -> String {
    let known = [
        (found.amx_int8, "AMX int8"),
        (found.amx_bf16, "AMX bf16"),
        (found.avx512_vnni, "AVX-512 VNNI"),
        (found.avx512 && !found.avx512_vnni, "AVX-512"),
        (found.avx_vnni, "AVX-VNNI"),
        (found.avx2_fma && !found.avx512, "AVX2 FMA"),
        (found.avx2 && !found.avx2_fma, "AVX2"),
        (found.dot_product, "NEON dot products"),
    ];
    let used: Vec<&str> =
        known.into_iter().filter_map(|(used, name)| used.then_some(name)).collect();
    match used.as_slice() {
        [] => "of the plainest instructions".into(),
        used => used.join(", "),
    }
}

fn library(report: &mut Report) {
    const NAME: &str = "ONNX Runtime";
    match library::is_installed() {
        Err(error) => report.problem(NAME, error),
        Ok(false) => report.row(NAME, "not here yet: the first model fetches it once, with pip"),
        Ok(true) => match OnnxRuntime::load() {
            Ok(loaded) => {
                report.row(NAME, format!("{} ({})", loaded.version(), loaded.path().display()));
            }
            Err(error) => report.problem(NAME, error),
        },
    }
}

fn configuration(report: &mut Report) {
    let Some(path) = configuration::path() else {
        return report.row("configuration", "none: this user has no folder for settings");
    };
    match Configuration::read() {
        Err(error) => report.problem("configuration", error),
        Ok(_) if !path.exists() => {
            report.row("configuration", format!("{} (not there)", path.display()));
        }
        Ok(read) => {
            report.row("configuration", path.display());
            for (key, value) in read.values() {
                report.row("", format!("{key} = {value}"));
            }
        }
    }
}

fn store(report: &mut Report) {
    let models = Store::from_env().and_then(|store| Ok((store.models()?, store)));
    let (models, store) = match models {
        Ok(found) => found,
        Err(error) => return report.problem("store", error),
    };
    let count = match models.len() {
        1 => "1 model".to_owned(),
        count => format!("{count} models"),
    };
    report.row("store", format!("{} ({count})", store.root().display()));
    for model in &models {
        match &model.state {
            State::Ready(manifest) => {
                report.row("", format!("{}, {}", model.name, manifest.precision));
            }
            State::OtherFormat(_) | State::Broken(_) => {
                let name = &model.name;
                report
                    .problem("", format!("{name} has to be exported again: epitome models update"));
            }
        }
    }
    match env::var("EPITOME_MODEL") {
        Ok(model) if !model.is_empty() => {
            report.row("default model", format!("{model} (EPITOME_MODEL)"));
        }
        _ => match default_name(&store) {
            Ok(Some(name)) => report.row("default model", name),
            Ok(None) => report.row("default model", "none"),
            Err(error) => report.problem("default model", error),
        },
    }
}

#[cfg(feature = "hub")]
fn hub(report: &mut Report) {
    use epitome_hub::download::Hub;
    use epitome_hub::settings::Settings;

    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(error) => return report.problem("hub", error),
    };
    report.row("hub cache", settings.cache.root().display());
    let token = settings.token.as_ref().map_or("none", |token| token.origin.as_str());
    report.row("hub token", token);
    if settings.offline {
        return report.row("hub", "not asked, since HF_HUB_OFFLINE is set");
    }
    let endpoint = settings.endpoint.clone();
    match Hub::new(settings).and_then(|hub| hub.ping()) {
        Ok(time) => report.row("hub", format!("{endpoint} answers in {} ms", time.as_millis())),
        // A machine without a network is no mistake.
        Err(error) => report.row("hub", error),
    }
}

/// The address without its user name and password.
fn without_password(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            if scheme.is_empty() { format!("...@{host}") } else { format!("{scheme}://...@{host}") }
        }
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("http://proxy:3128"), "http://proxy:3128");
        assert_eq!(without_password("http://me:s@cret@proxy:3128/"), "http://...@proxy:3128/");
        assert_eq!(without_password("me:secret@proxy"), "...@proxy");
        assert_eq!(without_password("localhost,.example"), "localhost,.example");
    }
}
