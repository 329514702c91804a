import cluster, { type Worker } from 'node:cluster'
import { errorCode } from './command-line.js'
import type { CommandIo } from './io.js'

/** What a worker tells the process that started it. */
export type WorkerMessage =
  | { readonly type: 'listening'; readonly host: string; readonly port: number }
  /** It cannot listen; `exitCode` is what the command ends with. */
  | { readonly type: 'failed'; readonly problem: string; readonly exitCode: number }

/** What a worker is told: the first lets tunnels finish, the second ends them at once. */
export type WorkerOrder = 'stop' | 'stop now'

/** A worker that ended sooner than this after its start is not replaced at once, in milliseconds: it would end again. */
const SOONEST_MS = 1_000

/**
 * Runs the same command line in several processes that share the listening port. Replaces a worker that dies; passes
 * signals on. Resolves to the exit code.
 */
export function runWorkers(
  count: number,
  argv: readonly string[],
  { stdout, stderr }: Pick<CommandIo, 'stdout' | 'stderr'>,
  announce: (host: string, port: number) => string,
): Promise<number> {
  // The kernel shares connections out. Node's round robin passes every one of them through this process.
  cluster.schedulingPolicy = cluster.SCHED_NONE
  return new Promise((resolve) => {
    const started = new Map<Worker, number>()
    let ready = 0
    let announced = ''
    let exitCode: number | undefined
    let signals = 0

    const fork = (): void => {
      if (exitCode !== undefined) return
      const worker = cluster.fork()
      started.set(worker, performance.now())
      // It could not be spawned; then nothing else is told of it.
      worker.on('error', (error) => {
        if (worker.process.pid !== undefined || !started.delete(worker)) return
        stderr.write(`tubesock: cannot start a worker (${errorCode(error)})\n`)
        if (exitCode === undefined) setTimeout(fork, SOONEST_MS)
        else if (started.size === 0) resolve(exitCode)
      })
    }
    const order = (what: WorkerOrder): void => {
      // One that is ending by itself takes no orders.
      for (const worker of started.keys()) if (worker.isConnected()) worker.send(what, () => {})
    }
    const onMessage = (worker: Worker, message: WorkerMessage): void => {
      if (message.type === 'failed') {
        if (exitCode !== undefined) return
        exitCode = message.exitCode
        stderr.write(`tubesock: ${message.problem}\n`)
        order('stop now')
        return
      }
      if (exitCode !== undefined) {
        // The order to stop came before it could hear one.
        worker.send(signals > 1 ? 'stop now' : 'stop', () => {})
        return
      }
      ready++
      const announcement = announce(message.host, message.port)
      // Said again only when port 0 has become another one, which it may when all workers have died.
      if (ready < count || announcement === announced) return
      announced = announcement
      stdout.write(announcement)
    }
    const onExit = (worker: Worker, code: number | null, signal: string | null): void => {
      const age = performance.now() - (started.get(worker) ?? 0)
      started.delete(worker)
      if (exitCode === undefined) {
        stderr.write(`tubesock: worker ${worker.id} ended (${signal ?? code}); starting another\n`)
        setTimeout(fork, age < SOONEST_MS ? SOONEST_MS : 0)
      } else if (started.size === 0) resolve(exitCode)
    }
    const onSignal = (): void => {
      signals++
      exitCode ??= 0
      if (started.size === 0) resolve(exitCode)
      order(signals === 1 ? 'stop' : 'stop now')
      // One that does not even hear that.
      if (signals > 1) setTimeout(() => kill(), SOONEST_MS)
    }
    const kill = (): void => {
      for (const worker of started.keys()) worker.process.kill('SIGKILL')
    }
    cluster.on('message', onMessage)
    cluster.on('exit', onExit)
    process.on('SIGTERM', onSignal)
    process.on('SIGINT', onSignal)
    cluster.setupPrimary({ args: ['serve', ...argv] })
    for (let started = 0; started < count; started++) fork()
  })
}

/**
 * In a worker: calls `close` when its starter says so, or is gone; resolves when it is done, or at once on the second
 * order. Its signals are its starter's to pass on.
 */
export function stopOnOrders(close: () => Promise<void>): Promise<void> {
  return new Promise((resolve) => {
    let isStopping = false
    const stop = (): void => {
      if (!isStopping) void close().then(resolve)
      isStopping = true
    }
    process.on('message', (order: WorkerOrder) => (order === 'stop now' ? resolve() : stop()))
    // Without its starter nobody would ever stop it.
    process.on('disconnect', stop)
    process.on('SIGTERM', stop)
    // Ctrl-C reaches every process of a terminal's job; the starter hears it, too, and says so.
    process.on('SIGINT', () => {})
  })
}

/** In a worker: tells its starter; resolves when it is told. */
export function tellStarter(message: WorkerMessage): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined || !process.connected) resolve()
    else process.send(message, undefined, undefined, () => resolve())
  })
}
