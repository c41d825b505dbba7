//! Dispatch to the kernel that is compiled for the size of a tile.

/// Calls `$kernel`, compiled for `$parameter` and for the rows and panels of the tile. They must be
/// in the list.
macro_rules! by_tile {
    (
        $kernel:ident::<$parameter:ident>($tile:ident, $to:ident);
        $($rows:literal x $panels:literal)*
    ) => {
        match ($tile.rows, $tile.panels) {
            $(($rows, $panels) => $kernel::<$parameter, $rows, $panels>($tile, $to),)*
            (rows, panels) => panic!("no kernel for a tile of {rows} rows and {panels} panels"),
        }
    };
}
