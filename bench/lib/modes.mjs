// @ts-check
// What is measured of a relay, one thing after another, and how it is told.
import { drawBars } from './bars.mjs'
import { printTable, usageError } from './report.mjs'
import { figuresOf, runRounds } from './rounds.mjs'
import { ratios, summary, written, writtenSummary } from './statistics.mjs'
import { label } from './subjects.mjs'

/** @typedef {import('./rounds.mjs').Row} Row */
/** @typedef {import('./rounds.mjs').Task} Task */
/** @typedef {import('./subjects.mjs').Subject} Subject */
/** @typedef {import('./measure.mjs').Figures} Figures */
/** @typedef {Task & { unit: string, title: string, cost(figures: Figures): number, work(figures: Figures): number }} Mode `work`: more is better */

/** @param {number} tunnels @returns {Mode[]} */
function allModes(tunnels) {
  const work = (/** @type {Figures} */ { perCpuSecond }) => perCpuSecond
  const timed = { work, cost: work }
  const trips = { ...timed, unit: 'round trips per CPU-second' }
  return [
    {
      ...timed,
      name: 'bulk-down',
      title: 'bulk, download',
      unit: 'GiB per CPU-second',
      job: { kind: 'bulk-down', count: 4 },
    },
    {
      ...timed,
      name: 'bulk-up',
      title: 'bulk, upload',
      unit: 'GiB per CPU-second',
      job: { kind: 'bulk-up', count: 4 },
    },
    {
      ...timed,
      name: 'cycles',
      title: 'handshake cycles',
      unit: 'cycles per CPU-second',
      job: { kind: 'cycles', count: 32 },
    },
    { ...trips, name: 'ping-pong', title: 'ping-pong, 1 tunnel', job: { kind: 'ping-pong', count: 1 } },
    { ...trips, name: 'ping-pong-64', title: 'ping-pong, 64 tunnels', job: { kind: 'ping-pong', count: 64 } },
    {
      name: 'idle',
      title: `memory of ${tunnels.toLocaleString('en')} idle tunnels`,
      unit: 'KiB of RSS per tunnel',
      job: { kind: 'idle', count: tunnels },
      cost: ({ residentKib }) => residentKib,
      work: ({ residentKib }) => 1 / residentKib,
    },
  ]
}

/** The modes of a list, or all of them. @param {string | undefined} list @param {number} tunnels */
export function modesOf(list, tunnels) {
  const modes = allModes(tunnels)
  const names = list?.split(',') ?? modes.map(({ name }) => name)
  return names.map((name) => {
    const mode = modes.find((one) => one.name === name)
    return mode ?? usageError(`--modes takes ${modes.map((one) => one.name).join(', ')}, and not ${name}`)
  })
}

/**
 * @param {{ subjects: Subject[], rounds: number }} plan @param {import('./measure.mjs').Conditions} conditions
 * @param {readonly Mode[]} modes
 */
export async function runModes({ subjects, rounds }, conditions, modes) {
  const rows = await runRounds(modes, subjects, rounds, conditions, (figures, { name }) => {
    const mode = modes.find((one) => one.name === name)
    const busy = Number.isFinite(figures.serverCpu) ? `, server CPU ${percent(figures.serverCpu)}` : ''
    return `${written(mode?.cost(figures) ?? Number.NaN)} ${mode?.unit}${busy}`
  })
  const figures = modes.map((mode) => figuresOfMode(rows, mode, subjects))
  print(figures, subjects, conditions.packages)
  return {
    rows,
    result: { figures, rows },
    draw: (/** @type {string[]} */ subtitle) => draw(subtitle, modes, subjects, rows, conditions.packages),
  }
}

/** @param {readonly Row[]} rows @param {Mode} mode @param {readonly Subject[]} subjects */
function figuresOfMode(rows, mode, subjects) {
  /** @param {Subject} subject @param {(figures: Figures) => number} pick */
  const of = (subject, pick) => figuresOf(rows, mode.name, subject, pick)
  return {
    mode: mode.name,
    unit: mode.unit,
    servers: subjects.map((subject) => ({
      server: subject,
      cost: summary(of(subject, mode.cost)),
      perSecond: summary(of(subject, ({ perSecond }) => perSecond)),
      serverCpu: summary(of(subject, ({ serverCpu }) => serverCpu)),
      loadCpu: summary(of(subject, ({ loadCpu }) => loadCpu)),
      p50Microseconds: summary(of(subject, ({ p50Microseconds }) => p50Microseconds)),
    })),
    // More than 1: tubesock is better.
    ratios: subjects.includes('tubesock')
      ? subjects
          .filter((subject) => subject !== 'tubesock')
          .map((peer) => ({ peer, ...ratios(of('tubesock', mode.work), of(peer, mode.work)) }))
      : [],
  }
}

/** @param {readonly ReturnType<typeof figuresOfMode>[]} figures @param {readonly Subject[]} subjects @param {string} packages */
function print(figures, subjects, packages) {
  for (const { mode, unit, servers } of figures) {
    printTable(
      `${mode}: ${unit}, median (least to most)`,
      ['server', unit, 'by the clock', 'server CPU', 'load CPU', 'p50 us'],
      servers.map(({ server, cost, perSecond, serverCpu, loadCpu, p50Microseconds }) => [
        label(server, packages),
        writtenSummary(cost),
        written(perSecond.median),
        percent(serverCpu.median),
        percent(loadCpu.median),
        written(p50Microseconds.median),
      ]),
    )
  }
  const peers = subjects.filter((subject) => subject !== 'tubesock')
  if (!subjects.includes('tubesock') || peers.length === 0) return
  printTable(
    'tubesock beside others, round by round: more than 1 is better',
    ['mode', ...peers],
    figures.map((row) => [row.mode, ...row.ratios.map((ratio) => writtenSummary(ratio))]),
  )
}

/** @param {readonly string[]} subtitle @param {readonly Mode[]} modes @param {readonly Subject[]} subjects @param {readonly Row[]} rows @param {string} packages */
function draw(subtitle, modes, subjects, rows, packages) {
  const base = subjects.includes('floor') ? 'floor' : /** @type {Subject} */ (subjects[0])
  return drawBars({
    title: 'What a second of CPU time of the server is worth',
    subtitle: [...subtitle, `Longer is better; 1 is the ${label(base, packages)} in the same round.`],
    scale: `times the ${label(base, packages)}`,
    groups: modes.map((mode) => ({
      name: `${mode.title}, ${mode.unit}`,
      bars: subjects.map((subject) => ({
        name: label(subject, packages),
        isOwn: subject === 'tubesock',
        ...ratios(figuresOf(rows, mode.name, subject, mode.work), figuresOf(rows, mode.name, base, mode.work)),
        told: written(summary(figuresOf(rows, mode.name, subject, mode.cost)).median),
      })),
    })),
  })
}

/** @param {number} part */
function percent(part) {
  return Number.isFinite(part) ? `${Math.round(100 * part)}%` : '-'
}
