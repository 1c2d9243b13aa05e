"""Draw triangles with OpenGL: one light with soft shadows, a textured ground, fog, a sky.

MuJoCo's own renderer takes a draw for each shape and pass, which costs a machine without a graphics card ten times as
much as the pixels. Here all robots are one draw.
"""

from __future__ import annotations

from ctypes import c_void_p
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy import ndarray

from viewers.offscreen import open_context
from viewers.recording import FIELD_OF_VIEW, Camera

SUN = np.array([-0.42, -0.38, 1.0]) / np.linalg.norm([-0.42, -0.38, 1.0])
"""Towards the light."""
_SHADOWS = 1024
"""Side of the shadow map, texels."""
_STRIP = 3 * 500
"""Corners of a part of the ground that is drawn or left out."""
_SHADOW_LENGTH = 1.3
"""The ground that is in shadow is at most so far from what throws it, m."""
_ATTRIBUTES = ("position", "normal", "paint")

_VERTEX = """
#version 120
attribute vec3 position; attribute vec3 normal; attribute vec4 paint;
uniform mat4 view; uniform mat4 light; uniform vec3 eye;
varying vec3 n; varying vec4 p; varying vec3 s; varying vec3 away;
void main() {
    n = normal; p = paint; away = position - eye;
    s = (light * vec4(position + 0.01 * normal, 1.0)).xyz * 0.5 + 0.5;
    gl_Position = view * vec4(position, 1.0);
}
"""
_FRAGMENT = """
#version 120
uniform sampler2D picture; uniform sampler2DShadow shadow;
uniform vec3 sun; uniform vec3 horizon; uniform vec2 fog; uniform float soft;
varying vec3 n; varying vec4 p; varying vec3 s; varying vec3 away;
void main() {
    vec3 normal = normalize(n);
#ifdef GROUND
    vec3 colour = texture2D(picture, p.xy).rgb;
    float glow = 0.0;
#else
    vec3 colour = p.rgb;
    float glow = 1.0 - p.a;
#endif
#ifdef SHADOWS
    float open = 0.5 * (
        shadow2D(shadow, s + vec3(-0.5 * soft, -soft, 0.0)).r + shadow2D(shadow, s + vec3(0.5 * soft, soft, 0.0)).r);
#else
    float open = 1.0;
#endif
    float lit = max(dot(normal, sun), 0.0) * open;
    vec3 ambient = mix(vec3(0.30, 0.30, 0.31), vec3(0.50, 0.53, 0.57), 0.5 + 0.5 * normal.z);
    vec3 shaded = colour * (ambient + vec3(0.66, 0.63, 0.58) * lit);
    float distance = length(away);
#ifndef GROUND
    vec3 half_way = normalize(sun - away / distance);
    shaded += 0.22 * open * pow(max(dot(normal, half_way), 0.0), 24.0);
    float rim = 1.0 + dot(normal, away / distance);
    shaded += 0.10 * rim * rim;
#endif
    shaded = mix(shaded, colour, glow);
    float haze = clamp((distance - fog.x) / (fog.y - fog.x), 0.0, 1.0);
    gl_FragColor = vec4(mix(shaded, horizon, haze * haze * (3.0 - 2.0 * haze)), 1.0);
}
"""
_PLAIN_VERTEX = """
#version 120
attribute vec3 position; attribute vec4 paint; uniform mat4 view; varying vec4 p;
void main() { p = paint; gl_Position = view * vec4(position, 1.0); }
"""
_PLAIN_FRAGMENT = """
#version 120
varying vec4 p;
void main() { gl_FragColor = p; }
"""
_SKY, _HORIZON = (0.50, 0.65, 0.82), (0.87, 0.90, 0.93)


@dataclass
class Mesh:
    """Triangles as OpenGL takes them, one row a corner."""

    points: ndarray
    """World frame, m, float32, [3 K, 3]."""
    normals: ndarray
    """float32, [3 K, 3]."""
    paint: ndarray
    """Colour, and 255 less what glows, uint8 [3 K, 4]; or a place on the ground's texture, float32 [3 K, 2]."""


