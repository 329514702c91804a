// @ts-check

/** @typedef {{ median: number, min: number, max: number }} Summary */

/** @param {readonly number[]} figures those that are no number do not count @returns {Summary} */
export function summary(figures) {
  const sorted = figures.filter(Number.isFinite).sort((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  const [low = Number.NaN, high = Number.NaN] = [sorted[Math.floor(middle)], sorted[Math.ceil(middle)]]
  return { median: (low + high) / 2, min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN }
}

/**
 * Figure by figure: what the machine does at the time, it does to both. @param {readonly number[]} figures @param {readonly number[]} others
 * @returns {Summary}
 */
export function ratios(figures, others) {
  return summary(figures.map((figure, round) => figure / (others[round] ?? Number.NaN)))
}

/** Three digits, and thousands apart. @param {number} figure */
export function written(figure) {
  if (!Number.isFinite(figure)) return '-'
  if (Math.abs(figure) >= 100) return Math.round(figure).toLocaleString('en')
  return String(Number(figure.toPrecision(3)))
}

/** `median (min to max)` @param {Summary} summary @param {(figure: number) => string} [write] */
export function writtenSummary({ median, min, max }, write = written) {
  return Number.isFinite(median) ? `${write(median)} (${write(min)} to ${write(max)})` : '-'
}
