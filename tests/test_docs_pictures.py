"""The pictures of the docs."""

from PIL import Image

from docs.pictures import IMAGES, PAGES
from nets.tasks import pretext_tasks


def test_every_task_has_a_small_picture():
    assert sorted(PAGES) == sorted(pretext_tasks())
    for name in PAGES:
        path = IMAGES / "tasks" / f"{name}.png"
        assert path.stat().st_size < 120_000
        assert 700 < Image.open(path).width < 1500


def test_the_readmes_strip_is_small():
    assert (IMAGES / "strip.png").stat().st_size < 300_000
