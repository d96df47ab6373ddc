/** Entry point that Streamlit calls on mounting and on every rerun with new data or theme. */

import { Interaction } from "./interaction";
import { PairMap } from "./map";
import css from "./style.css";
import type { Component } from "./types";

interface Instance {
  map: PairMap;
  interaction: Interaction;
  call: number;
}

const instances = new WeakMap<ShadowRoot, Instance>();

function mount(host: ShadowRoot): Instance {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css);
  host.adoptedStyleSheets = [sheet];
  const map = new PairMap(host);
  map.ui.root.addEventListener("pair-map:redraw", () => {
    performance.mark("pair-map:redraw-start");
    map.invalidate(true);
    map.paint();
    performance.mark("pair-map:redraw-end");
  });
  return { map, interaction: new Interaction(map), call: 0 };
}

export default function pairMap(component: Component): () => void {
  const host = component.parentElement;
  const instance = instances.get(host) ?? mount(host);
  instances.set(host, instance);
  const call = ++instance.call;
  void instance.map.update(component);
  // Streamlit also runs the clean-up of a call that a newer one has overtaken.
  return () => {
    if (call !== instance.call) return;
    instances.delete(host);
    instance.interaction.dispose();
    instance.map.dispose();
  };
}
