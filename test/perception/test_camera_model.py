# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from rgbt_perception.camera_model import camera_model_from_info, CameraModel
from rgbt_perception.errors import ConfigError, ShapeError

# fx != fy, cx != cy, so that no swap can pass.
K = np.array([[500.0, 0.0, 300.0], [0.0, 400.0, 200.0], [0.0, 0.0, 1.0]])
COEFFICIENTS = {
    'none': (),
    'plumb_bob': (-0.3, 0.12, 0.001, -0.002, -0.02),
    'rational_polynomial': (0.5, -0.3, 0.0005, 0.001, 0.02, 0.6, -0.25, 0.01),
    'equidistant': (-0.03, 0.004, -0.002, 0.0005),
}


def camera(model='none', coefficients=None, **changes):
    values = {
        'intrinsics': K,
        'distortion_model': model,
        'distortion': COEFFICIENTS[model] if coefficients is None else coefficients,
        'size_hw': (420, 640),
        **changes,
    }
    return CameraModel(**values)


def info(**changes):
    roi = {'x_offset': 0, 'y_offset': 0, 'height': 0, 'width': 0}
    roi.update(changes.pop('roi', {}))
    values = {
        'k': K.ravel(),
        'd': list(COEFFICIENTS['plumb_bob']),
        'distortion_model': 'plumb_bob',
        'height': 420,
        'width': 640,
        'binning_x': 0,
        'binning_y': 0,
        **changes,
    }
    return SimpleNamespace(roi=SimpleNamespace(**roi), **values)


def test_a_point_right_and_below_of_the_axis_projects_by_focal_length_and_centre():
    # x/z = 0.1, y/z = 0.05: 500 * 0.1 + 300 and 400 * 0.05 + 200.
    np.testing.assert_allclose(camera().project([[0.2, 0.1, 2.0]]), [[350.0, 220.0]])
    np.testing.assert_allclose(camera().rays([[350.0, 220.0]]), [[0.1, 0.05, 1.0]])


def test_plumb_bob_follows_its_formula():
    k1, k2, p1, p2, k3 = COEFFICIENTS['plumb_bob']
    x, y = 0.3, -0.2
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    distorted_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    distorted_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    expected = [[500 * distorted_x + 300, 400 * distorted_y + 200]]
    np.testing.assert_allclose(camera('plumb_bob').project([[x, y, 1.0]]), expected, atol=1e-9)


def test_equidistant_follows_its_formula():
    k1, k2, k3, k4 = COEFFICIENTS['equidistant']
    x, y = 0.6, 0.8  # 45 degrees off the axis
    angle = np.pi / 4
    t2 = angle**2
    distorted = angle * (1 + k1 * t2 + k2 * t2**2 + k3 * t2**3 + k4 * t2**4)
    expected = [[500 * 0.6 * distorted + 300, 400 * 0.8 * distorted + 200]]
    np.testing.assert_allclose(camera('equidistant').project([[x, y, 1.0]]), expected, atol=1e-9)


@pytest.mark.parametrize('model', COEFFICIENTS)
def test_rays_of_the_whole_image_project_back_to_their_pixels(model):
    x, y = np.meshgrid(np.linspace(-0.5, 639.5, 33), np.linspace(-0.5, 419.5, 21))
    pixels = np.column_stack([x.ravel(), y.ravel()])
    rays = camera(model).rays(pixels)
    np.testing.assert_allclose(rays[:, 2], 1.0)
    np.testing.assert_allclose(camera(model).project(7.0 * rays), pixels, atol=1e-3)


def test_points_behind_the_camera_are_nowhere():
    pixels = camera().project([[0.1, 0.1, -1.0], [0.1, 0.1, 0.0], [0.1, 0.1, 1.0]])
    np.testing.assert_array_equal(np.isfinite(pixels).all(axis=1), [False, False, True])


def test_points_beyond_the_fold_of_the_formula_are_nowhere():
    # r (1 - r^2 / 3) grows up to r = 1; beyond, points would appear inside the image again.
    barrel = camera('plumb_bob', (-1 / 3, 0.0, 0.0, 0.0, 0.0))
    assert barrel.max_tangent == pytest.approx(1.0, abs=0.01)
    pixels = barrel.project([[0.9, 0.0, 1.0], [1.6, 0.0, 1.0]])
    np.testing.assert_array_equal(np.isfinite(pixels).all(axis=1), [True, False])
    # The largest image radius is 2/3, so x = 300 + 500 * 0.7 shows nothing.
    assert np.isnan(barrel.rays([[650.0, 200.0]])[0, 0])


