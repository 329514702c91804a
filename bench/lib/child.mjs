// @ts-check
// Processes of a bench: what is measured runs in one of its own, fresh each time, and answers what it is asked.
import { fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'

/** @typedef {{ readonly server: string, readonly load: string }} Pins which CPUs (as `taskset -c` takes them) the server and the load have */

/** A child process that serves by {@link answer}. */
export class Child {
  /**
   * Starts it; resolves to it and to what it told when it was ready.
   * @param {URL} file
   * @param {readonly string[]} args
   * @param {{ cpus?: string | undefined, execArgv?: readonly string[], env?: NodeJS.ProcessEnv }} [options] `cpus`: those to be pinned to
   * @returns {Promise<{ child: Child, ready: any }>}
   */
  static async start(file, args, { cpus, execArgv = [], env = {} } = {}) {
    const [execPath, first] = cpus === undefined ? [process.execPath, []] : ['taskset', ['-c', cpus, process.execPath]]
    const child = new Child(
      fork(file, args, { execPath, execArgv: [...first, ...execArgv], env: { ...process.env, ...env } }),
    )
    return { child, ready: await child.#answerTo('ready') }
  }

  #process
  /** @type {Map<string, { resolve: (value: any) => void, reject: (error: Error) => void }>} */
  #waiting = new Map()
  #gone = false

  /** @param {import('node:child_process').ChildProcess} child */
  constructor(child) {
    this.#process = child
    child.on('message', (/** @type {any} */ { name, value, error }) => {
      const waiting = this.#waiting.get(name)
      this.#waiting.delete(name)
      if (error === undefined) waiting?.resolve(value)
      else waiting?.reject(new Error(error))
    })
    child.on('error', (error) => this.#fail(error))
    child.on('exit', (code, signal) => this.#fail(new Error(`a process of the bench ended by ${signal ?? code}`)))
  }

  /** Asks for something; one question of a name at a time. @param {string} name @param {unknown} [argument] @returns {Promise<any>} */
  ask(name, argument) {
    const answered = this.#answerTo(name)
    if (!this.#gone) this.#process.send({ name, argument }, (error) => error && this.#fail(error))
    return answered
  }

  /** Ends it. */
  async end() {
    if (this.#gone) return
    const exited = once(this.#process, 'exit')
    this.#process.disconnect()
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), 3_000)
    await exited
    clearTimeout(timer)
  }

  /** @param {string} name @returns {Promise<any>} */
  #answerTo(name) {
    return new Promise((resolve, reject) => {
      this.#waiting.set(name, { resolve, reject })
      if (this.#gone) this.#fail(new Error('a process of the bench is gone'))
    })
  }

  /** @param {Error} error */
  #fail(error) {
    this.#gone = true
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }
}

/**
 * In a child: answers by these functions, and ends with its parent. `ready` is told at once.
 * @param {Record<string, (argument: any) => unknown>} handlers
 * @param {unknown} ready
 */
export function answer(handlers, ready) {
  const tell = /** @type {(message: object) => void} */ (process.send?.bind(process))
  process.on('disconnect', () => process.exit())
  process.on('message', async (/** @type {{ name: string, argument: unknown }} */ { name, argument }) => {
    try {
      tell({ name, value: await handlers[name]?.(argument) })
    } catch (error) {
      tell({ name, error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    }
  })
  tell({ name: 'ready', value: ready })
}

/**
 * The server on one CPU and everything else on the others, where `taskset` is there and there are two; else `undefined`.
 * @returns {Pins | undefined}
 */
export function pins() {
  if (availableParallelism() < 2) return undefined
  // Of a container the CPUs need not begin with 0.
  const { status, stdout } = spawnSync('taskset', ['-cp', String(process.pid)], { encoding: 'utf8' })
  const allowed = status === 0 ? cpuNumbers(stdout.slice(stdout.lastIndexOf(':') + 1).trim()) : []
  const [server, ...others] = allowed
  return server === undefined || others.length === 0 ? undefined : { server: String(server), load: others.join(',') }
}

/** `0,2-4` as numbers. @param {string} list */
function cpuNumbers(list) {
  return list.split(',').flatMap((range) => {
    const [first = Number.NaN, last = first] = range.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, index) => first + index)
  })
}
