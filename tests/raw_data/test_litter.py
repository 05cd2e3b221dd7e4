import pytest

from pipeline.raw_data.litter import is_litter


@pytest.mark.parametrize(
    "name",
    [
        *(".DS_Store", "._0.png", ".git", ".ipynb_checkpoints", "__MACOSX", "@eaDir"),
        *("Thumbs.db", "thumbs.DB", "desktop.ini", "Desktop.ini"),
        *("README", "README.md", "readme.txt", "README.dataset.txt", "ReadMe-first.html"),
        *("LICENSE", "LICENSE-MIT", "license.txt", "LICENCE.md"),
    ],
)
def test_what_systems_tools_and_authors_leave_is_litter(name):
    assert is_litter(name)


@pytest.mark.parametrize(
    "name",
    [
        *("0.png", "cat", "a.", "Thumbs.db.png", "desktop", "index.csv", "MACOSX"),
        *("license_plate_7.jpg", "license_7", "readme.png", "README.csv", "my README.md"),
    ],
)
def test_images_tables_and_classes_are_none(name):
    assert not is_litter(name)


def test_a_folder_is_none_for_being_called_as_a_document_is():
    assert not is_litter("LICENSE", folder=True)
    assert all(is_litter(name, folder=True) for name in (".git", "__MACOSX", "@eaDir"))
