"""Tables of tags as people write them: read as meant, or refused with what was found."""

from __future__ import annotations

import pytest

from bestie_d2.data import read_tags
from bestie_d2.errors import InputError

CAT_AND_DOG = {"a.png": ["cat", "dog"], "b.png": ["dog"]}


def read(tmp_path, text: str, classes=None, encoding="utf-8", name="tags.csv") -> dict:
    """Tags by file name, and what was told."""
    (tmp_path / name).write_bytes(text.encode(encoding))
    tagged = read_tags(str(tmp_path / name), classes)
    read.remarks, read.classes = tagged.remarks, tagged.classes
    return {
        record["file_name"]: [tagged.classes[index] for index in record["image_classes"]]
        for record in tagged.records
    }


@pytest.mark.parametrize(
    "text",
    [
        "file_name,tags\na.png,cat;dog\nb.png,dog\n",
        "a.png,cat;dog\nb.png,dog\n",
        "# of Monday\nfile_name,tags\na.png,cat;dog\nfile_name,tags\nb.png,dog\n",
        "filename,labels\na.png,cat;dog\nb.png,dog\n",
        "Image Name,Classes\na.png,cat;dog\nb.png,dog\n",
        "bild,klasse\na.png,cat;dog\nb.png,dog\n",
        'file_name,tags\na.png,"cat,dog"\nb.png,dog\n',
        "file_name;tags\na.png;cat,dog\nb.png;dog\n",
        'file_name;tags\na.png;"cat;dog"\nb.png;dog\n',
        "file_name\ttags\na.png\tcat|dog\nb.png\tdog\n",
        "sep=;\nfile_name;tags\na.png;cat,dog\nb.png;dog\n",
        "file_name,tags\r\n a.png , cat; dog \r\n\r\nb.png ,dog\r\n",
        "\ufefffile_name,tags\na.png,cat;dog\nb.png,dog\n",
        "file_name,tags\na.png,cat\nb.png,dog\na.png,dog\n",
        "a.png,cat,dog\nb.png,dog\n",
        "file_name,tag1,tag2\na.png,cat,dog\nb.png,dog,\n",
        "file_name,tags\na.png,\"['cat', 'dog']\"\nb.png,['dog']\n",
        "file_name,cat,dog\na.png,1,1\nb.png,0,1\n",
        "file_name,cat,dog\na.png,TRUE,True\nb.png,false,true\n",
        "file_name,dog,cat\na.png,1.0,1.0\nb.png,1.0,0.0\n",
        "cat,dog,path\nyes,yes,a.png\nno,yes,b.png\n",
        ",image,cat,dog\n0,a.png,1,1\n1,b.png,,1\n",
        '"sep=;"\nfile_name;tags\na.png;cat,dog\nb.png;dog\n',
        "SEP=;\nfile_name;tags\na.png;cat,dog\nb.png;dog\n",
        "'file_name','tags'\n'a.png','cat;dog'\n'b.png','dog'\n",
        'file_name,tags\na.png,"cat\ndog"\nb.png,dog\n',
        "file_name,tags\na.png,\"('cat', 'dog')\"\nb.png,{'dog'}\n",
        "file_name,tags\na.png,cat\u200b;dog\n\ufeffb.png,dog\n",
        "idx,file_name,cat,dog\n0,a.png,1,1\n1,b.png,0,1\n",
        "filename,width,class,xmin\na.png,9,cat,1\na.png,9,dog,2\nb.png,9,dog,3\n",
    ],
)
def test_read_as_meant(tmp_path, text):
    assert read(tmp_path, text) == CAT_AND_DOG
    assert read.classes == ["cat", "dog"]


def test_other_encodings_and_suffixes(tmp_path):
    text = "file_name,tags\na.png,cat;dog\nb.png,dog\n"
    assert read(tmp_path, text, encoding="utf-16") == CAT_AND_DOG
    assert read(tmp_path, text.replace(",", "\t"), name="tags.TSV") == CAT_AND_DOG


def test_names_without_suffix_and_lines_without_tags(tmp_path):
    assert read(tmp_path, "0001,cat;dog\n0002,\n") == {"0001": ["cat", "dog"], "0002": []}
    assert read(tmp_path, "id,tags\n0001,cat\n") == {"0001": ["cat"]}
    assert read(tmp_path, "a.png,cat\nb.png\n") == {"a.png": ["cat"], "b.png": []}


