//! Every codec against honest, damaged and hostile input.

use super::*;

const COMPRESSING: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn compressed(codec: Codec, records: &[u8]) -> Bytes {
    let batch = [&[0; HEADER_LEN], records].concat();
    Bytes::from(compress(codec, batch).unwrap()).slice(HEADER_LEN..)
}

/// Bytes that repeat, but not soon.
fn text(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| [b'a', b'z', (i / 7) as u8, (i / 300) as u8][i % 4])
        .collect()
}

#[test]
fn every_codec_gives_back_what_it_got() {
    for codec in COMPRESSING {
        for len in [1, 60, 32 << 10, (32 << 10) + 1, 300_000] {
            let records = text(len);
            let found = decompress(codec, &compressed(codec, &records)).unwrap();
            assert_eq!(found, records, "{codec} {len}");
        }
    }
}

#[test]
fn what_begins_as_another_codec_is_refused_by_a_look_at_it() {
    let records = text(5000);
    for codec in COMPRESSING {
        assert_eq!(check_beginning(codec, &compressed(codec, &records)), Ok(()));
        let others = COMPRESSING.into_iter().filter(|other| *other != codec);
        let others = others.map(|other| compressed(other, &records));
        for wrong in others.chain([Bytes::from(records.clone()), Bytes::new()]) {
            let refused = check_beginning(codec, &wrong).unwrap_err();
            assert!(matches!(refused, BatchError::Decompress { .. }), "{codec}");
        }
    }
    let bare = snap::raw::Encoder::new().compress_vec(&records).unwrap();
    assert_eq!(check_beginning(Codec::Snappy, &bare), Ok(()));
}

#[test]
fn a_bomb_is_an_error_and_the_limit_itself_is_not() {
    let limit = 1 << 20;
    for codec in COMPRESSING {
        let fits = compressed(codec, &vec![0; limit]);
        assert_eq!(
            decompress_within(codec, &fits, limit).unwrap().len(),
            limit,
            "{codec}"
        );
        let bomb = compressed(codec, &vec![0; limit + 1]);
        let expected = BatchError::Bomb { codec, limit };
        assert_eq!(decompress_within(codec, &bomb, limit), Err(expected));
    }
}

#[test]
fn zstd_frames_that_do_not_say_their_size_are_read_and_bounded() {
    let limit = 1 << 20;
    let frame = |len| Bytes::from(::zstd::stream::encode_all(&vec![5; len][..], 3).unwrap());
    for len in [0, 1, 100_000, limit] {
        let found = decompress_within(Codec::Zstd, &frame(len), limit).unwrap();
        assert_eq!(found, vec![5; len]);
    }
    let bomb = decompress_within(Codec::Zstd, &frame(limit + 1), limit);
    assert_eq!(
        bomb,
        Err(BatchError::Bomb {
            codec: Codec::Zstd,
            limit
        })
    );
    let two = Bytes::from([frame(10), frame(20)].concat());
    assert_eq!(
        decompress_within(Codec::Zstd, &two, limit).unwrap(),
        vec![5; 30]
    );
}

#[test]
fn a_zstd_frame_is_not_believed_to_hold_what_its_blocks_cannot_make() {
    let mut frame = compressed(Codec::Zstd, &vec![5; 1 << 20]).to_vec();
    let claim = frame.iter().position(|byte| *byte == 0x10).unwrap();
    assert_eq!(frame[claim - 2..=claim + 1], [0, 0, 0x10, 0]);
    frame[claim + 1] = 1;
    let error = decompress(Codec::Zstd, &Bytes::from(frame))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("the records are not valid zstd"),
        "{error}"
    );
}

#[test]
fn snappy_is_read_with_and_without_framing() {
    let records = text(50_000);
    let bare = snap::raw::Encoder::new().compress_vec(&records).unwrap();
    assert_eq!(
        decompress(Codec::Snappy, &Bytes::from(bare)).unwrap(),
        records
    );
    let framed = compressed(Codec::Snappy, &records);
    assert_eq!(
        framed[..16],
        [
            0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1
        ]
    );
}

#[test]
fn a_snappy_block_is_not_believed_to_hold_what_its_bytes_cannot_make() {
    let claims_two_megabytes = Bytes::from_static(&[0x80, 0x80, 0x80, 0x01, 0]);
    let error = decompress(Codec::Snappy, &claims_two_megabytes)
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("a block of 5 bytes claims to hold 2097152"),
        "{error}"
    );
}

#[test]
fn cut_framing_is_an_error() {
    let framed = compressed(Codec::Snappy, &text(40_000));
    for len in [9, 15, 18, 30, framed.len() - 1] {
        let error = decompress(Codec::Snappy, &framed.slice(..len)).unwrap_err();
        assert!(
            matches!(
                error,
                BatchError::Decompress {
                    codec: Codec::Snappy,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn bytes_after_an_lz4_frame_are_an_error() {
    let frame = compressed(Codec::Lz4, &text(1000));
    let longer = Bytes::from([&frame[..], b"rest"].concat());
    let error = decompress(Codec::Lz4, &longer).unwrap_err().to_string();
    assert_eq!(
        error,
        "the records are not valid lz4: 4 bytes follow the frame"
    );
}

#[test]
fn linked_lz4_blocks_are_read() {
    use ::lz4_flex::frame::{BlockMode, FrameEncoder, FrameInfo};
    let records = text(500_000);
    let info = FrameInfo::new()
        .block_mode(BlockMode::Linked)
        .content_checksum(true);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    io::Write::write_all(&mut encoder, &records).unwrap();
    let frame = Bytes::from(encoder.finish().unwrap());
    assert_eq!(decompress(Codec::Lz4, &frame).unwrap(), records);
}

#[test]
fn what_is_not_compressed_at_all_is_an_error() {
    for codec in COMPRESSING {
        for input in [&b""[..], b"plain text, in truth"] {
            let input = Bytes::from_static(input);
            let found = decompress(codec, &input);
            assert!(found.is_err() || found.unwrap().is_empty(), "{codec}");
        }
    }
}
