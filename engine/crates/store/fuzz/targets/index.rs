//! The writer of indexes: any archive gives an index, or is to be unpacked; what is in the index can be found in it,
//! and no file has data behind the end of the tar.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(index)) = dhow_store::layer::index_of(bytes) {
        if let Err(error) = dhow_store::layer::check_index(&index, bytes.len() as u64) {
            panic!("{error}");
        }
    }
});
