"""PyAV's FFmpeg lent to torchcodec."""

from concurrent.futures import ThreadPoolExecutor

from tests.helpers.ffmpeg import link_libraries


def test_several_processes_may_link_the_libraries_at_once(tmp_path):
    """Two commands that began together failed: each removed the other's link, or found it in its way."""
    folder = tmp_path / "ffmpeg"
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(link_libraries, [folder] * 200))
    links = list(folder.iterdir())
    assert {link.name.split(".so.")[0] for link in links} >= {"libavcodec", "libavformat", "libavutil", "libswscale"}
    assert all(link.resolve().is_file() for link in links)
