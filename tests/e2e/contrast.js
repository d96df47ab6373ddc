// Texts whose contrast with what lies behind them is below WCAG 2.2 AA (1.4.3): 4.5, or 3 where
// they are large. Text of disabled controls is exempt; text over pictures cannot be judged.
() => {
  const parse = (text) => {
    const found = /rgba?\(([^)]+)\)/.exec(text)
    if (!found) {
      const srgb = /color\(srgb ([^)]+)\)/.exec(text)
      if (!srgb) return null
      const [r, g, b, a] = srgb[1].split(/[\s/]+/).map(Number)
      return [255 * r, 255 * g, 255 * b, a === undefined ? 1 : a]
    }
    const [r, g, b, a] = found[1].split(/[\s,/]+/).map(Number)
    return [r, g, b, a === undefined ? 1 : a]
  }
  const over = (top, below) => top.slice(0, 3).map((c, i) => c * top[3] + below[i] * (1 - top[3])).concat(1)
  const luminance = (color) => {
    const [r, g, b] = color.slice(0, 3).map((c) => {
      const v = c / 255
      return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const behind = (element) => {
    const layers = []
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at)
      if (style.backgroundImage !== "none" && !(at instanceof SVGElement)) return null
      const color = parse(style.backgroundColor)
      if (color && color[3] > 0) layers.push(color)
      if (color && color[3] === 1) break
    }
    return layers.reverse().reduce((below, top) => over(top, below), parse(getComputedStyle(document.body).backgroundColor) || [255, 255, 255, 1])
  }
  const opacity = (element) => {
    let product = 1
    for (let at = element; at; at = at.parentElement) product *= Number(getComputedStyle(at).opacity)
    return product
  }
  const exempt = (element) => element.closest(
    // The value of a slider stands above its thumb, and in it in the tree.
    '[data-testid="stSliderThumbValue"], [disabled], [aria-disabled="true"], [data-disabled="true"], .ds-stale, [class*="st-key-stale_"], [data-stale="true"]'
  )
  const found = []
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim()
    const element = walker.currentNode.parentElement
    if (!text || !element || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(element.tagName)) continue
    const style = getComputedStyle(element)
    const box = element.getBoundingClientRect()
    if (!element.checkVisibility({ visibilityProperty: true }) || box.width < 2 || box.height < 2) continue
    if (exempt(element) || opacity(element) === 0) continue
    const ground = behind(element)
    const svg = element instanceof SVGElement
    const ink = parse(svg ? style.fill : style.color)
    if (!ground || !ink) continue
    const shade = opacity(element) * (svg ? Number(style.fillOpacity) : 1)
    if (ink[3] * shade === 0) continue // not drawn: shown while it is pointed at
    const mixed = over([...ink.slice(0, 3), ink[3] * shade], ground)
    const [high, low] = [luminance(mixed), luminance(ground)].sort((a, b) => b - a)
    const ratio = (high + 0.05) / (low + 0.05)
    const size = parseFloat(style.fontSize)
    // Numbers of this size stand in cells of heat maps, which lie beside them in the tree.
    if (svg && size <= 10) continue
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700)
    if (ratio < (large ? 3 : 4.5) - 0.005) {
      const path = element.closest("[class*='st-key-'], [data-testid]")
      found.push({
        text: text.slice(0, 40),
        ratio: Math.round(100 * ratio) / 100,
        size,
        element: `${element.tagName.toLowerCase()}.${element.getAttribute("class") || ""}`.slice(0, 80),
        within: path ? (path.getAttribute("data-testid") || path.className).slice(0, 60) : "",
      })
    }
  }
  return found
}
