"""A scene of parts under light, and its picture: radiance and depth as a posed camera sees them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stereolive.synth.lights import Lighting, SensorChannels, Spectrum, environment_maps, light_gains, typical_spectrum
from stereolive.synth.raster import Pinhole, rasterise, vertex_normals
from stereolive.synth.shading import environment_weights, perturb_normals, scatter, shade, shadow_maps
from stereolive.synth.surface import FloatArray, IntArray, Part, SurfacePoints


@dataclass(frozen=True)
class View:
    """What one sensor sees: radiance (H, W, C), linear; Z in mm at pixel centres (H, W), 0 where there is nothing; the
    index (H, W) of the part that fills most of a pixel, -1 where there is none."""

    radiance: FloatArray
    depth_mm: FloatArray
    part: IntArray


@dataclass(frozen=True)
class Scene:
    """Parts in world coordinates; the first ``subjects`` of them throw shadows, the rest only receive them."""

    parts: list[Part]
    subjects: int
    lighting: Lighting

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        return np.cumsum([0] + [len(part.mesh.vertices_mm) for part in self.parts])

    @cached_property
    def _vertices(self) -> FloatArray:
        return np.concatenate([part.mesh.vertices_mm for part in self.parts]).astype(np.float32)

    @cached_property
    def _normals(self) -> FloatArray:
        return np.concatenate([vertex_normals(part.mesh) for part in self.parts])

    @cached_property
    def _triangles(self) -> IntArray:
        shifted = [part.mesh.triangles + start for part, start in zip(self.parts, self._offsets, strict=False)]
        return np.concatenate(shifted).astype(np.int32)

    @cached_property
    def _part_of_triangle(self) -> IntArray:
        return np.repeat(np.arange(len(self.parts)), [len(part.mesh.triangles) for part in self.parts]).astype(np.int32)

    @cached_property
    def _casters(self) -> IntArray:
        return self._triangles[self._part_of_triangle < self.subjects]

    @cached_property
    def sphere(self) -> tuple[FloatArray, float]:
        """Centre (3,) and radius in mm of a ball around the subject."""
        vertices = self._vertices[: self._offsets[self.subjects]]
        center = (vertices.min(0) + vertices.max(0)) / 2
        return center.astype(np.float32), float(np.linalg.norm(vertices - center, axis=1).max()) + 5.0

    @cached_property
    def _environment(self) -> tuple[FloatArray, FloatArray]:
        return environment_weights(self._vertices, self._normals, self._casters, *self.sphere)

    @cached_property
    def _shadows(self):  # type: ignore[no-untyped-def]
        return shadow_maps(self.lighting.lights, self._vertices, self._casters, *self.sphere)

    @cached_property
    def region_names(self) -> list[str]:
        return sorted({name for part in self.parts for name in part.mesh.regions})

    def _regions(self) -> FloatArray:
        names = self.region_names
        regions = np.zeros((len(self._vertices), len(names)), np.float32)
        for part, start in zip(self.parts, self._offsets, strict=False):
            for name, weight in part.mesh.regions.items():
                regions[start : start + len(weight), names.index(name)] = weight
        return regions

    def render(self, camera: Pinhole, response: Spectrum, names: tuple[str, ...], mirrored: float = 1.0) -> View:
        """The scene through a sensor of spectral ``response`` (C, 61), which sees a share of what surfaces mirror."""
        center, _ = self.sphere
        weights = response * typical_spectrum(self.lighting, np.asarray(center, np.float64))
        channels = SensorChannels(names, weights / weights.sum(axis=1, keepdims=True), response)
        surroundings, samples = environment_maps(self.lighting, response)
        gains = light_gains(self.lighting.lights, response)
        shadows = self._shadows
        reach, openness = self._environment
        count = len(names)
        attributes = np.concatenate(
            [
                self._vertices,
                self._normals,
                np.concatenate([part.mesh.rest_mm for part in self.parts]),
                np.concatenate([part.mesh.uv for part in self.parts]),
                openness[:, None],
                reach @ samples,
                self._regions(),
            ],
            axis=1,
        ).astype(np.float32)
        points, depth_mm = rasterise(
            camera,
            self._vertices,
            self._triangles,
            self._part_of_triangle,
            len(self.parts),
            attributes,
            np.array([attributes.shape[1] if part.mesh.regions else 12 + count for part in self.parts], np.int32),
        )
        radiance = np.zeros((camera.height * camera.width, count), np.float32)
        index = np.full(camera.height * camera.width, -1, np.int32)
        part_seen = np.full(camera.height * camera.width, -1, np.int32)
        share_seen = np.zeros(camera.height * camera.width, np.float32)
        eye = camera.center_mm.astype(np.float32)
        bounce = (reach @ samples).mean(axis=0) * self.lighting.ambient
        for p, part in enumerate(self.parts):
            own = slice(int(points.starts[p]), int(points.starts[p + 1]))
            pixel, a = points.pixel[own], points.attributes[own]
            if not len(pixel):
                continue
            larger = points.weight[own] > share_seen[pixel]
            part_seen[pixel[larger]], share_seen[pixel[larger]] = p, points.weight[own][larger]
            position = np.ascontiguousarray(a[:, 0:3])
            normal = np.ascontiguousarray(a[:, 3:6])
            z = float(((position - eye) @ camera.rotation[2].astype(np.float32)).mean())
            surface = SurfacePoints(
                rest_mm=np.ascontiguousarray(a[:, 6:9]),
                uv=np.ascontiguousarray(a[:, 9:11]),
                regions={
                    name: np.ascontiguousarray(a[:, 12 + count + k])
                    for k, name in enumerate(self.region_names)
                    if name in part.mesh.regions
                },
                mm_per_pixel=z / camera.focal_px,
            )
            look = part.material.reflectance(surface, channels)
            index[pixel] = np.arange(len(pixel), dtype=np.int32)
            if look.bump_mm is not None:
                perturb_normals(index, pixel, camera.width, position, look.bump_mm.astype(np.float32), normal)
            diffuse = a[:, 12 : 12 + count] + bounce
            glossy = np.zeros_like(diffuse)
            shade(
                position,
                normal,
                eye,
                np.asarray(look.specular, np.float32),
                np.asarray(look.roughness, np.float32),
                np.ascontiguousarray(a[:, 11]),
                shadows.maps,
                shadows.frames,
                shadows.numbers,
                gains,
                surroundings,
                pixel,
                index,
                camera.width,
                p >= self.subjects,
                diffuse,
                glossy,
            )
            index[pixel] = -1
            if look.scattering_mm is not None:
                radius = np.asarray(look.scattering_mm) * camera.focal_px / z
                diffuse = scatter(pixel, (camera.height, camera.width), diffuse, radius)
            value = diffuse * look.albedo + mirrored * glossy
            if look.emission is not None:
                value = value + look.emission
            radiance[pixel] += value * points.weight[own, None]
        shape = (camera.height, camera.width)
        return View(radiance.reshape(*shape, count), depth_mm, part_seen.reshape(shape))
