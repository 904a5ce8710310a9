//! The reader of tar archives: any bytes are an archive or an error, and data lies inside of its file.
#![no_main]

use dhow_store::tarball::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::new(bytes);
    while let Ok(Some(entry)) = reader.next_entry() {
        assert!(entry.stored() <= entry.size || entry.size == 0);
        assert!(entry.header_at < entry.data_at && !entry.path.contains(&0));
        let mut end = 0;
        while let Ok(Some((offset, piece))) = reader.next_chunk() {
            assert!(offset >= end && !piece.is_empty());
            end = offset + piece.len() as u64;
            if entry.size > 0 {
                assert!(end <= entry.size);
            }
        }
    }
    if let Ok(length) = reader.finish() {
        assert_eq!(length, bytes.len() as u64);
    }
});
