//! `epitome models`

use std::io::stdout;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use epitome_hub::{State, Store, StoredModel};
use epitome_runtime::bundle::FORMAT;

use super::pull;
use crate::failure::Usage;
use crate::model_choice::default_name;
use crate::table;

/// List the models of the store, remove one, choose the default, or export them again
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// List the models with precision, size, window and licence; `epitome models` alone does the
    /// same
    #[command(visible_alias = "ls")]
    List,
    /// Remove models; the checkpoints stay in the cache of the hub
    #[command(visible_alias = "rm")]
    Remove {
        /// Names of models, as `epitome models` lists them
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Choose the default model
    Default {
        /// Name of a model, as `epitome models` lists it
        name: String,
    },
    /// Export models again from the cache of the hub, for example after an update of epitome
    Update {
        /// Names of models; without any, all models that this version of epitome cannot read
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let store = Store::from_env()?;
    match arguments.action.as_ref().unwrap_or(&Action::List) {
        Action::List => list(&store),
        Action::Remove { names } => names.iter().try_for_each(|name| {
            let removed = store.remove(name)?;
            eprintln!("Removed {}", removed.name);
            Ok(())
        }),
        Action::Default { name } => {
            let chosen = store.set_default(name)?;
            eprintln!("{} is taken where no model is named", chosen.name);
            if let Some(other) = default_name(&store)?.filter(|name| *name != chosen.name) {
                eprintln!("epitome: note: the configuration file names {other}, and goes first");
            }
            Ok(())
        }
        Action::Update { names } => update(&store, names),
    }
}

fn list(store: &Store) -> Result<()> {
    let models = store.models()?;
    if models.is_empty() {
        eprintln!(
            "The store ({}) is empty: 'epitome pull facebook/bart-large-cnn' fetches a model",
            store.root().display()
        );
        return Ok(());
    }
    let default = default_name(store)?;
    let header = ["NAME", "PRECISION", "SIZE", "READS", "LICENCE", ""].map(str::to_owned);
    let mut rows = vec![header];
    rows.extend(models.iter().map(|model| row(model, default.as_deref())));
    Ok(table::write(&mut stdout().lock(), &rows)?)
}

fn row(model: &StoredModel, default: Option<&str>) -> [String; 6] {
    let license = model.record.as_ref().and_then(|record| record.license.as_ref());
    let license = license.map_or_else(|| "unknown".into(), |license| license.id.clone());
    let note = if default == Some(&model.name) { "default" } else { "" };
    let none = || "-".to_owned();
    match &model.state {
        State::Ready(manifest) => {
            let bytes: u64 = manifest.files.values().map(|file| file.bytes).sum();
            [
                model.name.clone(),
                manifest.precision.to_string(),
                format!("{:.0} MB", bytes as f64 / 1e6),
                format!("{} tokens", manifest.max_source_tokens),
                license,
                note.into(),
            ]
        }
        State::OtherFormat(found) => {
            let note = format!(
                "format {found}, this epitome reads {FORMAT}: epitome models update {}",
                model.name
            );
            [model.name.clone(), none(), none(), none(), license, note]
        }
        State::Broken(problem) => {
            let note = format!("damaged ({problem}): epitome models update {}", model.name);
            [model.name.clone(), none(), none(), none(), license, note]
        }
    }
}

/// Exports the named models again, or without names those that cannot be read.
fn update(store: &Store, names: &[String]) -> Result<()> {
    let models = match names {
        [] => {
            let stale = |model: &StoredModel| !matches!(model.state, State::Ready(_));
            store.models()?.into_iter().filter(stale).collect()
        }
        names => names.iter().map(|name| store.get(name)).collect::<Result<Vec<_>, _>>()?,
    };
    if models.is_empty() {
        eprintln!("Nothing to do: this epitome reads every model of the store");
    }
    for model in models {
        let name = &model.name;
        let Some((record, id)) =
            model.record.as_ref().and_then(|record| Some((record, record.source()?)))
        else {
            bail!(Usage(format!(
                "nothing says where '{name}' came from: remove it with 'epitome models remove \
                 {name}', and pull it again"
            )));
        };
        pull::again(store, name, &id, record).with_context(|| format!("'{name}'"))?;
    }
    Ok(())
}
