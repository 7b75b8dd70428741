"""Renderers show the scene in every quality, and name the package when OpenGL is missing."""

import mujoco
import numpy as np
import pytest

import sim_envs
from sim_envs.camera import CameraRenderer, RenderingUnavailableError, shared_renderer

SCENE = sim_envs.load("transfer_cube").scene


@pytest.fixture(scope="module")
def data():
    model = mujoco.MjModel.from_xml_path(str(SCENE))
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    mujoco.mj_forward(model, data)
    return data


def test_pretty_and_fast_show_the_same_scene(data):
    fast, pretty = (CameraRenderer(SCENE, (120, 160), quality).render(data, "top") for quality in ("fast", "pretty"))
    centres = [np.argwhere(image[..., 0] > 3 * image[..., 1].astype(int) + 40).mean(axis=0) for image in (fast, pretty)]
    np.testing.assert_allclose(*centres, atol=1)  # [pixels], the red cube
    assert fast[0, 0].max() == 0, "no scenery"
    assert pretty[0, 0].min() > 40, "the floor"


@pytest.mark.parametrize(("name", "position", "down"), [("top", (0, 0.6, 0.8), 1.0), ("angle", (0, 0, 0.6), 0.7071)])
def test_the_papers_cameras_stand_where_the_originals_do(data, name, position, down):
    camera = mujoco.MjModel.from_xml_path(str(SCENE)).camera(name)
    np.testing.assert_allclose(camera.pos, position)  # [m]
    assert camera.fovy.item() == 78
    ahead = -data.camera(name).xmat.reshape(3, 3)[:, 2]
    np.testing.assert_allclose(ahead, [0, np.sqrt(1 - down**2), -down], atol=1e-4)


def test_closing_a_renderer_does_not_disturb_the_others(data):
    first, second = (CameraRenderer(SCENE, (48, 64), "pretty") for _ in range(2))
    expected = second.render(data, "angle")
    first.close()
    np.testing.assert_array_equal(second.render(data, "angle"), expected)


def test_environments_of_one_kind_share_a_renderer():
    assert shared_renderer(SCENE, (48, 64), "fast") is shared_renderer(SCENE, (48, 64), "fast")


def test_an_unknown_quality_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="unknown quality 'nope'; available: fast, pretty"):
        CameraRenderer(SCENE, (48, 64), "nope")


def test_without_opengl_the_error_names_the_package(monkeypatch):
    def fail(*_args):
        raise RuntimeError("no display")

    monkeypatch.setattr(mujoco, "Renderer", fail)
    with pytest.raises(RenderingUnavailableError, match="apt-get install libegl1"):
        CameraRenderer(SCENE, (48, 64))
