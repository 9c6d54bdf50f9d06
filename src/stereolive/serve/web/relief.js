// The face's depth as a surface that can be turned: a height field in millimetres, drawn with WebGL and lit from the side.
// Where the browser has no WebGL, the depth is drawn as a flat picture.

const CUT_MM = 22; // neighbouring cells farther apart in depth belong to different surfaces
const NEAR_MM = 95; // what lies farther before or behind the face's middle is left out
const FAR_MM = 120;

const VERTEX = `
attribute vec3 place; attribute vec3 normal; attribute vec2 cell;
uniform mat4 view; uniform mat3 turn;
varying vec2 at; varying vec3 facing;
void main() { gl_Position = view * vec4(place, 1.0); at = cell; facing = turn * normal; }`;

const FRAGMENT = `
precision mediump float;
uniform sampler2D skin; varying vec2 at; varying vec3 facing;
void main() {
  vec3 toward = normalize(facing);
  float light = 0.52 + 0.62 * max(dot(toward, normalize(vec3(-0.55, 0.45, 0.75))), 0.0);
  gl_FragColor = vec4(texture2D(skin, at).rgb * light, 1.0);
}`;

export class Relief {
  constructor(canvas) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl", { antialias: true, preserveDrawingBuffer: true });
    this.skins = {};
    this.home();
    if (this.gl) this.prepare();
    this.listen();
  }

  get isFlat() { return !this.gl; }

  home() {
    this.yaw = -0.55; // radians; seen a little from the side, where a relief shows
    this.pitch = 0.12;
    this.zoom = 1;
  }

  // `data` is the service's relief object; resolves when it is drawn.
  async show(data) {
    const size = data.size;
    const depth = numbers(data.depth_tenth_mm).map((value) => value / 10);
    const middle = median(depth.filter((_, i) => insideFace(i, size)));
    const pictures = await Promise.all([data.first, data.second].map(decode));
    this.roll = (data.roll_deg * Math.PI) / 180;
    this.side = data.side_mm;
    this.skins = { first: pictures[0], second: pictures[1], depth: depthPicture(depth, size, middle) };
    this.skin = this.skins[this.skinName] ? this.skinName : "first";
    this.home();
    if (this.gl) this.build(depth, size, middle);
    this.wear(this.skin);
    this.sway();
  }

  wear(name) {
    this.skinName = this.skin = name;
    const picture = this.skins[name];
    if (!picture) return;
    if (this.gl) {
      const gl = this.gl;
      gl.bindTexture(gl.TEXTURE_2D, this.texture);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, picture);
      for (const [what, how] of [[gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE], [gl.TEXTURE_MIN_FILTER, gl.LINEAR]]) {
        gl.texParameteri(gl.TEXTURE_2D, what, how);
      }
    }
    this.draw();
  }

  prepare() {
    const gl = this.gl;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.enable(gl.DEPTH_TEST);
    this.program = program;
    this.texture = gl.createTexture();
    this.buffers = { place: gl.createBuffer(), normal: gl.createBuffer(), cell: gl.createBuffer(), faces: gl.createBuffer() };
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  build(depth, size, middle) {
    const count = size * size;
    const place = new Float32Array(count * 3);
    const cell = new Float32Array(count * 2);
    for (let i = 0; i < count; i++) {
      const u = (i % size + 0.5) / size, v = (Math.floor(i / size) + 0.5) / size;
      const spread = depth[i] / middle; // a pinhole's rays part with distance
      place.set([(u - 0.5) * this.side * spread, (0.5 - v) * this.side * spread, middle - depth[i]], i * 3);
      cell.set([u, v], i * 2);
    }
    const shown = (i) => place[i * 3 + 2] < NEAR_MM && place[i * 3 + 2] > -FAR_MM;
    const together = (...corners) => {
      const heights = corners.map((i) => place[i * 3 + 2]);
      return corners.every(shown) && Math.max(...heights) - Math.min(...heights) < CUT_MM;
    };
    const kept = fromTheMiddle(size, together);
    const faces = [];
    for (let row = 0; row + 1 < size; row++) {
      for (let column = 0; column + 1 < size; column++) {
        const a = row * size + column, b = a + 1, c = a + size, d = c + 1;
        if (kept[a] && kept[b] && kept[c] && together(a, b, c)) faces.push(a, c, b);
        if (kept[b] && kept[c] && kept[d] && together(b, c, d)) faces.push(b, c, d);
      }
    }
    const normal = normals(place, faces);
    const gl = this.gl;
    for (const [name, data, width] of [["place", place, 3], ["normal", normal, 3], ["cell", cell, 2]]) {
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
      gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
      const index = gl.getAttribLocation(this.program, name);
      gl.enableVertexAttribArray(index);
      gl.vertexAttribPointer(index, width, gl.FLOAT, false, 0, 0);
    }
    // Sixteen-bit indices reach 65,536 cells, more than a face crop has.
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.buffers.faces);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, new Uint16Array(faces), gl.STATIC_DRAW);
    this.count = faces.length;
  }

  draw() {
    const { canvas, gl } = this;
    if (!this.skins[this.skin]) return;
    const ratio = Math.min(devicePixelRatio, 2);
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (width && (canvas.width !== width || canvas.height !== height)) Object.assign(canvas, { width, height });
    if (!gl) {
      const plane = canvas.getContext("2d");
      const side = Math.min(canvas.width, canvas.height);
      plane.clearRect(0, 0, canvas.width, canvas.height);
      plane.drawImage(this.skins[this.skin], (canvas.width - side) / 2, (canvas.height - side) / 2, side, side);
      return;
    }
    const turn = times(rotateX(this.pitch), times(rotateY(this.yaw), rotateZ(this.roll)));
    const away = (this.side * 1.5) / this.zoom;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0.055, 0.11, 0.1, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.uniformMatrix3fv(gl.getUniformLocation(this.program, "turn"), false, columns(turn));
    gl.uniformMatrix4fv(gl.getUniformLocation(this.program, "view"), false, perspective(turn, away, canvas.width / canvas.height, this.side));
    gl.drawElements(gl.TRIANGLES, this.count, gl.UNSIGNED_SHORT, 0);
  }

  turnBy(yaw, pitch) {
    cancelAnimationFrame(this.swaying);
    this.yaw = Math.max(-1.4, Math.min(1.4, this.yaw + yaw));
    this.pitch = Math.max(-1.1, Math.min(1.1, this.pitch + pitch));
    this.draw();
  }

  zoomBy(factor) {
    this.zoom = Math.max(0.6, Math.min(2.5, this.zoom * factor));
    this.draw();
  }

  // One swing from side to side shows that this has depth; then it waits.
  sway() {
    cancelAnimationFrame(this.swaying);
    if (this.isFlat || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    const start = performance.now();
    const step = (now) => {
      const t = Math.max(0, Math.min(1, (now - start) / 2600));
      this.yaw = -0.55 * Math.cos(t * 2 * Math.PI);
      this.draw();
      if (t < 1) this.swaying = requestAnimationFrame(step);
    };
    this.swaying = requestAnimationFrame(step);
  }

  listen() {
    const canvas = this.canvas;
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) this.turnBy(event.movementX * 0.008, event.movementY * 0.008);
    });
    const keys = {
      ArrowLeft: () => this.turnBy(-0.12, 0),
      ArrowRight: () => this.turnBy(0.12, 0),
      ArrowUp: () => this.turnBy(0, -0.12),
      ArrowDown: () => this.turnBy(0, 0.12),
      "+": () => this.zoomBy(1.15),
      "-": () => this.zoomBy(1 / 1.15),
      Home: () => { this.home(); this.turnBy(0, 0); },
    };
    canvas.addEventListener("keydown", (event) => {
      if (!(event.key in keys)) return;
      event.preventDefault();
      keys[event.key]();
    });
  }
}

