//! `epitome image`

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use epitome_aws::image::{Contents, Ecr, Image, REPOSITORY, Reference, Registry};
use epitome_runtime::atomic_file;
use epitome_runtime::library::OnnxRuntime;

use crate::failure::Usage;
use crate::progress::with_bar;
use crate::{aws, this_program};

/// Make the container image of this program, and push it to ECR
///
/// This needs neither Docker nor a base image: the image holds this program, ONNX Runtime, and the
/// system libraries that both use.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Registry to push the image to [default: the repository `epitome` in ECR, in the account and
    /// region of the credentials]
    #[arg(
        long,
        value_name = "HOST/REPOSITORY:TAG",
        num_args = 0..=1,
        required_unless_present = "output"
    )]
    push: Option<Option<Reference>>,
    /// File to write the image to; `docker load` and `podman load` read it
    #[arg(short, long, value_name = "FILE.tar")]
    output: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Some(program) = this_program::executable()? else {
        bail!(Usage(
            "an image is made of the program itself, and this is its Python package: run the \
             program of 'cargo build --release'"
                .into()
        ));
    };
    let runtime = OnnxRuntime::load()?;
    let contents = Contents::of_this_process(&program, runtime.path())?;
    let image = with_bar(|progress| Image::new(&contents, progress))?;
    eprintln!("The image has {:.1} MB", image.bytes() as f64 / 1e6);
    if let Some(path) = &arguments.output {
        let cannot = || format!("cannot write '{}'", path.display());
        let mut file = atomic_file::create(path).with_context(cannot)?;
        let name = format!("{REPOSITORY}:{}", env!("CARGO_PKG_VERSION"));
        image.write(&name, &mut file).with_context(cannot)?;
        file.persist(path).with_context(cannot)?;
        eprintln!("Wrote {name} to {}", path.display());
    }
    if let Some(to) = &arguments.push {
        let reference = push(&image, to.as_ref())?;
        eprintln!("Pushed {} as {}", image.digest(), reference);
        writeln!(stdout(), "{reference}")?;
    }
    Ok(())
}

/// Pushes the image to a registry: to ECR unless another one is named.
fn push(image: &Image, to: Option<&Reference>) -> Result<Reference> {
    let connection = aws::connection()?;
    if let Some(reference) = to.filter(|reference| !Ecr::is_host(&reference.host)) {
        let registry = Registry::new(connection, &reference.host, None);
        with_bar(|progress| registry.push(image, reference, progress))?;
        return Ok(reference.clone());
    }
    let control_plane = aws::control_plane()?;
    let ecr = Ecr::open(&control_plane)?;
    let reference = to.cloned().unwrap_or_else(|| ecr.default_reference());
    ecr.require(&reference)?;
    ecr.ensure_repository(&control_plane, &reference.repository)?;
    with_bar(|progress| ecr.registry(connection).push(image, &reference, progress))?;
    Ok(reference)
}
