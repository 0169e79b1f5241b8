import numpy as np
from photographs import picture

from experiments.to_folder import main
from sagan_jax.data import tfds_images
from sagan_jax.data.folder import load_folder
from sagan_jax.data.split import Dataset, official_ids


def test_a_set_is_written_as_a_folder_that_training_reads(tmp_path, monkeypatch, capsys):
    is_test = np.arange(60) >= 40
    dataset = Dataset(
        name="things",
        class_names=("cup", "T-shirt/top"),
        images=picture(0, (60, 8, 8, 1)),
        labels=(np.arange(60) % 3 == 0).astype(np.int32),
        ids=official_ids(is_test),
        is_test=is_test,
    )
    monkeypatch.setattr(tfds_images, "load_tfds", lambda name, data_dir=None, size=None: dataset)
    flags = ["--dataset=things", "--abnormal=T-shirt/top", "--train-images=20", "--test-images=12"]
    assert main([*flags, f"--out={tmp_path / 'made'}"]) == 0
    split, unused = load_folder(tmp_path / "made", size=8, channels=1)
    assert unused == []
    assert (len(split.train), len(split.test)) == (20, 12)
    assert split.abnormal == "T-shirt_top"
    assert 0 < split.test_labels.sum() < 12
    assert len({path.suffix for path in (tmp_path / "made").rglob("*.*")}) == 5
    assert main([*flags, f"--out={tmp_path / 'made'}"]) == 2
    assert "is there already" in capsys.readouterr().err
