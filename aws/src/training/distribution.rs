//! Distributed training: the estimator's `distribution`, and its hyperparameters for the container.

use std::str::FromStr;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// Instance types that SageMaker's data parallel library supports.
const SMDISTRIBUTED_INSTANCES: [&str; 4] =
    ["ml.p3.16xlarge", "ml.p3dn.24xlarge", "ml.p4d.24xlarge", "ml.p4de.24xlarge"];

/// Distribution of a job's processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Distribution {
    /// SageMaker's own library.
    pub smdistributed: Option<Smdistributed>,
    /// `torchrun`.
    pub torch_distributed: Option<Enabled>,
    /// `mpirun`.
    pub mpi: Option<Mpi>,
}

/// Settings of SageMaker's own library.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smdistributed {
    /// Data parallelism: each process has the whole model.
    pub dataparallel: DataParallel,
}

/// Settings of data parallelism.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataParallel {
    /// Whether it is used.
    pub enabled: bool,
    /// Options of `mpirun`.
    pub custom_mpi_options: String,
}

/// A distribution without settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enabled {
    /// Whether it is used.
    pub enabled: bool,
}

/// Settings of `mpirun`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mpi {
    /// Whether it is used.
    pub enabled: bool,
    /// Number of processes on each instance; one by default.
    pub processes_per_host: Option<u32>,
    /// Options of `mpirun`.
    pub custom_mpi_options: String,
}

impl FromStr for Distribution {
    type Err = String;

    /// Parses the name of a distribution, which gets its default settings.
    fn from_str(name: &str) -> Result<Self, String> {
        let mut distribution = Self::default();
        match name {
            "smdistributed" => {
                let dataparallel = DataParallel { enabled: true, ..DataParallel::default() };
                distribution.smdistributed = Some(Smdistributed { dataparallel });
            }
            "torch_distributed" => distribution.torch_distributed = Some(Enabled { enabled: true }),
            "mpi" => distribution.mpi = Some(Mpi { enabled: true, ..Mpi::default() }),
            _ => return Err("give smdistributed, torch_distributed or mpi".into()),
        }
        Ok(distribution)
    }
}

impl Distribution {
    /// The hyperparameters of the estimator.
    pub(super) fn hyperparameters(
        &self,
        instance_type: &str,
    ) -> Result<Vec<(&'static str, Value)>> {
        let ways =
            [self.smdistributed.is_some(), self.torch_distributed.is_some(), self.mpi.is_some()];
        if ways.into_iter().filter(|is_given| *is_given).count() > 1 {
            return Err(Error::Invalid(
                "distribution names several of smdistributed, torch_distributed and mpi: give one"
                    .into(),
            ));
        }
        if let Some(smdistributed) = &self.smdistributed {
            if !SMDISTRIBUTED_INSTANCES.contains(&instance_type) {
                return Err(Error::Invalid(format!(
                    "smdistributed does not run on {instance_type}: take one of {}, or \
                     torch_distributed",
                    SMDISTRIBUTED_INSTANCES.join(", ")
                )));
            }
            let DataParallel { enabled, custom_mpi_options } = &smdistributed.dataparallel;
            let mut all = vec![
                ("sagemaker_distributed_dataparallel_enabled", (*enabled).into()),
                ("sagemaker_instance_type", instance_type.into()),
            ];
            if *enabled {
                let options = custom_mpi_options.as_str().into();
                all.push(("sagemaker_distributed_dataparallel_custom_mpi_options", options));
            }
            return Ok(all);
        }
        if let Some(Enabled { enabled }) = self.torch_distributed {
            let mut all = vec![("sagemaker_torch_distributed_enabled", enabled.into())];
            if enabled {
                all.push(("sagemaker_instance_type", instance_type.into()));
            }
            return Ok(all);
        }
        let Some(mpi) = &self.mpi else { return Ok(Vec::new()) };
        let mut all = vec![("sagemaker_mpi_enabled", mpi.enabled.into())];
        if let Some(processes) = mpi.processes_per_host {
            all.push(("sagemaker_mpi_num_of_processes_per_host", processes.into()));
        }
        all.push(("sagemaker_mpi_custom_mpi_options", mpi.custom_mpi_options.as_str().into()));
        Ok(all)
    }
}
