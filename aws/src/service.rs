//! The services of the control plane and their URLs.

/// A service with AWS's JSON protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Amazon SageMaker.
    SageMaker,
    /// Amazon CloudWatch Logs.
    Logs,
    /// Application Auto Scaling.
    AutoScaling,
    /// Amazon CloudWatch.
    CloudWatch,
    /// Amazon Elastic Container Registry.
    Ecr,
}

impl Service {
    /// Name of the service in `AWS_ENDPOINT_URL_...` and in profiles.
    pub(super) fn id(self) -> &'static str {
        match self {
            Self::SageMaker => "SageMaker",
            Self::Logs => "CloudWatch Logs",
            Self::AutoScaling => "Application Auto Scaling",
            Self::CloudWatch => "CloudWatch",
            Self::Ecr => "ECR",
        }
    }

    /// Name of the service in signatures.
    pub(super) fn signing_name(self) -> &'static str {
        match self {
            Self::SageMaker => "sagemaker",
            Self::Logs => "logs",
            Self::AutoScaling => "application-autoscaling",
            Self::CloudWatch => "monitoring",
            Self::Ecr => "ecr",
        }
    }

    /// Media type of the bodies.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::CloudWatch => "application/x-amz-json-1.0",
            _ => "application/x-amz-json-1.1",
        }
    }

    /// The header `X-Amz-Target` of an operation.
    pub(super) fn target(self, operation: &str) -> String {
        let prefix = match self {
            Self::SageMaker => "SageMaker",
            Self::Logs => "Logs_20140328",
            Self::AutoScaling => "AnyScaleFrontendService",
            Self::CloudWatch => "GraniteServiceVersion20100801",
            Self::Ecr => "AmazonEC2ContainerRegistry_V20150921",
        };
        format!("{prefix}.{operation}")
    }

    /// AWS's own URL of the service in a region.
    pub(super) fn url(self, region: &str, fips: bool) -> String {
        let host = match (self, fips) {
            (Self::SageMaker, false) => "api.sagemaker",
            (Self::SageMaker, true) => "api-fips.sagemaker",
            (Self::Logs, false) => "logs",
            (Self::Logs, true) => "logs-fips",
            (Self::AutoScaling, false) => "application-autoscaling",
            (Self::AutoScaling, true) => "application-autoscaling-fips",
            (Self::CloudWatch, false) => "monitoring",
            (Self::CloudWatch, true) => "monitoring-fips",
            (Self::Ecr, false) => "api.ecr",
            (Self::Ecr, true) => "ecr-fips",
        };
        format!("https://{host}.{region}.{}", domain(region))
    }
}

/// The domain of AWS's hosts in a region, which depends on the partition.
pub(super) fn domain(region: &str) -> &'static str {
    const PARTITIONS: [(&str, &str); 6] = [
        ("cn-", "amazonaws.com.cn"),
        ("us-iso-", "c2s.ic.gov"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("us-isof-", "csp.hci.ic.gov"),
        ("eu-isoe-", "cloud.adc-e.uk"),
        ("eusc-", "amazonaws.eu"),
    ];
    PARTITIONS
        .iter()
        .find(|(prefix, _)| region.starts_with(prefix))
        .map_or("amazonaws.com", |(_, domain)| domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_of_the_sdks() {
        let url = |service: Service, region| service.url(region, false);
        assert_eq!(
            url(Service::SageMaker, "eu-west-1"),
            "https://api.sagemaker.eu-west-1.amazonaws.com"
        );
        assert_eq!(url(Service::Logs, "cn-north-1"), "https://logs.cn-north-1.amazonaws.com.cn");
        assert_eq!(
            Service::SageMaker.url("us-gov-west-1", true),
            "https://api-fips.sagemaker.us-gov-west-1.amazonaws.com"
        );
    }
}