class Canvas:
    """Context manager around an OpenGL context that draws pictures of one ground."""

    def __init__(self, width: int, height: int, samples: int = 0):
        """Prepare pictures of `width` x `height` pixels.

        Args:
            width: pixels.
            height: pixels.
            samples: a pixel's edges are smoothed with so many; 0 for none.

        Raises:
            NoOpenGLError: nothing on this machine can draw.
        """
        self._context = open_context(width, height)
        from OpenGL import GL  # type: ignore[import-untyped] # only now: it takes its platform from the context

        self.gl, self.size = GL, (width, height)
        GL.glEnable(GL.GL_DEPTH_TEST)
        GL.glEnable(GL.GL_CULL_FACE)
        self._programs = {
            "ground": self._program(_VERTEX, _FRAGMENT, "GROUND"),
            "near": self._program(_VERTEX, _FRAGMENT, "GROUND", "SHADOWS"),
            "robots": self._program(_VERTEX, _FRAGMENT, "SHADOWS"),
            "plain": self._program(_PLAIN_VERTEX, _PLAIN_FRAGMENT),
        }
        self._buffers: dict[str, tuple] = {}
        self._shadow = self._shadow_map()
        self._resolved = self._frame_buffer(0)
        self._drawn = self._frame_buffer(samples) if samples else self._resolved
        self._pixels = np.empty((height, width, 4), np.uint8)

    def set_ground(self, mesh: Mesh, picture: ndarray) -> None:
        """Keep the ground and its texture, uint8 [rows, columns, 3]; places run along columns, then rows, 0 to 1."""
        GL = self._current()
        # in strips, of which only those in view are drawn
        strips = np.arange(0, len(mesh.points), _STRIP)
        low, high = (f.reduceat(mesh.points, strips) for f in (np.minimum, np.maximum))
        self._strips = strips, 0.5 * (low + high), 0.5 * np.linalg.norm(high - low, axis=1)
        self._upload("ground", mesh, GL.GL_STATIC_DRAW)
        GL.glActiveTexture(GL.GL_TEXTURE0)
        self._picture = GL.glGenTextures(1)
        GL.glBindTexture(GL.GL_TEXTURE_2D, self._picture)
        GL.glPixelStorei(GL.GL_UNPACK_ALIGNMENT, 1)
        rows, columns = picture.shape[:2]
        data = np.ascontiguousarray(picture)
        GL.glTexImage2D(
            GL.GL_TEXTURE_2D, 0, GL.GL_RGB8, columns, rows, 0, GL.GL_RGB, GL.GL_UNSIGNED_BYTE, data
        )
        GL.glTexParameteri(GL.GL_TEXTURE_2D, GL.GL_TEXTURE_MIN_FILTER, GL.GL_LINEAR_MIPMAP_LINEAR)
        GL.glGenerateMipmap(GL.GL_TEXTURE_2D)

    def draw(self, robots: Mesh, decor: Mesh, camera: Camera, reach: float) -> ndarray:
        """A picture, uint8 [height, width, 4], reused by the next call; the last of the four is nothing.

        Args:
            robots: what casts shadows.
            decor: what casts none.
            camera: the view.
            reach: shadows are drawn so far around the point that the camera looks at, m.
        """
        GL = self._current()
        self._upload("robots", robots, GL.GL_STREAM_DRAW)
        self._upload("decor", decor, GL.GL_STREAM_DRAW)
        light = _light_matrix(camera.lookat, reach)
        view, eye = self._view_matrix(camera)
        self._draw_shadows(light)
        GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, self._drawn)
        GL.glViewport(0, 0, *self.size)
        GL.glClear(GL.GL_COLOR_BUFFER_BIT | GL.GL_DEPTH_BUFFER_BIT)
        GL.glActiveTexture(GL.GL_TEXTURE1)
        GL.glBindTexture(GL.GL_TEXTURE_2D, self._shadow[1])
        GL.glActiveTexture(GL.GL_TEXTURE0)
        GL.glBindTexture(GL.GL_TEXTURE_2D, self._picture)
        for name, program in (
            ("robots", "robots"),
            ("decor", "robots"),
            ("near", "near"),
            ("ground", "ground"),
        ):
            if name == "near":  # the ground that shadows may fall on; then the rest, which costs half as much
                GL.glEnable(GL.GL_SCISSOR_TEST)
                GL.glScissor(*self._box(robots.points, view))
            self._use(program, view=view, light=light, eye=eye)
            place = self._place(program)
            GL.glUniform3f(place("sun"), *SUN)
            GL.glUniform3f(place("horizon"), *_HORIZON)
            GL.glUniform2f(place("fog"), 2.5 * camera.distance, 11.0 * camera.distance + 20.0)
            GL.glUniform1f(place("soft"), 0.02 / reach)
            GL.glUniform1i(place("picture"), 0)
            GL.glUniform1i(place("shadow"), 1)
            if program in ("near", "ground"):
                self._triangles("ground", program, self._in_view(camera))
            else:
                self._triangles(name, program)
            GL.glDisable(GL.GL_SCISSOR_TEST)
        self._draw_sky(camera)
        if self._drawn != self._resolved:
            GL.glBindFramebuffer(GL.GL_READ_FRAMEBUFFER, self._drawn)
            GL.glBindFramebuffer(GL.GL_DRAW_FRAMEBUFFER, self._resolved)
            box = (0, 0, *self.size)
            GL.glBlitFramebuffer(*box, *box, GL.GL_COLOR_BUFFER_BIT, GL.GL_NEAREST)
            GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, self._resolved)
        GL.glReadPixels(0, 0, *self.size, GL.GL_RGBA, GL.GL_UNSIGNED_BYTE, self._pixels)
        return self._pixels[::-1]

    def __enter__(self) -> Canvas:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._current()
        self._context.free()

    def _current(self):
        self._context.make_current()  # there may be several
        return self.gl

    def _program(self, vertex: str, fragment: str, *defined: str) -> int:
        GL = self.gl
        lines = "".join(f"#define {name}\n" for name in defined)
        fragment = fragment.replace("120\n", f"120\n{lines}", 1)
        program = GL.glCreateProgram()
        for kind, source in ((GL.GL_VERTEX_SHADER, vertex), (GL.GL_FRAGMENT_SHADER, fragment)):
            shader = GL.glCreateShader(kind)
            GL.glShaderSource(shader, source.strip())
            GL.glCompileShader(shader)
            if not GL.glGetShaderiv(shader, GL.GL_COMPILE_STATUS):
                raise RuntimeError(f"OpenGL does not compile a shader: {GL.glGetShaderInfoLog(shader)!r}")
            GL.glAttachShader(program, shader)
        for index, name in enumerate(_ATTRIBUTES):
            GL.glBindAttribLocation(program, index, name)
        GL.glLinkProgram(program)
        return program

    def _place(self, program: str):
        return lambda name: self.gl.glGetUniformLocation(self._programs[program], name)

    def _use(
        self, program: str, view: ndarray, light: ndarray | None = None, eye: ndarray | None = None
    ) -> None:
        GL, place = self.gl, self._place(program)
        GL.glUseProgram(self._programs[program])
        GL.glUniformMatrix4fv(place("view"), 1, True, view.astype(np.float32))
        if light is not None and eye is not None:
            GL.glUniformMatrix4fv(place("light"), 1, True, light.astype(np.float32))
            GL.glUniform3f(place("eye"), *eye)

    def _upload(self, name: str, mesh: Mesh, usage: int) -> None:
        GL = self.gl
        if name not in self._buffers:
            self._buffers[name] = (GL.glGenBuffers(3), 0, False)
        buffers = self._buffers[name][0]
        for buffer, values in zip(buffers, (mesh.points, mesh.normals, mesh.paint), strict=True):
            GL.glBindBuffer(GL.GL_ARRAY_BUFFER, buffer)
            GL.glBufferData(GL.GL_ARRAY_BUFFER, values.nbytes, np.ascontiguousarray(values), usage)
        self._buffers[name] = (buffers, len(mesh.points), mesh.paint.dtype == np.uint8)

    def _in_view(self, camera: Camera) -> list[tuple[int, int]]:
        """First corner and number of corners of runs of the ground that the camera may see."""
        strips, middles, radii = self._strips
        seen = camera.sees(middles, radii, self.size[0] / self.size[1])
        ends = np.flatnonzero(np.diff(np.concatenate(([False], seen, [False])).astype(int)))
        last = self._buffers["ground"][1]
        return [(a * _STRIP, min(b * _STRIP, last) - a * _STRIP) for a, b in ends.reshape(-1, 2).tolist()]

    def _triangles(self, name: str, program: str, runs: list[tuple[int, int]] | None = None) -> None:
        GL = self.gl
        buffers, count, coloured = self._buffers[name]
        if not count:
            return
        kinds = (
            (3, GL.GL_FLOAT),
            (3, GL.GL_FLOAT),
            (4, GL.GL_UNSIGNED_BYTE) if coloured else (2, GL.GL_FLOAT),
        )
        for index, (buffer, (size, kind)) in enumerate(zip(buffers, kinds, strict=True)):
            GL.glEnableVertexAttribArray(index)
            GL.glBindBuffer(GL.GL_ARRAY_BUFFER, buffer)
            GL.glVertexAttribPointer(index, size, kind, kind == GL.GL_UNSIGNED_BYTE, 0, c_void_p(0))
        for first, number in [(0, count)] if runs is None else runs:
            GL.glDrawArrays(GL.GL_TRIANGLES, first, number)

    def _draw_shadows(self, light: ndarray) -> None:
        GL = self.gl
        GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, self._shadow[0])
        GL.glViewport(0, 0, _SHADOWS, _SHADOWS)
        GL.glClear(GL.GL_DEPTH_BUFFER_BIT)
        GL.glEnable(GL.GL_POLYGON_OFFSET_FILL)
        GL.glPolygonOffset(1.5, 4.0)
        self._use("plain", light)
        self._triangles("robots", "plain")
        GL.glDisable(GL.GL_POLYGON_OFFSET_FILL)

    def _draw_sky(self, camera: Camera) -> None:
        """Behind everything: horizon's colour up to its height in the picture, from there on the sky's."""
        GL, half = self.gl, FIELD_OF_VIEW / 2
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, -1], [1, 1], [-1, 1]], np.float32)
        share = np.clip((camera.elevation + half * corners[:, 1:]) / 35.0, 0.0, 1.0)
        colour = np.array(_HORIZON) + share * (np.array(_SKY) - np.array(_HORIZON))
        paint = np.append(255 * colour, np.full((6, 1), 255), -1).astype(np.uint8)
        points = np.append(corners, np.full((6, 1), 1.0, np.float32), -1)
        self._upload("sky", Mesh(points, points, paint), GL.GL_STREAM_DRAW)
        GL.glDepthFunc(GL.GL_LEQUAL)
        self._use("plain", np.eye(4))
        self._triangles("sky", "plain")
        GL.glDepthFunc(GL.GL_LESS)

    def _view_matrix(self, camera: Camera) -> tuple[ndarray, ndarray]:
        """World to clip space, [4, 4], and the camera's place, m, [3]."""
        right, up, forward = camera.axes()
        eye = camera.lookat - camera.distance * forward
        turn = np.eye(4)
        turn[:3, :3] = np.stack((right, up, -forward))
        turn[:3, 3] = -turn[:3, :3] @ eye
        near, far = 0.03 * camera.distance, 40.0 * camera.distance + 100.0
        focal = 1.0 / np.tan(np.radians(FIELD_OF_VIEW / 2))
        projection = np.zeros((4, 4))
        projection[0, 0], projection[1, 1] = focal * self.size[1] / self.size[0], focal
        projection[2, 2:] = (far + near) / (near - far), 2.0 * far * near / (near - far)
        projection[3, 2] = -1.0
        return projection @ turn, eye

    def _box(self, points: ndarray, view: ndarray) -> tuple[int, int, int, int]:
        """Rectangle of the picture with all robots and their shadows: left, bottom, width, height, pixels."""
        width, height = self.size
        if not len(points):
            return 0, 0, 0, 0
        some = points[::15]
        ends = np.concatenate((some, some - _SHADOW_LENGTH * SUN))
        clip = np.append(ends, np.ones((len(ends), 1)), -1) @ view.T
        if (clip[:, 3] < 0.05).any():
            return 0, 0, width, height
        at = (clip[:, :2] / clip[:, 3:] * 0.5 + 0.5) * self.size
        low = np.clip(at.min(0) - 0.02 * height, 0, self.size).astype(int)
        high = np.clip(at.max(0) + 0.02 * height, 0, self.size).astype(int)
        return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])

    def _shadow_map(self) -> tuple[int, int]:
        """Frame buffer and texture."""
        GL = self.gl
        texture = GL.glGenTextures(1)
        GL.glBindTexture(GL.GL_TEXTURE_2D, texture)
        depth = GL.GL_DEPTH_COMPONENT
        GL.glTexImage2D(
            GL.GL_TEXTURE_2D, 0, GL.GL_DEPTH_COMPONENT24, _SHADOWS, _SHADOWS, 0, depth, GL.GL_FLOAT, None
        )
        for name, value in (
            (GL.GL_TEXTURE_MIN_FILTER, GL.GL_LINEAR),
            (GL.GL_TEXTURE_MAG_FILTER, GL.GL_LINEAR),
            (GL.GL_TEXTURE_WRAP_S, GL.GL_CLAMP_TO_BORDER),
            (GL.GL_TEXTURE_WRAP_T, GL.GL_CLAMP_TO_BORDER),
            (GL.GL_TEXTURE_COMPARE_MODE, GL.GL_COMPARE_REF_TO_TEXTURE),
            (GL.GL_TEXTURE_COMPARE_FUNC, GL.GL_LEQUAL),
        ):
            GL.glTexParameteri(GL.GL_TEXTURE_2D, name, value)
        GL.glTexParameterfv(GL.GL_TEXTURE_2D, GL.GL_TEXTURE_BORDER_COLOR, np.ones(4, np.float32))
        frame = GL.glGenFramebuffers(1)
        GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, frame)
        GL.glFramebufferTexture2D(GL.GL_FRAMEBUFFER, GL.GL_DEPTH_ATTACHMENT, GL.GL_TEXTURE_2D, texture, 0)
        GL.glDrawBuffer(GL.GL_NONE)
        GL.glReadBuffer(GL.GL_NONE)
        return frame, texture

    def _frame_buffer(self, samples: int) -> int:
        GL = self.gl
        frame = GL.glGenFramebuffers(1)
        GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, frame)
        for kind, attachment in (
            (GL.GL_RGBA8, GL.GL_COLOR_ATTACHMENT0),
            (GL.GL_DEPTH_COMPONENT24, GL.GL_DEPTH_ATTACHMENT),
        ):
            buffer = GL.glGenRenderbuffers(1)
            GL.glBindRenderbuffer(GL.GL_RENDERBUFFER, buffer)
            GL.glRenderbufferStorageMultisample(GL.GL_RENDERBUFFER, samples, kind, *self.size)
            GL.glFramebufferRenderbuffer(GL.GL_FRAMEBUFFER, attachment, GL.GL_RENDERBUFFER, buffer)
        return frame


def _light_matrix(middle: ndarray, reach: float) -> ndarray:
    """World to the light's clip space, parallel rays, [4, 4]."""
    right = np.cross([0.0, 0.0, 1.0], SUN)
    right /= np.linalg.norm(right)
    turn = np.stack((right, np.cross(SUN, right), -SUN / 4.0)) / reach
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, -turn @ middle
    return matrix
