//! Requests and answers of an endpoint, kept on S3.

use serde_json::{Value, json};

/// What is kept of the requests and answers of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataCapture {
    /// `s3://` prefix that they are put below.
    pub output: String,
    /// Of a hundred requests, how many.
    pub percent: u8,
}

impl DataCapture {
    pub(super) fn describe(&self, kms_key: Option<&str>) -> Value {
        let mut config = json!({
            "EnableCapture": true,
            "InitialSamplingPercentage": self.percent,
            "DestinationS3Uri": self.output,
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {
                "CsvContentTypes": ["text/csv"],
                "JsonContentTypes": ["application/json"],
            },
        });
        if let Some(key) = kms_key {
            config["KmsKeyId"] = key.into();
        }
        config
    }
}