def test_unknown_pixels_and_no_pixels():
    rays = camera('plumb_bob').rays([[np.nan, 3.0], [300.0, 200.0]])
    assert np.isnan(rays[0, 0])
    np.testing.assert_allclose(rays[1], [0.0, 0.0, 1.0], atol=1e-12)
    assert camera('equidistant').rays(np.zeros((0, 2))).shape == (0, 3)
    assert camera('plumb_bob').project(np.zeros((0, 3))).shape == (0, 2)


def test_scaling_keeps_edges_in_place():
    # Twice as wide, half as high: the left edge (-0.5) stays, a point scales about it.
    scaled = camera().scaled_to((210, 1280))
    assert scaled.size_hw == (210, 1280)
    np.testing.assert_allclose(scaled.project([[-0.601, -0.50125, 1.0]]), [[-0.5, -0.5]])
    np.testing.assert_allclose(scaled.intrinsics, [[1000, 0, 600.5], [0, 200, 99.75], [0, 0, 1]])


def test_scaling_to_the_same_size_is_free_and_models_compare_by_value():
    model = camera('plumb_bob')
    assert model.scaled_to((420, 640)) is model
    assert model.is_same(camera('plumb_bob'))
    assert not model.is_same(camera())
    assert not model.is_same(None)


def test_camera_info_is_taken_over():
    model = camera_model_from_info(info())
    assert model.is_same(camera('plumb_bob'))


def test_binning_leaves_out_the_pixels_that_fill_no_bin():
    # 641 = 320 bins of 2 and one pixel more, 482 = 160 bins of 3 and two more.
    model = camera_model_from_info(
        info(
            width=641, height=482, k=[800, 0, 320, 0, 900, 240, 0, 0, 1], binning_x=2, binning_y=3
        )
    )
    assert model.size_hw == (160, 320)
    np.testing.assert_allclose(model.intrinsics, [[400, 0, 159.75], [0, 300, 239 / 3], [0, 0, 1]])


def test_region_of_interest_shifts_and_binning_scales():
    # REP-104: the region lies in the full image, binning comes after it.
    roi = {'x_offset': 40, 'y_offset': 60, 'height': 300, 'width': 400}
    model = camera_model_from_info(info(roi=roi, binning_x=2, binning_y=3))
    assert model.size_hw == (100, 200)
    np.testing.assert_allclose(model.intrinsics[[0, 1], [0, 1]], [250.0, 400 / 3])
    # Full pixels 300 and 301 are binned pixel (300 - 40) / 2 = 130: its centre is at 300.5.
    full = camera().rays([[300.5, 61.0]])
    np.testing.assert_allclose(
        camera_model_from_info(info(roi=roi, binning_x=2, binning_y=3, d=[0.0] * 5)).project(full),
        [[130.0, 0.0]],
        atol=1e-9,
    )


def test_names_and_paddings_of_drivers_are_understood():
    fisheye = camera_model_from_info(info(distortion_model='fisheye', d=[0.1, 0.2, 0.3, 0.4, 0.0]))
    assert (fisheye.distortion_model, fisheye.distortion) == ('equidistant', (0.1, 0.2, 0.3, 0.4))
    assert camera_model_from_info(info(distortion_model='', d=[])).distortion_model == 'none'
    zeros = camera_model_from_info(info(d=[0.0] * 5))
    assert (zeros.distortion_model, zeros.distortion) == ('none', ())


def test_an_uncalibrated_camera_is_named_with_the_remedy():
    with pytest.raises(ConfigError) as error:
        camera_model_from_info(info(k=[0.0] * 9), name='thermal')
    assert 'K of the thermal camera_info is all zero' in str(error.value)
    assert 'calibrate it' in str(error.value)


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'intrinsics': K * np.nan}, 'expected a finite 3x3 matrix'),
        ({'intrinsics': np.diag([500.0, -1.0, 1.0])}, 'focal lengths are 500 and -1'),
        ({'intrinsics': K + np.eye(3, k=1)}, 'calibrate without skew'),
        ({'distortion_model': 'division'}, "distortion_model is 'division', expected one of"),
        ({'distortion_model': 'plumb_bob', 'distortion': (1.0,)}, 'expected 4 or 5 finite'),
        ({'size_hw': (0, 640)}, 'at least 1 px'),
    ],
)
def test_what_cannot_be_a_camera_is_refused(changes, text):
    with pytest.raises(ConfigError, match=text):
        camera(**changes)


def test_an_unusable_camera_info_says_whose():
    with pytest.raises(ConfigError, match='the rgb camera_info cannot be used: distortion_model'):
        camera_model_from_info(info(distortion_model='division'), name='rgb')


def test_wrong_shapes_are_refused():
    with pytest.raises(ShapeError, match=r'pixels_xy is \(3,\), expected \(n, 2\)'):
        camera().rays(np.zeros(3))
    with pytest.raises(ShapeError, match=r'points_xyz is \(1, 2\), expected \(n, 3\)'):
        camera().project(np.zeros((1, 2)))
