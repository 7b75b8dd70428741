"""Statistics that are gathered piece by piece equal those of all numbers at once."""

import numpy as np

from act.interop.lerobot.statistics import ImageRecord, VectorRecord, sampled, vector_statistics


def test_a_record_of_episodes_equals_the_statistics_of_all_rows() -> None:
    rows = np.random.default_rng(0).normal(3, 2, (1000, 4)).astype(np.float32)
    record = VectorRecord()
    for part in np.split(rows, [10, 400, 401]):
        record.add(part)
    expected, found = vector_statistics(rows), record.statistics()
    assert found.keys() == expected.keys() and found["count"] == [1000]
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)


def test_a_long_record_keeps_few_rows_evenly_and_stays_exact_in_its_moments() -> None:
    rows = np.random.default_rng(1).uniform(0, 1, (5000, 2))
    record = VectorRecord(limit=700)
    for part in np.split(rows, np.arange(7, 5000, 7)):
        record.add(part)
    kept = np.concatenate(record._kept)
    np.testing.assert_array_equal(kept, rows[:: record.stride].astype(np.float32))
    found = record.statistics()
    np.testing.assert_allclose(found["mean"], rows.mean(0), rtol=1e-9)
    np.testing.assert_allclose(found["std"], rows.std(0), rtol=1e-6)
    np.testing.assert_allclose(found["q50"], [0.5, 0.5], atol=0.06)
    assert len(kept) <= 700 and found["count"] == [5000]


def test_a_record_of_images_equals_the_statistics_of_their_pixels() -> None:
    images = np.random.default_rng(2).integers(0, 200, (3, 20, 30, 3)).astype(np.uint8)
    whole, parts = ImageRecord(), [ImageRecord(), ImageRecord()]
    for k, image in enumerate(images):
        whole.add(image)
        parts[k % 2].add(image)
    parts[0].add_record(parts[1])
    found = whole.statistics()
    assert found == parts[0].statistics() and found["count"] == [3]
    pixels = images.reshape(-1, 3) / 255
    for name in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(np.ravel(found[name]), getattr(pixels, name)(0), rtol=1e-9)
    np.testing.assert_allclose(np.ravel(found["q90"]), np.quantile(pixels, 0.9, axis=0), atol=1 / 255)
    assert np.shape(found["q01"]) == (3, 1, 1)


def test_the_frames_for_statistics_are_spread_over_the_episode() -> None:
    assert list(sampled(5)) == [0, 1, 2, 3, 4]
    assert len(sampled(400)) == 100 and sampled(400)[-1] == 396
