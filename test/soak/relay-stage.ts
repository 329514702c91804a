// Servers under watch, and a process of their clients and targets.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { createSocksServer, type ServerOptions, type SocksServer } from '../../src/server/index.js'
import type { Hold, PeersRequest, TunnelResult } from './relay-peers.js'
import { endsWell, type TunnelScript } from './relay-script.js'

/** What came of many tunnels. */
export interface RelayFigures {
  readonly tunnels: number
  readonly resets: number
  readonly bytesUp: number
  readonly bytesDown: number
}

/** Clients and targets that run scripts. */
export class RelayPeers {
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, (result: TunnelResult) => void>()
  #lastId = 0

  private constructor(child: ChildProcess) {
    this.#child = child
    // `as`: what the program there sends.
    child.on('message', (message) => this.#onResult(message as TunnelResult))
    child.on('error', () => {})
  }

  static async start(): Promise<RelayPeers> {
    // Node 20 runs no TypeScript; esbuild comes with tsup. Both the tests and the soak run in the root of the repository.
    const { build } = createRequire(createRequire(join(process.cwd(), 'package.json')).resolve('tsup'))('esbuild')
    const options = { bundle: true, write: false, platform: 'node', format: 'cjs', logLevel: 'warning' }
    const { outputFiles } = await build({ entryPoints: ['test/soak/relay-peers.ts'], ...options })
    const child = spawn(process.execPath, ['-e', outputFiles[0].text], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    await once(child, 'spawn')
    return new RelayPeers(child)
  }

  /** One tunnel through the relay at `port`. */
  run(port: number, script: TunnelScript, hold?: Hold): Promise<TunnelResult> {
    const id = ++this.#lastId
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve)
      this.#send({ type: 'run', id, port, script, ...(hold && { hold }) })
    })
  }

  /** Lets the tunnels go on that were held. */
  release(): void {
    this.#send({ type: 'release' })
  }

  async stop(): Promise<void> {
    this.#child.disconnect()
    this.#child.kill()
    await once(this.#child, 'exit')
  }

  #send(request: PeersRequest): void {
    this.#child.send(request)
  }

  #onResult(result: TunnelResult): void {
    this.#waiting.get(result.id)?.(result)
    this.#waiting.delete(result.id)
  }
}

/** A server whose clients come from `RelayPeers`: a name has an address that refuses before the one that does not. */
export async function relayServer(options: ServerOptions): Promise<{ server: SocksServer; port: number }> {
  const server = createSocksServer({
    lookup: (_name, _options, callback) =>
      callback(null, [
        { address: '::1', family: 6 },
        { address: '127.0.0.1', family: 4 },
      ]),
    ...options,
  })
  const { port } = await server.listen(0)
  return { server, port }
}

/** Runs a script. @throws Error when a byte is wrong, or a tunnel that should end well does not. */
export async function watched(
  peers: RelayPeers,
  port: number,
  script: TunnelScript,
  hold?: Hold,
): Promise<RelayFigures> {
  const { fault, isComplete, bytesUp, bytesDown } = await peers.run(port, script, hold)
  const { client, target } = script
  const isShort = endsWell(script) && !isComplete
  const totals = `${bytesUp} of ${client.total} up, ${bytesDown} of ${target.total} down`
  if (fault !== undefined || isShort || bytesUp > client.total || bytesDown > target.total)
    throw new Error(`tunnel ${JSON.stringify(script)}: ${fault ?? 'short'}; ${totals}`)
  return { tunnels: 1, resets: isComplete ? 0 : 1, bytesUp, bytesDown }
}

export function sum(all: readonly RelayFigures[]): RelayFigures {
  const total = { tunnels: 0, resets: 0, bytesUp: 0, bytesDown: 0 }
  for (const { tunnels, resets, bytesUp, bytesDown } of all) {
    total.tunnels += tunnels
    total.resets += resets
    total.bytesUp += bytesUp
    total.bytesDown += bytesDown
  }
  return total
}
