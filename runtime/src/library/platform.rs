//! The pinned ONNX Runtime wheel of each platform.

/// Minor version of the oldest ONNX Runtime 1.x that has all operators of the graphs.
pub(crate) const MINIMUM_MINOR: u32 = 23;

/// A wheel of the PyPI package `onnxruntime`, and the library in it.
#[derive(Clone, Copy, Debug)]
pub struct Wheel {
    /// Operating system: `std::env::consts::OS`.
    pub os: &'static str,
    /// Processor architecture: `std::env::consts::ARCH`.
    pub arch: &'static str,
    /// Version of the package.
    pub version: &'static str,
    /// Platform tag of the wheel.
    pub tag: &'static str,
    /// SHA-256 of the wheel.
    pub sha256: &'static str,
    /// File name of the library, in the wheel's folder `onnxruntime/capi`.
    pub library: &'static str,
    /// Size of the library in bytes.
    pub library_bytes: u64,
    /// SHA-256 of the library.
    pub library_sha256: &'static str,
}

/// One wheel per platform. Intel Macs have the last version that was built for them.
#[rustfmt::skip]
const WHEELS: &[Wheel] = &[
    Wheel { os: "linux", arch: "x86_64", version: "1.31.0", tag: "manylinux_2_28_x86_64",
            sha256: "5e129d6c56abd53e659cb70f00a108d6824086470ff99c2e47a82e5786563db3",
            library: "libonnxruntime.so.1.31.0", library_bytes: 29_352_200,
            library_sha256: "21901b1b02233484b80888c16f4f5473742f796bf5528d5d0c4073dbe9802001" },
    Wheel { os: "linux", arch: "aarch64", version: "1.31.0", tag: "manylinux_2_28_aarch64",
            sha256: "35758d7606d578ec5b9d65f6e8a1f488013194c3f6097038a3223cb26d35ef9a",
            library: "libonnxruntime.so.1.31.0", library_bytes: 25_265_040,
            library_sha256: "b79d2fcf36b8870f4b2da95784a6ad846c47f05511ffa7be409c79a44f9dc9a4" },
    Wheel { os: "macos", arch: "aarch64", version: "1.31.0", tag: "macosx_14_0_arm64",
            sha256: "aaab9b3af536b06ca27ab5e35e3d429c97457ce76cf298af103f687e8b9975c0",
            library: "libonnxruntime.1.31.0.dylib", library_bytes: 33_037_336,
            library_sha256: "ff52828ce7c6dd1aea99a5e9f5da9e2786e3d03e467fbf8b6893a4b624334920" },
    Wheel { os: "macos", arch: "x86_64", version: "1.23.2", tag: "macosx_13_0_x86_64",
            sha256: "218295a8acae83905f6f1aed8cacb8e3eb3bd7513a13fe4ba3b2664a19fc4a6b",
            library: "libonnxruntime.1.23.2.dylib", library_bytes: 30_819_512,
            library_sha256: "41e7960eccef34f60ca21d091d37bc97d0e70a0b4ce902babf5f795a76e1af74" },
    Wheel { os: "windows", arch: "x86_64", version: "1.31.0", tag: "win_amd64",
            sha256: "09d56445c1753e66e0912de69d3f0184016ad9a191dcd6925bf5dd570d2bfbe5",
            library: "onnxruntime.dll", library_bytes: 19_288_928,
            library_sha256: "aa7737cc5c987286f09f6f12304fa786ea697b11b4ca7ab59a027ff4ce343a9c" },
    Wheel { os: "windows", arch: "aarch64", version: "1.31.0", tag: "win_arm64",
            sha256: "5c54a0eb7b2b4eef3eb9dcfaf82f5ce880db07288dc309574f6657e9da5cc754",
            library: "onnxruntime.dll", library_bytes: 19_171_680,
            library_sha256: "acbab6ca6266f35d1215c4f1e91ef7fbaaf7cfae8fedcd4e355abca191976ea7" },
];

/// The wheel of this program's platform.
pub fn current() -> Option<&'static Wheel> {
    use std::env::consts::{ARCH, OS};
    WHEELS.iter().find(|wheel| wheel.os == OS && wheel.arch == ARCH)
}

#[cfg(test)]
mod tests {
    use super::{MINIMUM_MINOR, WHEELS};

    #[test]
    fn every_platform_has_one_wheel_of_a_version_that_is_new_enough() {
        for (index, wheel) in WHEELS.iter().enumerate() {
            let minor: u32 = wheel.version.split('.').nth(1).unwrap().parse().unwrap();
            assert!(minor >= MINIMUM_MINOR, "{wheel:?}");
            assert_eq!(wheel.sha256.len(), 64, "{wheel:?}");
            assert_eq!(wheel.library_sha256.len(), 64, "{wheel:?}");
            let twins = &WHEELS[index + 1..];
            assert!(twins.iter().all(|w| (w.os, w.arch) != (wheel.os, wheel.arch)), "{wheel:?}");
        }
    }
}
