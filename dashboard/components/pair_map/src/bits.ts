/** A selection as bits, the way numpy's `packbits(..., bitorder="little")` writes it. */

export function packBits(mask: Uint8Array): Uint8Array {
  const packed = new Uint8Array(Math.ceil(mask.length / 8));
  for (let i = 0; i < mask.length; i++) packed[i >> 3] |= (mask[i] & 1) << (i & 7);
  return packed;
}

export function unpackBits(packed: Uint8Array, mask: Uint8Array): number {
  let count = 0;
  for (let i = 0; i < mask.length; i++) {
    mask[i] = (packed[i >> 3] >> (i & 7)) & 1;
    count += mask[i];
  }
  return count;
}

const PIECE = 0x8000;

export function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += PIECE) {
    text += String.fromCharCode(...bytes.subarray(i, i + PIECE));
  }
  return btoa(text);
}

export function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
