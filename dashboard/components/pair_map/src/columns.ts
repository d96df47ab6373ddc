/** Reads the columns that `encode_columns` in Python wrote: a JSON header, then aligned arrays. */

const READERS = {
  u1: Uint8Array,
  u2: Uint16Array,
  u4: Uint32Array,
  f4: Float32Array,
} as const;

type Code = keyof typeof READERS;
type Column = InstanceType<(typeof READERS)[Code]>;

export class Columns {
  constructor(private readonly byName: Map<string, Column>) {}

  static decode(buffer: ArrayBuffer): Columns {
    const length = new DataView(buffer).getUint32(0, true);
    const header: [string, Code, number, number][] = JSON.parse(
      new TextDecoder().decode(new Uint8Array(buffer, 4, length)),
    );
    const start = Math.ceil((4 + length) / 8) * 8;
    return new Columns(
      new Map(
        header.map(([name, code, offset, size]) => [
          name,
          new READERS[code](buffer, start + offset, size),
        ]),
      ),
    );
  }

  has(name: string): boolean {
    return this.byName.has(name);
  }

  f4(name: string): Float32Array {
    return this.byName.get(name) as Float32Array;
  }

  u1(name: string): Uint8Array {
    return this.byName.get(name) as Uint8Array;
  }

  u2(name: string): Uint16Array {
    return this.byName.get(name) as Uint16Array;
  }

  u4(name: string): Uint32Array {
    return this.byName.get(name) as Uint32Array;
  }

  /** Color codes are stored as narrowly as they fit. */
  codes(name: string): Uint8Array | Uint16Array {
    return this.byName.get(name) as Uint8Array | Uint16Array;
  }

  /** One string of a column that was written as UTF-8 bytes and offsets. */
  text(name: string, row: number): string {
    const offsets = this.u4(`${name}_offsets`);
    return new TextDecoder().decode(this.u1(`${name}_bytes`).subarray(offsets[row], offsets[row + 1]));
  }
}

const KEPT = 8;
const cache = new Map<string, Promise<Columns>>();

/** Columns at a URL that names its content, so a page change fetches nothing twice. */
export function fetchColumns(url: string): Promise<Columns> {
  const known = cache.get(url);
  if (known) return known;
  const loading = fetch(url).then(async (answer) => {
    const kind = answer.headers.get("content-type") ?? "";
    if (!answer.ok || !kind.startsWith("application/octet-stream")) {
      throw new Error(`status ${answer.status}`);
    }
    return Columns.decode(await answer.arrayBuffer());
  });
  loading.catch(() => cache.delete(url));
  cache.set(url, loading);
  for (const old of cache.keys()) {
    if (cache.size <= KEPT) break;
    cache.delete(old);
  }
  return loading;
}
