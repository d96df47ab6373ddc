/** Draws both maps into one WebGL 2 canvas. Knows points, colors and flags; nothing of pointers. */

import type { Camera } from "./camera";
import { FRAGMENT, VERTEX } from "./shaders";

export const DIAMOND = 1;
export const PICKED = 2;
export const GHOST = 4;
/** Hollow on the teacher's map; the next bit is the student's. */
export const FAR = 8;
const LAYER_BITS = 7;

/** Where a map's plot area lies inside the canvas, in CSS pixels. */
export interface Area {
  left: number;
  top: number;
  width: number;
  height: number;
}

export type Rgba = [number, number, number, number];

const UNIFORMS = [
  "lut", "center", "scale", "morph", "size", "ratio", "selecting", "ink", "paper", "ghost",
] as const;

/** Later groups are drawn over earlier ones; index by the three lowest flag bits. */
const LAYER_OF = [1, 2, 3, 4, 0, 0, 0, 0];

export class Renderer {
  ratio = 1;
  ink: Rgba = [0, 0, 0, 1];
  paper: Rgba = [1, 1, 1, 1];
  ghost: Rgba = [0.5, 0.5, 0.5, 0.2];
  private readonly gl: WebGL2RenderingContext;
  private readonly program: WebGLProgram;
  private readonly where: Record<(typeof UNIFORMS)[number], WebGLUniformLocation | null>;
  private readonly buffers: Record<"teacher" | "student" | "code" | "flags" | "order", WebGLBuffer>;
  private readonly order: Uint32Array;
  private drawn = 0;
  private anyPicked = false;

  constructor(gl: WebGL2RenderingContext, teacher: Float32Array, student: Float32Array) {
    this.gl = gl;
    this.program = link(gl);
    this.where = Object.fromEntries(
      UNIFORMS.map((name) => [name, gl.getUniformLocation(this.program, name)]),
    ) as typeof this.where;
    this.order = new Uint32Array(teacher.length / 2);
    this.buffers = {
      teacher: this.attribute(0, 2, gl.FLOAT, teacher),
      student: this.attribute(1, 2, gl.FLOAT, student),
      code: this.attribute(2, 1, gl.UNSIGNED_SHORT, new Uint16Array(this.order.length)),
      flags: this.attribute(3, 1, gl.UNSIGNED_BYTE, new Uint8Array(this.order.length)),
      order: gl.createBuffer()!,
    };
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.buffers.order);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, this.order.byteLength, gl.DYNAMIC_DRAW);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.enable(gl.BLEND);
    gl.enable(gl.SCISSOR_TEST);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  private attribute(index: number, size: number, type: number, values: ArrayBufferView): WebGLBuffer {
    const gl = this.gl;
    const buffer = gl.createBuffer()!;
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(index);
    if (type === gl.FLOAT) gl.vertexAttribPointer(index, size, type, false, 0, 0);
    else gl.vertexAttribIPointer(index, size, type, 0, 0);
    return buffer;
  }

  private upload(buffer: WebGLBuffer, values: ArrayBufferView): void {
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, buffer);
    this.gl.bufferSubData(this.gl.ARRAY_BUFFER, 0, values);
  }

  setCodes(codes: Uint16Array): void {
    this.upload(this.buffers.code, codes);
  }

  /** Colors by code, as a texture of 256 columns. */
  setColors(colors: Rgba[]): void {
    const gl = this.gl;
    const rows = Math.max(1, Math.ceil(colors.length / 256));
    const pixels = new Uint8Array(rows * 1024);
    colors.forEach((color, i) => pixels.set(color.map((part) => Math.round(part * 255)), 4 * i));
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, rows, 0, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  }

  /** Flags decide both the look of a point and when it is drawn: what is selected lies on top. */
  setFlags(flags: Uint8Array): void {
    const next = new Uint32Array(6);
    for (let i = 0; i < flags.length; i++) next[LAYER_OF[flags[i] & LAYER_BITS] + 1]++;
    this.anyPicked = next[4] + next[5] > 0;
    for (let layer = 0; layer < 5; layer++) next[layer + 1] += next[layer];
    for (let i = 0; i < flags.length; i++) this.order[next[LAYER_OF[flags[i] & LAYER_BITS]]++] = i;
    this.drawn = flags.length;
    this.upload(this.buffers.flags, flags);
    this.gl.bufferSubData(this.gl.ELEMENT_ARRAY_BUFFER, 0, this.order);
  }

  resize(width: number, height: number, ratio: number): void {
    const { canvas } = this.gl;
    this.ratio = ratio;
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== wide) canvas.width = wide;
    if (canvas.height !== high) canvas.height = high;
  }

  /** Diameter in CSS pixels: smaller for many points, growing slowly with the zoom. */
  pointSize(zoom: number): number {
    const base = Math.min(5, Math.max(1.9, 5 * (3000 / (this.order.length + 1)) ** 0.22));
    return Math.min(12, base * Math.max(1, zoom) ** 0.3);
  }

  draw(areas: [Area, number][], camera: Camera): void {
    const { gl, where, ratio } = this;
    gl.useProgram(this.program);
    gl.scissor(0, 0, gl.canvas.width, gl.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform1i(where.lut, 0);
    gl.uniform2f(where.center, camera.centerX, camera.centerY);
    gl.uniform1f(where.size, this.pointSize(camera.zoom) * ratio);
    gl.uniform1f(where.ratio, ratio);
    gl.uniform1f(where.selecting, this.anyPicked ? 1 : 0);
    gl.uniform4fv(where.ink, this.ink);
    gl.uniform4fv(where.paper, this.paper);
    gl.uniform4fv(where.ghost, this.ghost);
    for (const [area, morph] of areas) {
      const box = [area.left, gl.canvas.height / ratio - area.top - area.height, area.width, area.height];
      const [x, y, w, h] = box.map((value) => Math.round(value * ratio));
      gl.viewport(x, y, w, h);
      gl.scissor(x, y, w, h);
      gl.uniform2f(where.scale, (2 * camera.scale) / area.width, (2 * camera.scale) / area.height);
      gl.uniform1f(where.morph, morph);
      gl.drawElements(gl.POINTS, this.drawn, gl.UNSIGNED_INT, 0);
    }
  }

  /** Wait until the pixels of `area` are there; only measurements need it. */
  finish(area: Area): void {
    const gl = this.gl;
    const x = Math.round((area.left + area.width / 2) * this.ratio);
    const y = Math.round(gl.canvas.height - (area.top + area.height / 2) * this.ratio);
    gl.readPixels(x, y, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
  }

  /** Give the memory back, keep the context for the next points. */
  release(): void {
    for (const buffer of Object.values(this.buffers)) this.gl.deleteBuffer(buffer);
    this.gl.deleteTexture(this.gl.getParameter(this.gl.TEXTURE_BINDING_2D));
    this.gl.deleteProgram(this.program);
  }

  dispose(): void {
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

function link(gl: WebGL2RenderingContext): WebGLProgram {
  const program = gl.createProgram()!;
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
    const shader = gl.createShader(kind)!;
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    const logs = (gl.getAttachedShaders(program) ?? []).map((s) => gl.getShaderInfoLog(s));
    throw new Error(`the map's shaders do not compile: ${logs.join(" ")}`);
  }
  return program;
}
