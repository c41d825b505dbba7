//! Choosing the kernel that was compiled for a tile's size.

/// Calls `$kernel` compiled for `$parameter` and for the tile's rows and panels, which must be
/// among those listed.
macro_rules! by_tile {
    ($kernel:ident::<$parameter:ident>($tile:ident, $to:ident); $($rows:literal x $panels:literal)*) => {
        match ($tile.rows, $tile.panels) {
            $(($rows, $panels) => $kernel::<$parameter, $rows, $panels>($tile, $to),)*
            (rows, panels) => panic!("no kernel for a tile of {rows} rows and {panels} panels"),
        }
    };
}
