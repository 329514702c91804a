// @ts-check
// What the drawings share. Colours are classes, so that one file is readable on light and on dark pages.

/** Pixels that a character takes at most, at 12 pixels, whatever the font. */
export const CHARACTER = 7.2

const STYLE = `
  .page { fill: #ffffff }
  text { font: 12px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2328 }
  .title { font-size: 15px; font-weight: 600 }
  .strong { font-weight: 600 }
  .faint { fill: #59636e }
  .grid { stroke: #d1d9e0; stroke-width: 1 }
  .axis { stroke: #818b98; stroke-width: 1 }
  .own { fill: #0969da }
  .other { fill: #afb8c1 }
  .whisker { stroke: #1f2328; stroke-width: 1.25 }
  .line { fill: none; stroke-width: 2 }
  .line.own { stroke: #0969da; fill: none }
  .line.other { stroke: #818b98; stroke-dasharray: 5 4; fill: none }
  .span.own { stroke: #0969da; stroke-width: 1.25 }
  .span.other { stroke: #818b98; stroke-width: 1.25 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 }
    text { fill: #e6edf3 }
    .faint { fill: #9198a1 }
    .grid { stroke: #30363d }
    .axis { stroke: #6e7681 }
    .own { fill: #4493f8 }
    .other { fill: #59636e }
    .whisker { stroke: #e6edf3 }
    .line.own, .span.own { stroke: #4493f8 }
    .line.other, .span.other { stroke: #9198a1 }
  }
`

/** @param {number} width @param {number} height @param {string} title what it shows, for those who do not see it @param {readonly string[]} parts */
export function page(width, height, title, parts) {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<style>${STYLE}</style>`,
    `<rect class="page" width="${width}" height="${height}" rx="6"/>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n')
}

/**
 * @param {number} x @param {number} y @param {string} content
 * @param {{ as?: string, anchor?: 'start' | 'middle' | 'end' }} [options] `as`: classes
 */
export function text(x, y, content, { as = '', anchor = 'start' } = {}) {
  return `<text x="${round(x)}" y="${round(y)}" class="${as}" text-anchor="${anchor}">${escaped(content)}</text>`
}

/** @param {number} x1 @param {number} y1 @param {number} x2 @param {number} y2 @param {string} as */
export function line(x1, y1, x2, y2, as) {
  return `<line x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}" class="${as}"/>`
}

/** @param {number} value */
export function round(value) {
  return Math.round(value * 10) / 10
}

/** Round numbers from 0 to the largest value or a little beyond, 4 to 6 of them. @param {number} largest */
export function ticks(largest) {
  const rough = (largest > 0 ? largest : 1) / 5
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = ([1, 2, 2.5, 5].find((factor) => factor * power >= rough) ?? 10) * power
  return Array.from({ length: Math.ceil(largest / step - 1e-9) + 1 }, (_, index) =>
    Number((index * step).toPrecision(6)),
  )
}

/** @param {string} content */
function escaped(content) {
  return content.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}
