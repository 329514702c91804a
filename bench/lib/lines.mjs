// @ts-check
import { line, page, round, text, ticks } from './svg.mjs'

/** @typedef {{ x: number, median: number, min: number, max: number }} Point */
/** @typedef {{ name: string, isOwn: boolean, points: readonly Point[] }} Series */
/** @typedef {{ title: string, xName: string, series: readonly Series[] }} Panel */

const COLUMNS = 2
const PANEL = 410
const HEIGHT = 220
const MARGIN = 20
const AXIS = 44

/**
 * Panels, two in a row, each with lines over a few values of x, which stand at equal distances. Where cost is linear, lines are level.
 * @param {{ title: string, subtitle: readonly string[], panels: readonly Panel[] }} drawing
 */
export function drawLines({ title, subtitle, panels }) {
  const top = 60 + 18 * subtitle.length
  const row = HEIGHT + 80
  const width = 2 * MARGIN + PANEL * Math.min(COLUMNS, panels.length)
  const bottom = top + row * Math.ceil(panels.length / COLUMNS) - 30
  const [first] = panels
  return page(width, bottom + 34, title, [
    text(MARGIN, 28, title, { as: 'title' }),
    ...subtitle.map((words, index) => text(MARGIN, 48 + 18 * index, words, { as: 'faint' })),
    ...panels.flatMap((panel, index) =>
      drawPanel(panel, MARGIN + (index % COLUMNS) * PANEL, top + row * Math.floor(index / COLUMNS)),
    ),
    ...(first?.series ?? []).flatMap(({ name, isOwn }, index) => {
      const left = MARGIN + (index * (width - 2 * MARGIN)) / Math.max(4, first?.series.length ?? 0)
      return [
        line(left, bottom + 8, left + 28, bottom + 8, `line ${tone(isOwn)}`),
        mark(left + 14, bottom + 8, isOwn),
        text(left + 36, bottom + 12, name),
      ]
    }),
  ])
}

/** @param {Panel} panel @param {number} left @param {number} top */
function drawPanel({ title, xName, series }, left, top) {
  const points = series.flatMap((one) => one.points)
  const places = [...new Set(points.map((point) => point.x))].sort((a, b) => a - b)
  const marks = ticks(Math.max(...points.map(({ max, median }) => (Number.isFinite(max) ? max : median))))
  const [from, to, floor] = [left + AXIS, left + PANEL - 24, top + HEIGHT]
  /** @param {number} value */
  const x = (value) => from + 16 + ((to - from - 32) * places.indexOf(value)) / Math.max(1, places.length - 1)
  /** @param {number} value */
  const y = (value) => floor - (value / (marks.at(-1) ?? 1)) * (HEIGHT - 24)
  return [
    text(left, top, title, { as: 'strong' }),
    ...marks.flatMap((value) => [
      line(from, y(value), to, y(value), value === 0 ? 'axis' : 'grid'),
      text(from - 8, y(value) + 4, value.toLocaleString('en'), { as: 'faint', anchor: 'end' }),
    ]),
    ...places.map((place) => text(x(place), floor + 18, place.toLocaleString('en'), { as: 'faint', anchor: 'middle' })),
    text((from + to) / 2, floor + 36, xName, { as: 'faint', anchor: 'middle' }),
    ...[...series].reverse().flatMap((one) => drawSeries(one, x, y)),
  ]
}

/** @param {Series} series @param {(value: number) => number} x @param {(value: number) => number} y */
function drawSeries({ points, isOwn }, x, y) {
  // Beside each other, where they are equal.
  const shift = isOwn ? -3 : 3
  const known = points.filter(({ median }) => Number.isFinite(median))
  const path = known.map((point) => `${round(x(point.x) + shift)},${round(y(point.median))}`).join(' ')
  return [
    `<polyline points="${path}" class="line ${tone(isOwn)}"/>`,
    ...known.map((point) =>
      line(x(point.x) + shift, y(point.min), x(point.x) + shift, y(point.max), `span ${tone(isOwn)}`),
    ),
    ...known.map((point) => mark(x(point.x) + shift, y(point.median), isOwn)),
  ]
}

/** Round ones and square ones, for those who do not see colours. @param {number} x @param {number} y @param {boolean} isOwn */
function mark(x, y, isOwn) {
  if (isOwn) return `<circle cx="${round(x)}" cy="${round(y)}" r="4" class="own"/>`
  return `<rect x="${round(x - 3.5)}" y="${round(y - 3.5)}" width="7" height="7" class="other"/>`
}

/** @param {boolean} isOwn */
function tone(isOwn) {
  return isOwn ? 'own' : 'other'
}
