// @ts-check
// Whether cost grows with the work alone: a cycle and a tunnel beside ever more open ones, a GiB in ever more streams.
import { drawLines } from './lines.mjs'
import { printTable } from './report.mjs'
import { figuresOf, runRounds } from './rounds.mjs'
import { summary, written, writtenSummary } from './statistics.mjs'
import { label } from './subjects.mjs'

const OPEN = [100, 1_000, 5_000]
const STREAMS = [1, 16, 64, 256]
const AT_A_TIME = 32

/** @typedef {import('./measure.mjs').Figures} Figures */
/** @typedef {import('./rounds.mjs').Task} Task */
/** @typedef {import('./subjects.mjs').Subject} Subject */
/** @typedef {{ title: string, xName: string, cost(figures: Figures): number, at: readonly (Task & { x: number })[] }} Curve */

/** @param {number} tunnels the most @param {boolean} quick @returns {Curve[]} */
function curves(tunnels, quick) {
  const open = [...OPEN.filter((count) => count < tunnels), tunnels]
  const streams = quick ? STREAMS.slice(0, 3) : STREAMS
  /** @param {'bulk-down' | 'bulk-up'} kind */
  const bulk = (kind) => ({
    title: `${kind === 'bulk-down' ? 'download' : 'upload'}, CPU-seconds per GiB`,
    xName: 'streams',
    cost: (/** @type {Figures} */ { perCpuSecond }) => 1 / perCpuSecond,
    at: streams.map((x) => ({ x, name: `${kind} x${x}`, job: { kind, count: x } })),
  })
  return [
    {
      title: 'handshake cycle, CPU-microseconds',
      xName: 'tunnels open meanwhile',
      cost: ({ perCpuSecond }) => 1e6 / perCpuSecond,
      at: open.map((x) => ({ x, name: `cycles +${x}`, idle: x, job: { kind: 'cycles', count: AT_A_TIME } })),
    },
    {
      title: 'idle tunnel, KiB in use',
      xName: 'tunnels',
      cost: ({ usedKib }) => usedKib,
      at: open.map((x) => ({ x, name: `idle ${x}`, job: { kind: 'idle', count: x } })),
    },
    bulk('bulk-down'),
    bulk('bulk-up'),
  ]
}

/**
 * @param {{ subjects: Subject[], rounds: number, tunnels: number, quick: boolean }} plan
 * @param {import('./measure.mjs').Conditions} conditions
 */
export async function runScale({ subjects, rounds, tunnels, quick }, conditions) {
  const all = curves(tunnels, quick)
  const tasks = all.flatMap(({ at }) => at)
  /** @param {Task} task */
  const costOf = ({ name }) => all.find(({ at }) => at.some((task) => task.name === name))?.cost ?? (() => Number.NaN)
  const rows = await runRounds(tasks, subjects, rounds, conditions, (figures, task) => written(costOf(task)(figures)))
  const result = all.map(({ title, xName, cost, at }) => ({
    title,
    xName,
    servers: subjects.map((subject) => ({
      server: subject,
      points: at.map(({ x, name }) => ({
        x,
        ...summary(figuresOf(rows, name, subject, cost)),
        residentKib: summary(figuresOf(rows, name, subject, ({ residentKib }) => residentKib)),
      })),
    })),
  }))
  for (const { title, xName, servers } of result) {
    const isMemory = title.startsWith('idle')
    const head = [xName, ...servers.flatMap(({ server }) => (isMemory ? [server, `${server}, KiB of RSS`] : [server]))]
    const [first] = servers
    const lines = (first?.points ?? []).map(({ x }, index) => [
      x.toLocaleString('en'),
      ...servers.flatMap(({ points }) => {
        const point = points[index]
        if (point === undefined) return []
        return isMemory ? [writtenSummary(point), writtenSummary(point.residentKib)] : [writtenSummary(point)]
      }),
    ])
    printTable(`${title}: median (least to most)`, head, lines)
  }
  /** @param {readonly string[]} subtitle */
  const draw = (subtitle) =>
    drawLines({
      title: 'Cost of one, with ever more of them',
      subtitle: [...subtitle, 'Level lines: cost is linear.'],
      panels: result.map(({ title, xName, servers }) => ({
        title,
        xName,
        series: servers.map(({ server, points }) => ({
          name: label(server, conditions.packages),
          isOwn: server === 'tubesock',
          points,
        })),
      })),
    })
  return { rows, result: { curves: result, rows }, draw }
}
