//! Values that must never change: whoever changes one moves users of every installation at its
//! next upgrade. They were computed once, by another implementation of XXH3
//! and with logarithms of 40 digits, so they also say that the rule is the one written down.

#![allow(clippy::expect_used, missing_docs)]

use tidegate_policies::{Point, Purpose, Salt, Split};

#[test]
fn keys_land_where_they_always_did() {
    let point = |purpose, key: &[u8]| Salt::new("shop-2026-11", purpose).point(key).0;
    assert_eq!(point(Purpose::Split, b"alice"), 0x5f37_4ad9_2eff_0c00);
    assert_eq!(point(Purpose::Split, b"bob"), 0x0dd5_7337_9bfc_f1f5);
    assert_eq!(point(Purpose::Split, &[192, 0, 2, 1]), 0x01fd_da19_7b3b_3c67);
    assert_eq!(point(Purpose::Split, &[0; 16]), 0x4db6_b391_e7be_9331);
    assert_eq!(
        point(Purpose::Split, b"0f8fad5b-d9cb-469f-a165-70867728950e"),
        0xba09_08e7_0125_844b
    );
    assert_eq!(point(Purpose::Split, &[b'x'; 300]), 0x74eb_1011_6e82_1deb);
    assert_eq!(point(Purpose::Mirror("dark"), b"alice"), 0xaff9_16f2_5052_024d);
    assert_eq!(point(Purpose::AccessLog, b"alice"), 0x5bfb_8ca3_f71d_a555);
    assert_eq!(point(Purpose::Endpoint, b"alice"), 0x6430_5fc6_a68e_9326);
    assert_eq!(Salt::new("", Purpose::Split).point(b"").0, 0xe08f_c791_a815_9f0c);
    assert_eq!(Salt::new("shop-2026-11", Purpose::Split).point_of_draw(1).0, 0x0bcd_3fb2_761d_5c2c);
}

#[test]
fn points_go_where_they_always_did() {
    let split = Split::new([("a", 50), ("b", 20), ("c", 10), ("d", 15), ("e", 5)]);
    let split = split.expect("a split");
    let salt = Salt::new("shop-2026-11", Purpose::Split);
    let picks: String = (0..100_u32)
        .map(|user| {
            ["a", "b", "c", "d", "e"][usize::from(split.pick(salt.point(&user.to_be_bytes())).0)]
        })
        .collect();
    assert_eq!(
        picks,
        "baacbaedbaaabaaaaacadacaaabaacadbeadbbadabdbbccaaa\
         baaaacabdaadabaabababaacaaaaadacbdaacdaaabaadaaeaa"
    );
    // One third is 0x5555_5555_5555_5555 and a third of a point: the left end is rounded up, the
    // right one down.
    let thirds = Split::new([("a", 1), ("b", 1), ("c", 1)]).expect("a split");
    let pick = |point| thirds.pick(Point(point)).0;
    assert_eq!([pick(0x5555_5555_5555_5555), pick(0x5555_5555_5555_5556)], [1, 0]);
    assert_eq!([pick(0xAAAA_AAAA_AAAA_AAAA), pick(0xAAAA_AAAA_AAAA_AAAB)], [0, 2]);
}
