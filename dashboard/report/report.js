// The maps of a report: the dashboard's component without a server. `pairMap` is its entry point.
const text = document.getElementById("data").textContent;
const data = text ? JSON.parse(text) : null;
const host = document.getElementById("linked");
const dark = matchMedia("(prefers-color-scheme: dark)");
const MOST = 24;

function element(tag, kind, words) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  if (words !== undefined) made.textContent = words;
  return made;
}

function picture(row) {
  const found = data.pictures[row];
  return found ? `data:image/webp;base64,${found}` : null;
}


// The columns that `encode_columns` wrote: a JSON header, then aligned arrays.
function decode(url) {
  const bytes = Uint8Array.from(atob(url.slice(url.indexOf(",") + 1)), (c) => c.charCodeAt(0));
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const start = Math.ceil((4 + length) / 8) * 8;
  const kinds = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array };
  const made = {};
  for (const [name, code, at, size] of header) made[name] = new kinds[code](bytes.buffer, start + at, size);
  return made;
}

function selectedRows(bits) {
  if (!bits) return [];
  const packed = Uint8Array.from(atob(bits), (c) => c.charCodeAt(0));
  const rows = [];
  for (let row = 0; row < data.rows; row++) if ((packed[row >> 3] >> (row & 7)) & 1) rows.push(row);
  return rows;
}

function answer(columns, side, row, mark, kind) {
  const line = element("div", kind);
  line.append(element("span", mark), data.map.names[columns[`${side}_answer`][row]] ?? "none");
  return line;
}

function card(columns, row) {
  const cell = element("span");
  const source = picture(row);
  const offsets = columns.id_offsets;
  const name = new TextDecoder().decode(columns.id_bytes.subarray(offsets[row], offsets[row + 1]));
  cell.title = name;
  if (source) {
    const image = element("img");
    image.src = source;
    image.alt = name;
    cell.append(image);
  } else {
    cell.append(element("div", "ds-nopicture", name.slice(name.lastIndexOf("/") + 1)));
  }
  cell.append(answer(columns, "teacher", row, "ds-circle", "ds-teacher"));
  cell.append(answer(columns, "student", row, "ds-square", "ds-student"));
  return cell;
}

function showSelection(columns, rows) {
  const differ = rows.filter((row) => columns.teacher_answer[row] !== columns.student_answer[row]);
  const [left, right] = data.sides;
  document.getElementById("chosen").textContent = rows.length
    ? `${rows.length} of ${data.rows} images selected; ${left} and ${right} answer ${differ.length} of them differently.`
    : "";
  const same = (row) => columns.teacher_answer[row] === columns.student_answer[row];
  const order = [...rows].sort((a, b) => same(a) - same(b) || columns.kl[b] - columns.kl[a]);
  document.getElementById("gallery").replaceChildren(...order.slice(0, MOST).map((row) => card(columns, row)));
}

if (data && host) {
  const columns = decode(data.map.points);
  const root = host.attachShadow({ mode: "open" });
  const choice = document.getElementById("coloring");
  const update = () =>
    pairMap({
      data: { ...data.map, ...data.colorings[choice.value], pictures: picture },
      parentElement: root,
      setStateValue: (name, value) => showSelection(columns, selectedRows(value.bits)),
      setTriggerValue: () => {},
    });
  choice.addEventListener("change", update);
  dark.addEventListener("change", update);
  document.documentElement.classList.add("live");
  update();
}
