/**
 * One point is one `gl.POINTS` vertex: a circle, or a diamond for an image with a trigger; hollow
 * where its place on this map says little.
 */

export const VERTEX = `#version 300 es
precision highp float;
layout(location = 0) in vec2 teacher;
layout(location = 1) in vec2 student;
layout(location = 2) in uint code;
layout(location = 3) in uint flags;
uniform sampler2D lut;
uniform vec2 center;
uniform vec2 scale;
uniform float morph;
uniform float size;
uniform float ratio;
uniform float selecting;
uniform vec4 ink;
uniform vec4 paper;
uniform vec4 ghost;
flat out vec4 fill;
flat out vec4 edge;
flat out float extent;
flat out float border;
flat out float diamond;
void main() {
  float picked = float((flags >> 1) & 1u);
  float dimmed = float((flags >> 2) & 1u);
  diamond = float(flags & 1u);
  gl_Position = vec4((mix(teacher, student, morph) - center) * scale, 0.0, 1.0);
  vec4 color = texelFetch(lut, ivec2(int(code) & 255, int(code) >> 8), 0);
  float faded = selecting * (1.0 - picked);
  // Fading is a paler opaque color: transparency would add up to full strength in dense places.
  vec3 shown = mix(color.rgb, paper.rgb, 0.7 * faded);
  fill = vec4(mix(shown, mix(paper.rgb, ghost.rgb, ghost.a), dimmed), 0.92);
  // Rims would swallow the color of points that are only two or three pixels wide.
  float outline = mix(0.5 * diamond, 0.8 + 0.2 * diamond, picked) * smoothstep(2.0, 4.5, size / ratio);
  edge = vec4(ink.rgb, outline * (1.0 - dimmed) * (1.0 - faded * (1.0 - 0.35 * diamond)));
  border = mix(0.7, 0.9, picked) * ratio;
  // The maps' flags differ, and an image on its way to the student's map is on that one.
  float hollow = float((flags >> (morph > 0.0 ? 4u : 3u)) & 1u) * (1.0 - dimmed);
  edge = mix(edge, vec4(mix(shown, ink.rgb, picked), 1.0), hollow);
  fill = mix(fill, vec4(paper.rgb, 0.92), hollow);
  border = mix(border, 1.2 * ratio, hollow);
  extent = size * mix(1.0, 1.2, diamond) * mix(1.0, 1.2, picked);
  gl_PointSize = extent * mix(1.0, 1.42, diamond) + 2.0;
}`;

export const FRAGMENT = `#version 300 es
precision mediump float;
flat in vec4 fill;
flat in vec4 edge;
flat in float extent;
flat in float border;
flat in float diamond;
out vec4 color;
void main() {
  float whole = extent * mix(1.0, 1.42, diamond);
  vec2 p = (gl_PointCoord - 0.5) * (whole + 2.0);
  float d = diamond > 0.5 ? (abs(p.x) + abs(p.y)) * 0.7072 : length(p);
  float radius = 0.5 * extent;
  float cover = clamp(radius - d + 0.5, 0.0, 1.0);
  if (cover <= 0.0) discard;
  float rim = edge.a * clamp(d - (radius - border) + 0.5, 0.0, 1.0);
  vec4 shade = mix(fill, vec4(edge.rgb, 1.0), rim);
  float alpha = shade.a * cover;
  color = vec4(shade.rgb * alpha, alpha);
}`;
