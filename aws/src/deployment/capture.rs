//! Data capture: requests and answers of an endpoint that are stored on S3.

use serde_json::{Value, json};

/// Settings of data capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataCapture {
    /// `s3://` prefix of the captured data.
    pub output: String,
    /// Percentage of the requests that are captured.
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
