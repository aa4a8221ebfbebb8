//! Traces as they lie in files: packed with gzip, or not.

use std::io::{self, Cursor, Read};

use flate2::read::MultiGzDecoder;

/// What a file of gzip begins with; no row does.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The text of a trace, packed or not. No more than two bytes are waited for: whoever sends rows and waits for answers has
/// them.
///
/// # Errors
/// Where nothing can be read.
pub fn unpacked<'r>(mut from: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
    let mut first = Vec::with_capacity(GZIP.len());
    from.by_ref().take(GZIP.len() as u64).read_to_end(&mut first)?;
    let is_packed = first == GZIP;
    let whole = Cursor::new(first).chain(from);
    Ok(if is_packed { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// Gives a byte at a time, and breaks off where more is asked for than it has.
    struct Slow(&'static [u8]);

    impl Read for Slow {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let (first, rest) = self.0.split_first().ok_or(io::ErrorKind::TimedOut)?;
            self.0 = rest;
            into[..1].copy_from_slice(&[*first]);
            Ok(1)
        }
    }

    fn text(from: impl Read) -> String {
        let mut text = String::new();
        unpacked(from).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn it_is_the_same_packed_or_not_and_in_parts() {
        let pack = |text: &str| {
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(text.as_bytes()).unwrap();
            packed.finish().unwrap()
        };
        for plain in ["", "1", "12", "0,node_up,,,,n0,1,\n1,create,t,m,,,0,0\n"] {
            assert_eq!(text(plain.as_bytes()), plain);
            assert_eq!(text(pack(plain).as_slice()), plain);
        }
        assert_eq!(text([pack("0,"), pack("end")].concat().as_slice()), "0,end");
    }

    #[test]
    fn whoever_waits_for_an_answer_is_not_waited_for() {
        let mut from = unpacked(Slow(b"0,end\n")).unwrap();
        let mut line = [0; 6];
        from.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"0,end\n");
    }
}
