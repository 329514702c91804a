// @ts-check
// Rounds in which servers take turns, and what all benches of the relay need to know before.
import { spawnSync } from 'node:child_process'
import { measure } from './measure.mjs'
import { progress, usageError } from './report.mjs'
import { INSTALL, isSubject, present, SUBJECTS } from './subjects.mjs'

/** @typedef {import('./subjects.mjs').Subject} Subject */
/** @typedef {import('./measure.mjs').Figures} Figures */
/** @typedef {{ name: string, job: import('./loads.mjs').Job, idle?: number }} Task */
/** @typedef {{ task: string, subject: Subject, round: number, figures?: Figures, failure?: string }} Row */

/**
 * Measures every task with every server, round by round; within a round they stand beside each other, and who begins changes.
 * @param {readonly Task[]} tasks @param {readonly Subject[]} subjects @param {number} rounds
 * @param {import('./measure.mjs').Conditions} conditions
 * @param {(figures: Figures, task: Task) => string} told
 */
export async function runRounds(tasks, subjects, rounds, conditions, told) {
  /** @type {Row[]} */
  const rows = []
  const total = rounds * tasks.length * subjects.length
  for (let round = 0; round < rounds; round++) {
    for (const task of tasks) {
      for (let turn = 0; turn < subjects.length; turn++) {
        const subject = /** @type {Subject} */ (subjects[(turn + round) % subjects.length])
        const row = await attempt(task, subject, round, conditions)
        rows.push(row)
        const outcome = row.figures === undefined ? `FAILED: ${row.failure}` : told(row.figures, task)
        progress(`${rows.length}/${total} round ${round + 1} ${task.name.padEnd(14)} ${subject.padEnd(10)} ${outcome}`)
      }
    }
  }
  return rows
}

/** @param {Task} task @param {Subject} subject @param {number} round @param {import('./measure.mjs').Conditions} conditions @returns {Promise<Row>} */
async function attempt(task, subject, round, conditions) {
  const row = { task: task.name, subject, round }
  try {
    const idle = task.idle === undefined ? {} : { idle: task.idle }
    return { ...row, figures: await measure(subject, task.job, { ...conditions, ...idle }) }
  } catch (error) {
    return { ...row, failure: error instanceof Error ? error.message : String(error) }
  }
}

/**
 * One figure of each round; NaN where it failed.
 * @param {readonly Row[]} rows @param {string} task @param {Subject} subject @param {(figures: Figures) => number} pick
 */
export function figuresOf(rows, task, subject, pick) {
  return rows
    .filter((row) => row.task === task && row.subject === subject)
    .map(({ figures }) => (figures === undefined ? Number.NaN : pick(figures)))
}

/** The servers of a list, without those that are not installed; says which, and how to have them. @param {string} list @param {string} packages */
export function subjectsOf(list, packages) {
  const names = list.split(',')
  const known = names.filter(isSubject)
  const unknown = names.filter((name) => !isSubject(name))
  if (unknown.length > 0) {
    usageError(`--servers takes ${Object.keys(SUBJECTS).join(', ')}, and not ${unknown.join(', ')}`)
  }
  const { here, missing } = present(known, packages)
  for (const subject of missing)
    progress(`left out: ${subject}, which needs the npm package ${SUBJECTS[subject].package}`)
  if (missing.length > 0) progress(`to have them: ${INSTALL}`)
  if (here.length === 0) usageError('no server is left')
  return here
}

/** Ends the run, with a way out, where so many tunnels need more descriptors than there are. @param {number} tunnels */
export function assertDescriptors(tunnels) {
  // Either process has both ends of every tunnel. Node has raised the soft limit to the hard one.
  const needed = 2 * tunnels + 200
  const { status, stdout } = spawnSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' })
  const limit = stdout?.trim() === 'unlimited' ? Number.POSITIVE_INFINITY : Number(stdout)
  if (status !== 0 || !(limit < needed)) return
  usageError(
    `${tunnels} tunnels need ${needed} descriptors and there may be ${limit}. As root: ulimit -n ${needed}. Or take fewer tunnels`,
  )
}
