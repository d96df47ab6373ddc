"""Parquet in the Hugging Face layout: columns, class names, ids, shards, damage."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from analysis.data.sources import load_images
from analysis.errors import ImageSetError


def png(value):
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (value, value, value)).save(buffer, format="PNG")
    return buffer.getvalue()


def write(path, cells, *, image="img", names=None, group=2, metadata=None, **columns):
    table = pa.table({image: cells, **columns})
    if names is not None:
        feature = {"names": names, "_type": "ClassLabel"}
        label = next(key for key in columns if "label" in key)
        metadata = {"info": {"features": {image: {"_type": "Image"}, label: feature}}}
    if metadata is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)
    return path


def structs(count, path="d/{}.png", start=0):
    return [{"bytes": png(start + row), "path": path.format(row)} for row in range(count)]


def ids(images):
    return [key.split("/", 1)[1] for key in images.sample_ids.tolist()]


def values(images):
    return images.images[:, 0, 0, 0].tolist()


@pytest.fixture
def five(tmp_path):
    names = ["cat", "<b>dog</b>"]
    return write(tmp_path / "five.parquet", structs(5), names=names, label=[0, 1, 0, 1, 1])


def test_the_hugging_face_layout(five):
    images = load_images(five)
    assert values(images) == [0, 1, 2, 3, 4]
    assert images.labels.tolist() == [0, 1, 0, 1, 1]
    assert images.class_names == ("cat", "<b>dog</b>")
    assert ids(images) == [f"d/{row}.png" for row in range(5)]
    assert images.source == "five.parquet"


@pytest.mark.parametrize("seed", range(4))
def test_a_limit_reads_the_right_rows_across_row_groups(five, seed):
    few = load_images(five, limit=2, seed=seed)
    assert ids(few) == [f"d/{value}.png" for value in values(few)]


def test_bytes_columns_and_other_label_names(tmp_path):
    cells = pa.array([png(7), png(8)], type=pa.large_binary())
    path = write(tmp_path / "a.parquet", cells, image="image", fine_label=[3, 1], coarse=[0, 0])
    images = load_images(path)
    assert images.labels.tolist() == [3, 1]
    assert images.class_names is None
    assert ids(images) == ["000000", "000001"]


def test_text_labels_are_class_names(tmp_path):
    path = write(tmp_path / "a.parquet", structs(3), label=["dog", "cat", "dog"])
    images = load_images(path)
    assert images.class_names == ("cat", "dog")
    assert images.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("column", [None, [-1, -1], [None, None]])
def test_unlabeled_tables(tmp_path, column):
    columns = {} if column is None else {"label": pa.array(column, type=pa.int64())}
    images = load_images(write(tmp_path / "a.parquet", structs(2), **columns))
    assert images.labels is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("d/{}.png", ["d/0.png", "d/1.png", "d/2.png"]),
        ("/home/somebody/{}.png", ["0.png", "1.png", "2.png"]),
        ("C:\\Users\\somebody\\{}.png", ["0.png", "1.png", "2.png"]),
        ("../up/{}.png", ["0.png", "1.png", "2.png"]),
        ("same.png", ["000000", "000001", "000002"]),
    ],
)
def test_ids_are_paths_without_anybodys_directories(tmp_path, path, expected):
    assert ids(load_images(write(tmp_path / "a.parquet", structs(3, path)))) == expected


def test_a_repeated_path_gets_an_ordinal(tmp_path):
    cells = structs(3)
    cells[2]["path"] = cells[0]["path"]
    path = write(tmp_path / "a.parquet", cells)
    assert ids(load_images(path)) == ["d/0.png", "d/1.png", "d/0.png#2"]


def test_shards_are_read_in_natural_order(tmp_path):
    for shard in (10, 2):
        cells = structs(2, f"s{shard}/{{}}.png", start=shard)
        write(tmp_path / "set" / f"{shard}.parquet", cells, label=[0, 1])
    write(tmp_path / "set" / ".cache" / "x.parquet", structs(1), label=[0])
    images = load_images(tmp_path / "set")
    assert values(images) == [2, 3, 10, 11]
    assert ids(images)[0] == "s2/0.png"
    assert values(load_images(tmp_path / "set", limit=3, seed=1)) == values(images.take(3, seed=1))


def test_shards_of_splits_are_never_mixed(tmp_path):
    for split, start in (("train", 0), ("test", 50)):
        write(tmp_path / "data" / f"{split}-00000-of-00001.parquet", structs(2, start=start))
    with pytest.raises(ImageSetError, match=r"holds test and train. Choose one"):
        load_images(tmp_path / "data")
    assert values(load_images(f"{tmp_path}/data:test")) == [50, 51]


def test_a_split_is_found_anywhere_in_a_name_whatever_its_case(tmp_path):
    for split, start in (("Train", 0), ("test", 50)):
        write(tmp_path / "data" / f"cifar10-{split}.parquet", structs(2, start=start))
    with pytest.raises(ImageSetError, match=r"holds test and train. Choose one"):
        load_images(tmp_path / "data")
    assert values(load_images(f"{tmp_path}/data:train")) == [0, 1]


def test_a_label_that_no_integer_holds_is_named(tmp_path):
    labels = pa.array([1, 1 << 63], type=pa.uint64())
    write(tmp_path / "a.parquet", structs(2), label=labels)
    with pytest.raises(ImageSetError, match="label 9223372036854775808 in column 'label', row 1"):
        load_images(tmp_path / "a.parquet")


def test_shards_of_different_tables_are_refused(tmp_path):
    write(tmp_path / "set" / "0.parquet", structs(1), names=["a"], label=[0])
    write(tmp_path / "set" / "1.parquet", structs(1), names=["b"], label=[0])
    with pytest.raises(ImageSetError, match=r"'1.parquet' and '0.parquet' differ"):
        load_images(tmp_path / "set")


@pytest.mark.parametrize(
    "metadata", [[], {"info": 1}, {"info": {"features": [1]}}, {"info": {"features": {"label": 3}}}]
)
def test_strange_metadata_declares_nothing(tmp_path, metadata):
    path = write(tmp_path / "a.parquet", structs(2), metadata=metadata, label=[0, 1])
    assert load_images(path).class_names is None


def test_what_is_wrong_is_named(tmp_path):
    cases = {
        "has the columns picture, label; expected a column 'img'": write(
            tmp_path / "columns.parquet", structs(1), image="picture", label=[0]
        ),
        "has the columns img; expected a column": write(tmp_path / "kind.parquet", [1, 2]),
        "'null.parquet', row 1 holds no image bytes": write(
            tmp_path / "null.parquet", [{"bytes": png(0)}, {"bytes": None}]
        ),
        "'bad.parquet', row 2 cannot be decoded": write(
            tmp_path / "bad.parquet", [png(0), png(1), b"no"]
        ),
        "'empty.parquet' holds no images": write(
            tmp_path / "empty.parquet", pa.array([], type=pa.binary())
        ),
        "label None in column 'label', row 1": write(
            tmp_path / "labels.parquet", structs(2), label=[0, None]
        ),
        "label 2 of image 1; expected a class number, 0 to 1": write(
            tmp_path / "range.parquet", structs(2), names=["a", "b"], label=[0, 2]
        ),
    }
    for message, path in cases.items():
        with pytest.raises(ImageSetError, match=message):
            load_images(path)


@pytest.mark.parametrize("cut", [0, 10, 300])
def test_a_damaged_file_is_named(five, cut):
    five.write_bytes(five.read_bytes()[:cut])
    with pytest.raises(ImageSetError, match=r"'five.parquet' cannot be read"):
        load_images(five)


def test_damage_inside_the_file_is_named(five):
    data = bytearray(five.read_bytes())
    data[4:200] = bytes(196)
    five.write_bytes(data)
    with pytest.raises(ImageSetError, match=r"'five.parquet'"):
        load_images(five)


def test_a_file_has_no_splits(five):
    with pytest.raises(ImageSetError, match=r"'five.parquet' has no splits"):
        load_images(f"{five}:test")


def test_the_real_cifar_images(shared_data, tmp_path):
    path = shared_data / "cifar10-test.parquet"
    images = load_images(path, workdir=tmp_path)
    assert images.images.shape == (10_000, 32, 32, 3)
    assert np.bincount(images.labels).tolist() == [1000] * 10
    assert images.class_names[3] == "cat"
    # The folder in an id is the class by name: an oracle for the join of images and labels.
    folders = [key.split("/")[2] for key in images.sample_ids.tolist()]
    assert folders == [images.class_names[label] for label in images.labels]
    row = pq.ParquetFile(path).read_row_group(7).slice(345, 1).to_pylist()[0]
    expected = np.asarray(Image.open(io.BytesIO(row["img"]["bytes"])))
    assert np.array_equal(images.images[7345], expected)
    assert images.sample_ids[7345] == f"inspection/{row['img']['path']}"