function numbers(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => view.getUint16(i * 2, true));
}

async function decode(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

function insideFace(i, size) {
  const x = (i % size) / size - 0.5, y = Math.floor(i / size) / size - 0.5;
  return x * x + y * y < 0.078;
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

// The surface that hangs together with the face's middle; what floats beside it belongs to something else.
function fromTheMiddle(size, together) {
  const kept = new Uint8Array(size * size);
  const next = [(size >> 1) * size + (size >> 1)];
  kept[next[0]] = 1;
  while (next.length) {
    const i = next.pop(), column = i % size;
    for (const [j, inside] of [[i - 1, column > 0], [i + 1, column + 1 < size], [i - size, i >= size], [i + size, i + size < size * size]]) {
      if (!inside || kept[j] || !onHead(j, size) || !together(i, j)) continue;
      kept[j] = 1;
      next.push(j);
    }
  }
  return withoutSpikes(kept, size);
}

// Thin tongues at the rim are where the matching lost the face; what has too few neighbours goes, round by round.
function withoutSpikes(kept, size) {
  let now = kept;
  for (let round = 0; round < size / 14; round++) {
    const before = now;
    now = before.map((is, i) => {
      const column = i % size;
      if (!is || !column || column + 1 === size) return 0;
      let neighbours = 0;
      for (const row of [i - size, i, i + size]) for (const j of [row - 1, row, row + 1]) neighbours += before[j] ?? 0;
      return neighbours >= 7 ? 1 : 0;
    });
  }
  return now;
}

function onHead(i, size) {
  const x = (i % size) / size - 0.5, y = Math.floor(i / size) / size - 0.5;
  return (x / 0.38) ** 2 + (y / 0.46) ** 2 < 1;
}

// Near is light and warm, far is dark and cold, over the 120 mm that a face and its surroundings take.
function depthPicture(depth, size, middle) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const plane = canvas.getContext("2d");
  const picture = plane.createImageData(size, size);
  const stops = [[28, 42, 92], [38, 120, 142], [122, 190, 120], [246, 214, 120], [255, 245, 225]];
  depth.forEach((value, i) => {
    const t = Math.max(0, Math.min(0.999, 0.62 - (value - middle) / 120)) * (stops.length - 1);
    const low = stops[Math.floor(t)], high = stops[Math.floor(t) + 1];
    for (let k = 0; k < 3; k++) picture.data[i * 4 + k] = low[k] + (high[k] - low[k]) * (t % 1);
    picture.data[i * 4 + 3] = 255;
  });
  plane.putImageData(picture, 0, 0);
  return canvas;
}

function normals(place, faces) {
  const normal = new Float32Array(place.length);
  for (let f = 0; f < faces.length; f += 3) {
    const [a, b, c] = [faces[f] * 3, faces[f + 1] * 3, faces[f + 2] * 3];
    const e = [0, 1, 2].map((k) => place[b + k] - place[a + k]);
    const g = [0, 1, 2].map((k) => place[c + k] - place[a + k]);
    const n = [e[1] * g[2] - e[2] * g[1], e[2] * g[0] - e[0] * g[2], e[0] * g[1] - e[1] * g[0]];
    for (const corner of [a, b, c]) for (let k = 0; k < 3; k++) normal[corner + k] += n[k];
  }
  return normal;
}

// 3 x 3 matrices as rows.
const rotateX = (r) => [[1, 0, 0], [0, Math.cos(r), -Math.sin(r)], [0, Math.sin(r), Math.cos(r)]];
const rotateY = (r) => [[Math.cos(r), 0, Math.sin(r)], [0, 1, 0], [-Math.sin(r), 0, Math.cos(r)]];
const rotateZ = (r) => [[Math.cos(r), -Math.sin(r), 0], [Math.sin(r), Math.cos(r), 0], [0, 0, 1]];
const times = (a, b) => a.map((row) => b[0].map((_, j) => row.reduce((sum, value, k) => sum + value * b[k][j], 0)));
const columns = (m) => [0, 1, 2].flatMap((j) => [0, 1, 2].map((i) => m[i][j]));

// Column-major 4 x 4: turn, move `away` mm back, project.
function perspective(turn, away, aspect, side) {
  const focal = 2.6, near = side * 0.1, far = side * 6;
  const a = (far + near) / (near - far), b = (2 * far * near) / (near - far);
  const [x, y, z] = turn;
  return [0, 1, 2].flatMap((j) => [(focal / Math.max(aspect, 1)) * x[j], focal * Math.min(aspect, 1) * y[j], a * z[j], -z[j]])
    .concat([0, 0, -a * away + b, away]);
}
