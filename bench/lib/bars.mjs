// @ts-check
import { CHARACTER, line, page, round, text, ticks } from './svg.mjs'

/** @typedef {{ name: string, isOwn: boolean, median: number, min: number, max: number, told: string }} Bar `told`: what is written beside it */
/** @typedef {{ name: string, bars: readonly Bar[] }} Group */

const WIDTH = 860
const MARGIN = 20
const BAR = 16
const ROW = 22

/**
 * Horizontal bars in groups, with whiskers from the least to the most. All share one scale, on which 1 has a line of its own.
 * @param {{ title: string, subtitle: readonly string[], groups: readonly Group[], scale: string }} drawing
 */
export function drawBars({ title, subtitle, groups, scale }) {
  const bars = groups.flatMap((group) => group.bars)
  const left = MARGIN + columnOf(bars.map(({ name }) => name))
  const right = WIDTH - MARGIN - columnOf(bars.map(({ told }) => told))
  const marks = ticks(Math.max(1, ...bars.map(({ max, median }) => (Number.isFinite(max) ? max : median))))
  /** @param {number} value */
  const x = (value) => left + (value / (marks.at(-1) ?? 1)) * (right - left)
  const top = 36 + 18 * subtitle.length
  let y = top
  const rows = groups.flatMap((group) => {
    y += 22
    const name = text(MARGIN, y, group.name, { as: 'strong' })
    y += 8
    const begin = y
    const drawn = group.bars.flatMap((bar, index) => drawBar(bar, x, begin + index * ROW, right))
    y += group.bars.length * ROW + 6
    // Under the bars, and not under the names of groups.
    const grid = marks.map((mark) => line(x(mark), begin - 2, x(mark), y - 8, mark === 0 ? 'axis' : 'grid'))
    return [name, ...grid, line(x(1), begin - 2, x(1), y - 8, 'axis'), ...drawn]
  })
  return page(WIDTH, y + 46, title, [
    text(MARGIN, 28, title, { as: 'title' }),
    ...subtitle.map((words, index) => text(MARGIN, 48 + 18 * index, words, { as: 'faint' })),
    ...rows,
    ...marks.map((mark) => text(x(mark), y + 10, String(mark), { as: 'faint', anchor: 'middle' })),
    text((left + right) / 2, y + 30, scale, { as: 'faint', anchor: 'middle' }),
  ])
}

/** @param {Bar} bar @param {(value: number) => number} x @param {number} y its top @param {number} right where text may begin */
function drawBar({ name, isOwn, median, min, max, told }, x, y, right) {
  const middle = y + BAR / 2
  const width = Number.isFinite(median) ? Math.max(0, x(median) - x(0)) : 0
  const whiskers = max > min ? [line(x(min), middle, x(max), middle, 'whisker'), ...[min, max].map(tip)] : []
  /** @param {number} value */
  function tip(value) {
    return line(x(value), middle - 4, x(value), middle + 4, 'whisker')
  }
  return [
    text(x(0) - 10, middle + 4, name, { as: isOwn ? 'strong' : '', anchor: 'end' }),
    `<rect x="${round(x(0))}" y="${y}" width="${round(width)}" height="${BAR}" rx="2" class="${isOwn ? 'own' : 'other'}"/>`,
    ...whiskers,
    text(right + 12, middle + 4, told, { as: isOwn ? 'strong' : '' }),
  ]
}

/** Room for the longest of some texts. @param {readonly string[]} texts */
function columnOf(texts) {
  return Math.max(...texts.map(({ length }) => length * CHARACTER)) + 14
}
