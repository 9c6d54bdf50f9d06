"""What the rasteriser draws: meshes, and materials that answer for every visible point."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stereolive.synth.spectra import Channels

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in millimetres.

    Axes as OpenCV's camera: x right, y down, z away from the viewer; a head's origin lies midway between the eyes and
    it looks towards -z. ``rest_mm`` are the vertices before pose, expression or bending: procedural patterns are tied
    to them so that they move with the surface. ``regions`` holds named weights per vertex in 0..1.
    """

    vertices_mm: FloatArray  # (V, 3)
    triangles: IntArray  # (T, 3)
    uv: FloatArray  # (V, 2), image convention: v grows downwards
    rest_mm: FloatArray  # (V, 3)
    regions: dict[str, FloatArray] = field(default_factory=dict)  # name -> (V,)


@dataclass(frozen=True)
class SurfacePoints:
    """N visible points, interpolated from a mesh."""

    rest_mm: FloatArray  # (N, 3)
    uv: FloatArray  # (N, 2)
    regions: dict[str, FloatArray]  # name -> (N,)
    mm_per_pixel: float  # footprint of a pixel, for choosing the detail worth computing


@dataclass(frozen=True)
class Reflectance:
    """How N points reflect and emit, in C channels."""

    albedo: FloatArray  # (N, C) diffuse reflectance
    specular: FloatArray  # (N,) reflectance at normal incidence, F0
    roughness: FloatArray  # (N,) microfacet roughness alpha, 0.02..1
    emission: FloatArray | None = None  # (N, C) own radiance (screens); 1 is a white diffuser under the key light
    bump_mm: FloatArray | None = None  # (N,) height of fine relief, turned into shading normals by the renderer
    scattering_mm: FloatArray | None = None  # (C,) subsurface diffusion length: irradiance is blurred by it


class Material(Protocol):
    """A material is drawn once per instrument or identity and then answers for any point."""

    def reflectance(self, points: SurfacePoints, channels: Channels) -> Reflectance: ...


@dataclass(frozen=True)
class Part:
    """A mesh with its material; a presentation is a list of parts."""

    mesh: Mesh
    material: Material
    name: str