def test_a_class_that_no_image_has_is_a_class_where_it_has_a_column(tmp_path):
    assert read(tmp_path, "file_name,dog,cat\na.png,1,0\n") == {"a.png": ["dog"]}
    assert read.classes == ["cat", "dog"]
    assert "read as one-hot" in read.remarks[0]


def test_tags_are_spelled_by_the_classes_that_are_given(tmp_path):
    found = read(tmp_path, "a.png,CAT\nb.png,Dog;cat\n", ("dog", "cat"))
    assert found == {"a.png": ["cat"], "b.png": ["dog", "cat"]}
    assert read(tmp_path, 'a.png,"red, small"\nb.png,blue\n', ("red, small", "blue")) == {
        "a.png": ["red, small"],
        "b.png": ["blue"],
    }
    assert read(tmp_path, "file_name,label\na.png,1\n", ("0", "1")) == {"a.png": ["1"]}


@pytest.mark.parametrize("word", ["none", "NaN", "N/A", "-", "Background"])
def test_words_for_no_tag_are_no_class_unless_they_are_given_as_one(tmp_path, word):
    text = f"file_name,tags\na.png,cat\nb.png,{word}\n"
    assert read(tmp_path, text) == {"a.png": ["cat"], "b.png": []}
    assert read.classes == ["cat"]
    assert read.remarks[0].endswith(f"taken for no class: {word!r}; give 'classes' if it is one")
    assert read(tmp_path, text, ("cat", word)) == {"a.png": ["cat"], "b.png": [word]}
    assert read(tmp_path, f"file_name,{word},cat\na.png,1,0\nb.png,0,1\n")["a.png"] == []
    assert read.classes == ["cat"]


def test_classes_that_are_numbers_are_in_the_order_of_numbers(tmp_path):
    assert read(tmp_path, "file_name,tags\na.png,10\nb.png,2\n") == {
        "a.png": ["10"],
        "b.png": ["2"],
    }
    assert read.classes == ["2", "10"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a.png,cat\nb.png,Cat\n", "'cat' and 'Cat' differ by letter case or blanks alone"),
        ("file_name,cat,Cat\na.png,1,0\n", "'cat' and 'Cat' differ by letter case"),
        ("file_name,label\na.png,1\nb.png,0\n", "column 'label' holds '0' and '1' alone"),
        ("a.png,1,0\nb.png,0,1\n", "holds '0' and '1' alone and has no heading"),
        ("street,cat\na.png,cat\n", r"line 1 \('street,cat'\) can be a heading or an image"),
        ("a.png,cat;dog\nb.png,cat|dog\n", r"parted by ';' in some lines, by '\|' in others"),
        ("file_name,width,cat\na.png,128,1\n", "columns 'width', 'cat' none is called 'tags'"),
        ("file_name,cat,dog\na.png,0.7,0.1\n", "not all hold 0 and 1 alone"),
        ("file_name,cat\na.png,0.7\n", "holds the number 0.7 in a column of tags"),
        ("file_name\na.png\n", r"line 2 \('a\.png'\) has one column"),
        ("", "no image in it"),
        ("file_name,tags\n,cat\na.png,dog\n", "names no image"),
        (
            'file_name,tags\na.png,"cat\nb.png,dog\n',
            "holds other lines: a quote in it is not closed",
        ),
        (
            "of Monday\nfile_name,tags\na.png,cat\n",
            r"line 2 \('file_name,tags'\) is a heading, and",
        ),
        ("a.png,cat dog\nb.png,cat\nc.png,dog\n", "'cat dog' is made of the tags 'cat' and 'dog'"),
        ("a.png,sea_lion\nb.png,sea lion\n", "'sea_lion' and 'sea lion' differ by"),
        ("f\0i\0l\0e\0\n\0a\0", "holds zero bytes"),
    ],
)
def test_what_is_not_clear_is_refused(tmp_path, text, reason):
    with pytest.raises(InputError, match=rf"tags\.csv: .*{reason}") as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)
