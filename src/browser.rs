//! Opening an address in the user's browser.

use std::process::{Command, Stdio};

/// Asks the system to open an address. Returns whether a program that opens it was started.
pub(crate) fn open(url: &str) -> bool {
    openers().iter().any(|(program, arguments)| {
        let mut command = Command::new(program);
        command.args(*arguments).arg(url);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(mut child) => {
                // It may run as long as the browser. Waiting for it keeps it from staying
                // behind as a zombie.
                std::thread::spawn(move || child.wait());
                true
            }
            Err(_) => false,
        }
    })
}

type Opener = (&'static str, &'static [&'static str]);

#[cfg(target_os = "macos")]
fn openers() -> &'static [Opener] {
    &[("open", &[])]
}

#[cfg(windows)]
fn openers() -> &'static [Opener] {
    &[("rundll32.exe", &["url.dll,FileProtocolHandler"])]
}

#[cfg(not(any(target_os = "macos", windows)))]
fn openers() -> &'static [Opener] {
    let has_screen = ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    // Without a screen some systems would open a browser for terminals, which takes over this one.
    if has_screen { &[("xdg-open", &[]), ("wslview", &[]), ("gio", &["open"])] } else { &[] }
}
